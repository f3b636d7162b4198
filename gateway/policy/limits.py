"""What can be limited, and what a request reserves of it. Pure.

A limit is a row `{measure, per, amount}`; a new measure is a row of MEASURES. Used and reserved are counted apart:
a request passes when used + reserved + its own estimate stays within every limit of its key, team and upstream.
Requests per minute and per hour are rates: a bucket of `burst` requests that fills up evenly by `amount` a period, so
in any span of time at most burst + amount * span / period are let in.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_HALF_EVEN, Decimal

from gateway.audio.request import AudioRequest
from gateway.audio.usage import Usage
from gateway.errors import Refused
from gateway.policy.pricing import MICRO, Price, cost


@dataclass(frozen=True, slots=True)
class Measure:
    """One thing that is counted: store units per unit of the configuration, and words for people."""

    scale: int
    words: str
    windowed: bool = True


# Order matters: the scripts know measures by their place, and `concurrency` is no sum but the leases held.
MEASURES: Mapping[str, Measure] = {
    "usd": Measure(MICRO, "US dollars"),
    "audio_seconds": Measure(1000, "seconds of audio"),
    "characters": Measure(1, "characters"),
    "requests": Measure(1, "requests"),
    "concurrency": Measure(1, "requests at once", windowed=False),
}
_PER = {"": "", "total": " in all"}
PERIODS = ("minute", "hour", "day", "month", "total")
BURSTS = frozenset({"minute", "hour", ""})  # waiting helps; in the longer ones it is a quota that is used up
RATES = frozenset({("requests", "minute"), ("requests", "hour")})


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `amount` (in store units: micro-USD, milliseconds, characters, requests) of `measure` per `per`.

    `per` is "" for concurrency. `burst`: how many a rate lets in at once, 0 for as many as `amount`; see RATES.
    """

    measure: str
    per: str
    amount: int
    burst: int = 0


@dataclass(slots=True, unsafe_hash=True)
class Amounts:
    """What one request takes, in store units: micro-USD, milliseconds of audio, characters, requests."""

    usd: int = 0
    ms: int = 0
    characters: int = 0
    requests: int = 1


NOTHING = Amounts(requests=0)

# For prices by token: what a second of audio or a character may come to, leaning high.
# Sources: 1,000 audio tokens are billed for a minute of input, about 1,250 for a minute of speech.
INPUT_TOKENS_PER_SECOND = 20
OUTPUT_TOKENS_PER_SECOND = 8
OUTPUT_TOKENS_PER_CHARACTER = 2


def estimated(request: AudioRequest) -> Usage:
    """What a request may come to use, leaning high, from what is known before it is served."""
    if request.characters:
        return Usage(
            characters=request.characters,
            input_tokens=request.characters,
            output_tokens=request.characters * OUTPUT_TOKENS_PER_CHARACTER,
        )
    audio = int(request.seconds * INPUT_TOKENS_PER_SECOND)
    return Usage(
        seconds=request.seconds,
        input_tokens=audio,
        audio_tokens=audio,
        output_tokens=int(request.seconds * OUTPUT_TOKENS_PER_SECOND),
    )


def reserve(request: AudioRequest, price: Price) -> Amounts:
    """What to hold back for a request before it is served, at this price."""
    usage = estimated(request)
    return amounts(usage, cost(price, usage), rounding=ROUND_CEILING)


def amounts(usage: Usage, usd: Decimal, *, rounding: str = ROUND_HALF_EVEN) -> Amounts:
    """Usage and its cost in store units. The only place where money is rounded, to whole micro-USD."""
    ms = (Decimal(str(usage.seconds)) * 1000).to_integral_value(rounding) if usage.seconds else 0
    return Amounts(int((usd * MICRO).to_integral_value(rounding)), int(ms), usage.characters)


@dataclass(frozen=True, slots=True)
class Denial:
    """The limit that stood in the way: whose, which, how far it is used (store units), milliseconds to its reset.

    `scope` is "key", "team" or "upstream"; `wait_ms` None means that waiting never helps.
    """

    scope: str
    name: str
    limit: Limit
    used: int
    asked: int
    wait_ms: int | None


def denied(denials: Sequence[Denial]) -> Refused:
    """The refusal for a request that no candidate could take: the limit that gives way first is named."""
    first = min(denials, key=_wait)
    limit, measure = first.limit, MEASURES[first.limit.measure]
    words = {
        "scope": f"{first.scope} {first.name}",
        "what": measure.words + _PER.get(limit.per, f" per {limit.per}"),
        "limit": _shown(limit.amount, measure),
        "used": _shown(first.used, measure),
        "asked": _shown(first.asked, measure),
    }
    if _wait(first) == math.inf and first.asked > limit.amount:
        return Refused("over_limit", words)
    if limit.per in BURSTS:
        seconds = (first.wait_ms or 1000) / 1000
        return Refused(
            "rate_limit", {**words, "wait": duration(seconds)}, retry_after=seconds, headers=_headers(limit, seconds)
        )
    if first.wait_ms is None:
        return Refused("quota", {**words, "reset": "It does not reset by itself."})
    seconds = first.wait_ms / 1000
    return Refused("quota", {**words, "reset": f"It resets in {duration(seconds)}."}, retry_after=seconds)


def _wait(denial: Denial) -> float:
    """Milliseconds until it may pass; never, where the request alone is more than the limit."""
    never = denial.wait_ms is None or denial.asked > denial.limit.amount
    return math.inf if never else float(denial.wait_ms or 0)


def _headers(limit: Limit, seconds: float) -> dict[str, str]:
    if limit.measure != "requests":
        return {}
    return {
        "x-ratelimit-limit-requests": str(limit.amount),
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": duration(seconds),
    }


def duration(seconds: float) -> str:
    """Seconds the way OpenAI's rate limit headers write them: 24ms, 1s, 6m0s, 3h0m0s."""
    if seconds < 1:
        return f"{round(seconds * 1000)}ms"
    whole = round(seconds)
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    if hours:
        return f"{hours}h{minutes}m{rest}s"
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"


def _shown(amount: int, measure: Measure) -> str:
    return f"{Decimal(amount) / measure.scale:f}"
