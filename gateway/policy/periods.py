"""Periods that usage is summed over: what people write as their beginning and end. All in UTC. Pure.

A period is read from the sums of hours or from those of days; the longer a unit, the longer its sums are kept.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

Unit = Literal["hour", "day"]
TIMES: Mapping[str, str] = {"hour": "%Y-%m-%dT%H:00Z", "day": "%Y-%m-%d", "month": "%Y-%m"}
STEP: Mapping[str, timedelta] = {"hour": timedelta(hours=1), "day": timedelta(days=1)}
_SPAN = re.compile(r"([0-9]{1,5})([hd])")
_DATE = re.compile(r"([0-9]{4}-[0-9]{2})(?:(-[0-9]{2})(?:T([0-9]{2})(?::00){0,2}Z?)?)?")


class BadPeriod(ValueError):
    """Text that is no beginning or no end; `end` tells which (`since` or `until`), the message why."""

    def __init__(self, end: str, why: str) -> None:
        super().__init__(why)
        self.end = end


@dataclass(frozen=True, slots=True)
class Period:
    """From `start` up to, not including, `end`: whole hours or whole days."""

    unit: Unit
    start: datetime
    end: datetime

    def __str__(self) -> str:
        first, last = named(self.start, self.unit), named(self.end - STEP[self.unit], self.unit)
        return first if first == last else f"{first} to {last}"

    def units(self) -> Iterator[datetime]:
        """When each hour or day of it begins."""
        at = self.start
        while at < self.end:
            yield at
            at += STEP[self.unit]


def named(at: datetime, unit: str) -> str:
    """The name of the hour, day or month that a time is in: 2026-01-31T15:00Z, 2026-01-31, 2026-01."""
    return at.strftime(TIMES[unit])


def read_period(since: str, until: str, *, now: float, hourly: bool, kept: Mapping[Unit, int]) -> Period:
    """From the beginning of `since` to the end of `until`, "" for now (seconds since 1970).

    Either is an hour (2026-01-31T15), a day, a month (2026-01), or a span that ends now (24h, 7d). Hours are counted
    if `hourly`, or if one of them is in hours, else days. Raises BadPeriod, also for what is not `kept` (seconds) any
    more.
    """
    moment = datetime.fromtimestamp(now, UTC)
    start, _, in_hours = _read(since, moment, "since")
    end, ends_in_hours = datetime.max.replace(tzinfo=UTC), False
    if until:
        _, end, ends_in_hours = _read(until, moment, "until")
    unit: Unit = "hour" if hourly or in_hours or ends_in_hours else "day"
    end = min(end, _cut(moment, unit) + STEP[unit])
    if start >= end:
        raise BadPeriod("since", f"{named(start, unit)} is later than the end, {named(end - STEP[unit], unit)}")
    if start < moment - timedelta(seconds=kept[unit]):
        first = _cut(moment - timedelta(seconds=kept[unit]), unit) + STEP[unit]
        raise BadPeriod(
            "since",
            f"sums of {unit}s are kept for {kept[unit] // 86_400} days; ask from {named(first, unit)} on"
            + (", or for days without hours" if unit == "hour" else ""),
        )
    return Period(unit, start, end)


def _read(text: str, now: datetime, end: str) -> tuple[datetime, datetime, bool]:
    """Beginning and end of what is written, and whether it is written in hours."""
    if (span := _SPAN.fullmatch(text)) and int(span[1]):
        unit: Unit = "hour" if span[2] == "h" else "day"
        start = _cut(now, unit) - (int(span[1]) - 1) * STEP[unit]
        return start, start + STEP[unit], unit == "hour"
    date = _DATE.fullmatch(text)
    try:
        if date is None:
            raise ValueError
        at = datetime.fromisoformat(f"{date[1]}{date[2] or '-01'}T{date[3] or '00'}:00:00+00:00")
        if date[2] is None:
            return at, (at + timedelta(days=31)).replace(day=1), False
        return at, at + STEP["hour" if date[3] else "day"], bool(date[3])
    except (ValueError, OverflowError):
        raise BadPeriod(
            end,
            "expected a day such as 2026-01-31, an hour such as 2026-01-31T15, a month such as 2026-01, or a span such "
            f"as 24h or 7d, got '{text}'",
        ) from None


def _cut(at: datetime, unit: Unit) -> datetime:
    """The beginning of the hour or day."""
    hour = at.replace(minute=0, second=0, microsecond=0)
    return hour if unit == "hour" else hour.replace(hour=0)
