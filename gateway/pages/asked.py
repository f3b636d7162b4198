"""What somebody asks of usage, as the address of the page says it: of which time, by what, and of whom."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from gateway.pages.visiting import Visit
from gateway.policy.periods import TIMES, Period, named, read_period
from gateway.policy.terms import plain
from gateway.store.totals import DIMENSIONS, KEPT

SPANS: Mapping[str, str] = {
    "24h": "last 24 hours",
    "7d": "last 7 days",
    "30d": "last 30 days",
    "month": "this month",
    "12m": "last 12 months",
    "dates": "from … to …",
}
UNITS: Mapping[str, str] = {"24h": "hour", "12m": "month"}  # of the others: days
SHOWN: Mapping[str, str] = {"cost": "Cost", "requests": "Requests", "audio": "Audio", "characters": "Characters"}
OTHERS_ALONE = ("team", "key")  # what a key's holder has but one of
MOST_TIMES = 31 * 24
DATES_DAYS = 30


@dataclass(frozen=True, slots=True)
class Asked:
    """All of it as it was written, "" where nothing was. `only`: nothing else counts."""

    span: str
    since: str
    until: str
    per: str
    by: str
    show: str
    only: Mapping[str, str]

    @property
    def unit(self) -> str:
        """Of which times there are sums: "hour", "day" or "month"."""
        return self.per or UNITS.get(self.span, "day")

    @property
    def query(self) -> dict[str, str]:
        """The same as what stands in the address."""
        dates = {"since": self.since, "until": self.until} if self.span == "dates" else {}
        found = {"period": self.span, **dates, "per": self.per, "by": self.by, "show": self.show, **self.only}
        return {name: value for name, value in found.items() if value}


def asked(visit: Visit) -> Asked:
    """What a visit asks; nothing is checked yet. Holders ask about themselves alone."""

    def told(name: str, default: str = "") -> str:
        return plain(visit.asked(name).strip()) or default

    since, until = told("since"), told("until")
    only = {name: told(name) for name in dimensions(visit) if told(name)}
    span = told("period") or ("dates" if since or until else "7d")
    if span == "dates" and not (since or until):
        today = datetime.fromtimestamp(visit.site.clock(), UTC)
        since, until = named(today - timedelta(days=DATES_DAYS - 1), "day"), named(today, "day")
    return Asked(span, since, until, told("per"), told("by", "model"), told("show", "cost"), only)


def dimensions(visit: Visit) -> Sequence[str]:
    """What a visitor may break usage down by."""
    return [name for name in DIMENSIONS if visit.who.operator or name not in OTHERS_ALONE]


def period(visit: Visit, wanted: Asked) -> Period:
    """The time that is asked for. Raises ValueError, a sentence, also for what else does not fit."""
    _one_of("period", wanted.span, list(SPANS))
    _one_of("per", wanted.unit, list(TIMES))
    _one_of("by", wanted.by, dimensions(visit))
    _one_of("show", wanted.show, list(SHOWN))
    now = visit.site.clock()
    since, until = _ends(wanted, datetime.fromtimestamp(now, UTC))
    return read_period(since, until, now=now, hourly=wanted.unit == "hour", kept=KEPT)


def times(found: Period, unit: str) -> list[str]:
    """The names of its hours, days or months. Raises ValueError for more than can be shown."""
    names = list(dict.fromkeys(named(at, unit) for at in found.units()))
    if len(names) > MOST_TIMES:
        raise ValueError(f"these are {len(names):,} {unit}s, more than can be shown; choose days, or a shorter time")
    return names


def _ends(wanted: Asked, now: datetime) -> tuple[str, str]:
    if wanted.span == "dates":
        return wanted.since or wanted.until, wanted.until
    if wanted.span == "month":
        return named(now, "month"), ""
    if wanted.span == "12m":
        month = now.year * 12 + now.month - 1 - 11
        return f"{month // 12}-{month % 12 + 1:02}", ""
    return wanted.span, ""


def _one_of(what: str, value: str, values: Sequence[str]) -> None:
    if value not in values:
        raise ValueError(f"'{what}' is one of {', '.join(values)}, got '{value}'")
