"""How limits, times, spans and others' texts are written where people and programs read and write them. Pure.

A limit in one word is `usd/month=20`, `requests/minute=60,burst=10` or `concurrency=4`; amounts are in the units of the
configuration file.
"""

import re
from datetime import UTC, datetime
from decimal import Decimal

from gateway.policy.limits import MEASURES, Limit

_LIMIT = re.compile(r"([a-z_]+)(?:/([a-z]+))?=(\S+?)(?:,burst=(\S+))?")
_SPAN = re.compile(r"([0-9]{1,7})([smhd]?)")
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}


def told(measure: str, amount: int) -> str | int | float:
    """An amount in store units as programs are told it: US dollars as a decimal text, seconds, or a whole number."""
    scale = MEASURES[measure].scale
    if measure == "usd":
        return f"{Decimal(amount) / scale:f}"
    return amount // scale if amount % scale == 0 else amount / scale


def limit_word(limit: Limit) -> str:
    """A limit in one word, as `read_limit` reads it."""
    per = f"/{limit.per}" if limit.per else ""
    burst = f",burst={limit.burst}" if limit.burst else ""
    return f"{limit.measure}{per}={told(limit.measure, limit.amount)}{burst}"


def read_limit(word: str) -> dict[str, str]:
    """The texts `measure`, `per`, `amount`, `burst` of a limit in one word; nothing is checked. Raises ValueError."""
    match = _LIMIT.fullmatch(word)
    if match is None:
        raise ValueError(
            f"expected a limit such as usd/month=20, requests/minute=60,burst=10 or concurrency=4, got '{word}'"
        )
    found = {"measure": match[1], "per": match[2], "amount": match[3], "burst": match[4]}
    return {name: text for name, text in found.items() if text is not None}


def plain(text: str) -> str:
    """A text that callers may have made up, without what cannot be seen or would steer a terminal."""
    return text if text.isprintable() else "".join(one if one.isprintable() else "\ufffd" for one in text)


def moment(seconds: float) -> str:
    """Seconds since 1970 as RFC 3339 writes them, in UTC: 2027-01-01T00:00:00Z."""
    return datetime.fromtimestamp(int(seconds), UTC).isoformat().replace("+00:00", "Z")


def read_span(text: str) -> int:
    """The seconds of a span such as 90, 15m, 24h or 7d. Raises ValueError."""
    match = _SPAN.fullmatch(text)
    if match is None:
        raise ValueError(f"expected a span such as 24h, 15m or 0, got '{text}'")
    return int(match[1]) * _SECONDS[match[2]]
