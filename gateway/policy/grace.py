"""What still goes while the store is away. Pure.

`closed`: nothing. `grace`: keys that were let in a short while ago, up to a stated amount of money per team and
replica, so the worst that a budget can be overspent by is that amount times the replicas. `open`: every known key.
"""

from typing import Literal

Mode = Literal["grace", "closed", "open"]
KNOWN_FOR = 600.0  # seconds since a key was last let in by the store


def goes_on(mode: Mode, *, seen_ago: float | None, spent: int, asked: int, most: int) -> bool:
    """Whether a request of `asked` micro-USD may go without the store.

    `seen_ago`: seconds since the store let its key in, None if it never did here. `spent`: what the team was let go
    with since the store went away, `most`: what it may be, both in micro-USD.
    """
    if mode == "closed" or seen_ago is None:
        return False
    return mode == "open" or (seen_ago <= KNOWN_FOR and spent + asked <= most)
