"""In which part of the store a team's keys stand.

All of a team, its keys, reservations, counters and records, stands under one hash tag, so that each script touches
one slot. With one shard, the rule, that is the same tag for everybody. With sixteen, for very large installations on a
Cluster, teams are spread over as many tags, whose slots lie evenly apart; what all of them draw from, the limits of
upstreams, is granted to the shards in parts (`grants.py`).
"""

import zlib
from typing import Final

TAG: Final = "{ag}"
# Their slots are in the middle of the sixteenths of 16,384: of any few masters each gets about as many.
_ENDS = ("a", "f2", "8", "wh", "7x", "38", "1r", "fj", "c", "4r", "b4", "ft", "b", "ny", "s6", "wv")
SIXTEEN: Final = tuple(f"{{ag{end}}}" for end in _ENDS)


def tags(count: int) -> tuple[str, ...]:
    """The tags of so many shards (1 or 16)."""
    return SIXTEEN if count > 1 else (TAG,)


def place(team: str, count: int) -> int:
    """Which of so many shards a team is in: always the same for the same name."""
    return zlib.crc32(team.encode()) % count
