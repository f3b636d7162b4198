"""How amounts and times look to people. Pure."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal

from gateway.policy.terms import plain

MICRO = 1_000_000
MEASURES: Mapping[str, str] = {
    "usd": "cost",
    "audio_seconds": "audio",
    "characters": "characters",
    "requests": "requests",
    "concurrency": "requests at once",
}


def money(usd: str | float | Decimal) -> str:
    """US dollars with as many places as it takes to see something."""
    amount = Decimal(str(usd))
    size = abs(amount)
    if not size:
        return "$0"
    places = 2 if size >= 1 else 4 if size >= Decimal("0.01") else 6
    return f"{'-' if amount < 0 else ''}${size:,.{places}f}"


def micro(amount: float) -> str:
    """Millionths of a US dollar, the same way."""
    return money(Decimal(int(amount)) / MICRO)


def exact(amount: int) -> str:
    """Millionths of a US dollar to the last one, for tables and sums."""
    return f"{'-' if amount < 0 else ''}${Decimal(abs(amount)) / MICRO:,.6f}"


def count(amount: float) -> str:
    """A number with its thousands apart; at most one place behind the point."""
    return f"{amount:,.0f}" if float(amount).is_integer() or abs(amount) >= 1000 else f"{amount:,.1f}"


def audio(seconds: float) -> str:
    """How long audio is: in seconds, minutes or hours."""
    if seconds < 60:
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    if seconds < 36_000:
        return f"{seconds / 60:,.1f}".removesuffix(".0") + " min"
    return f"{seconds / 3600:,.1f}".removesuffix(".0") + " h"


def minutes(amount: float) -> str:
    """The same from minutes, as a scale has it: in one unit, unless it is less than a minute."""
    if amount < 1:
        return audio(amount * 60)
    return f"{amount:,.2f}".rstrip("0").removesuffix(".") + " min"


def span(ms: float) -> str:
    """How long something took, from milliseconds."""
    if ms < 1000:
        return f"{ms:.0f} ms" if ms >= 10 or not ms else f"{ms:.1f} ms"
    return f"{ms / 1000:.2f} s" if ms < 60_000 else f"{ms / 60_000:.1f} min"


def bytes_(amount: float) -> str:
    """An amount of data."""
    for unit in ("B", "KB", "MB"):
        if amount < 1000:
            return f"{amount:.0f} B" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} GB"


def percent(share: float) -> str:
    """A share of one."""
    return f"{share * 100:.1f}".removesuffix(".0") + " %"


def moment(seconds: float | None) -> str:
    """Seconds since 1970 as a browser's script reads them: RFC 3339."""
    return "" if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def shown(when: str) -> str:
    """A time as RFC 3339 has it, for people, in UTC; a script makes it theirs."""
    return when[:19].replace("T", " ") + " UTC" if when else ""


def tone(status: int) -> str:
    """How an HTTP status looks, 0 for none."""
    return "good" if 0 < status < 400 else "warn" if 400 <= status < 500 else "bad"


def used(ms: int, characters: int) -> str:
    """What a request used."""
    if characters:
        return f"{count(characters)} chars"
    return audio(ms / 1000) if ms else "–"


def hour(named: str) -> str:
    """Names of hours (2026-01-31T15:00Z) for people; those of days and months stay."""
    return named.replace("T", " ").replace("Z", "")


def measured(amount: str | float, measure: str) -> str:
    """An amount of a limit, in the units of the configuration file."""
    if measure == "usd":
        return money(str(amount))
    return audio(float(amount)) if measure == "audio_seconds" else count(float(amount))


def sentence(text: str) -> str:
    """A message of a room below, for people."""
    return plain(text[:1].upper() + text[1:]).removesuffix(".") + "."


FILTERS: Mapping[str, Callable[..., str]] = {
    "money": money,
    "micro": micro,
    "exact": exact,
    "count": count,
    "audio": audio,
    "span": span,
    "bytes": bytes_,
    "percent": percent,
    "moment": moment,
    "shown": shown,
    "hour": hour,
    "tone": tone,
    "measured": measured,
    "plain": plain,
    "measure": lambda name: MEASURES.get(name, name),
}
