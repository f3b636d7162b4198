"""What pages show of usage: sums of hours and days, and what the last requests took."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from gateway.pages.visiting import Visit
from gateway.policy.periods import Period, named
from gateway.store.stream import Record
from gateway.store.totals import Line

HOUR = 3600.0
MOST_RECENT = 2000  # records of the last hour that are looked at


@dataclass(frozen=True, slots=True)
class Sums:
    """Added up: requests, those of them that failed, millionths of a US dollar, seconds of audio, characters."""

    requests: int = 0
    errors: int = 0
    usd: int = 0
    audio: float = 0.0
    characters: int = 0

    @property
    def failing(self) -> float:
        """The share of requests that failed."""
        return self.errors / self.requests if self.requests else 0.0


@dataclass(frozen=True, slots=True)
class Recent:
    """The last hour, from its records: `p50` and `p95` in ms of those that were served, `all_of_it` unless there were
    more than can be looked at.
    """

    sums: Sums
    p50: int | None
    p95: int | None
    records: Sequence[Record]
    all_of_it: bool


def last_hours(now: float, hours: int) -> Period:
    """So many hours, this one included."""
    end = datetime.fromtimestamp(now, UTC).replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    return Period("hour", end - timedelta(hours=hours), end)


def today(now: float) -> str:
    """The name of the day, in UTC."""
    return named(datetime.fromtimestamp(now, UTC), "day")


def only(visit: Visit, **asked: str) -> dict[str, str]:
    """What a visitor asks to see alone, and what they may see alone."""
    found = {name: value for name, value in asked.items() if value}
    return {**found, "key": visit.who.kid} if visit.who.kid else found


async def used(visit: Visit, period: Period, by: Sequence[str], **asked: str) -> list[Line]:
    """`Totals.summed` of what a visitor may see. Raises Refused (503)."""
    return await visit.site.books.totals.summed(period, by, only(visit, **asked))


def added(lines: Sequence[Line]) -> Sums:
    """All of them together."""
    return of([line.sums for line in lines])


def of(sums: Sequence[Mapping[str, int]]) -> Sums:
    """Sums as the store has them, together."""

    def all_(name: str) -> int:
        return sum(one.get(name, 0) for one in sums)

    return Sums(all_("requests"), all_("errors"), all_("usd"), all_("ms") / 1000, all_("characters"))


async def last_hour(visit: Visit) -> Recent:
    """The last hour of what a visitor may see. Raises Refused (503)."""
    since, kid, looked = visit.site.clock() - HOUR, visit.who.kid, 0

    def theirs(record: Mapping[str, str]) -> bool:
        nonlocal looked
        looked += 1
        return not kid or record.get("key") == kid

    found = await visit.site.books.history.since(since, theirs, most=MOST_RECENT)
    corrected = {one.fields.get("id") for one in found if one.fields.get("takes_back")}
    records = [one for one in found if one.fields.get("takes_back") or one.fields.get("id") not in corrected]
    took = sorted(int(one.fields.get("latency_ms") or 0) for one in records if _served(one))
    sums = Sums(
        len(records),
        sum(not _served(one) for one in records),
        sum(int(one.fields.get("cost_micro_usd") or 0) for one in records),
        sum(int(one.fields.get("audio_ms") or 0) for one in records) / 1000,
        sum(int(one.fields.get("characters") or 0) for one in records),
    )
    all_of_it = len(found) < MOST_RECENT and looked < 10 * MOST_RECENT
    return Recent(sums, _quantile(took, 0.5), _quantile(took, 0.95), records, all_of_it)


def _served(record: Record) -> bool:
    return 0 < int(record.fields.get("status") or 0) < 400


def _quantile(values: Sequence[int], share: float) -> int | None:
    return values[min(len(values) - 1, int(len(values) * share))] if values else None
