"""Time zones: where a team's days and months begin. Pure, but for the database of zones that Python brings.

The store's scripts know no zones by name; they get the offsets of a zone and when each one begins.
Source of the rules: the IANA time zone database.
"""

from datetime import UTC, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

FIRST, LAST = datetime(2025, 1, 1, tzinfo=UTC), datetime(2046, 1, 1, tzinfo=UTC)


def known(name: str) -> bool:
    """Whether there is a time zone of this name, such as Asia/Shanghai."""
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # a folder of the database, or no name at all
        return False
    return True


@cache
def offsets(name: str) -> tuple[int, ...]:
    """Offset from UTC in seconds at FIRST, then, until LAST, when each next one begins (seconds since 1970) and it."""
    zone = ZoneInfo(name)
    found = [_offset(zone, FIRST)]
    day = FIRST
    while day < LAST:
        after = day + timedelta(days=1)
        if _offset(zone, after) != found[-1]:
            change = _change(zone, day, after)
            found += [int(change.timestamp()), _offset(zone, change)]
        day = after
    return tuple(found)


def _offset(zone: ZoneInfo, moment: datetime) -> int:
    offset = moment.astimezone(zone).utcoffset()
    assert offset is not None
    return int(offset.total_seconds())


def _change(zone: ZoneInfo, before: datetime, after: datetime) -> datetime:
    """The second in which the offset changes, between two moments with different ones."""
    old = _offset(zone, before)
    while after - before > timedelta(seconds=1):
        middle = before + timedelta(seconds=int((after - before).total_seconds()) // 2)
        before, after = (middle, after) if _offset(zone, middle) == old else (before, middle)
    return after
