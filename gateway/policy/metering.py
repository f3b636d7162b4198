"""What a request is charged for: which source of its amounts is believed. Pure.

Every amount names its source: `upstream` (the answer said so), `packets` (counted in the upload), `input` (the text
that was sent), `estimate` (leaning high, when nothing else was to be had), `none` (nothing is charged).
"""

from dataclasses import dataclass, replace
from typing import Literal

from gateway.audio.request import AudioRequest
from gateway.audio.usage import Usage
from gateway.policy.limits import Amounts, estimated
from gateway.policy.pricing import Price, by_tokens

# What becomes of a reservation that nobody came back for: it is charged; given back; or given back and marked, for an
# operator to see to. Each is recorded.
Expiry = Literal["charge", "refund", "mark"]
TOLERANCE = 0.05
CD_BITS = 1_500_000
"""Bits per second of a CD. A header that nobody could check may not claim more: it would make the audio shorter."""
UNUSED = Usage(seconds=0.0)


@dataclass(slots=True)
class Metered:
    """Amounts to charge, their source, and whether two sources disagreed by more than TOLERANCE."""

    usage: Usage
    source: str
    disputed: bool = False


def wants_counting(request: AudioRequest, said: Usage) -> bool:
    """Whether the upload's packets have to be counted: the answer said nothing, or not what the file's header says."""
    if request.endpoint.reader != "form" or request.seconds_from == "packets":
        return False
    return said.seconds is None or (request.seconds_from == "header" and _differ(said.seconds, request.seconds))


def charged(cost: Amounts, held: Amounts, *, exact: bool) -> Amounts:
    """What the caller is charged where the operator pays `cost`: an exact key never more than was held for it."""
    if not exact:
        return cost
    return replace(
        cost, usd=min(cost.usd, held.usd), ms=min(cost.ms, held.ms), characters=min(cost.characters, held.characters)
    )


def metered(request: AudioRequest, said: Usage, *, counted: float | None, price: Price, size: int = 0) -> Metered:
    """What to charge. `said` is what the answer told, `counted` the seconds found in the upload, None if unknown.

    `size` is that of the body in bytes. The larger of two figures that disagree is charged: forged headers and careless
    upstreams err downwards.
    """
    seconds, source, disputed = None, "input", False
    if request.endpoint.reader == "form":
        least = size * 8 / CD_BITS if request.seconds_from == "header" else 0.0
        seconds, source, disputed = _seconds(said.seconds, counted, max(request.seconds, least))
    elif not request.characters:
        return Metered(UNUSED, "none")
    tokens = said
    if by_tokens(price) and not (said.input_tokens or said.output_tokens):
        tokens = estimated(replace(request, seconds=seconds or 0.0))
        source = "estimate"
    usage = Usage(seconds, request.characters, tokens.input_tokens, tokens.output_tokens, tokens.audio_tokens)
    return Metered(usage, source, disputed)


def _seconds(said: float | None, counted: float | None, guess: float) -> tuple[float, str, bool]:
    """The seconds to charge, their source, and whether two sources disagreed."""
    if said is not None and counted is not None:
        differ = _differ(said, counted)
        return (counted, "packets", True) if differ and counted > said else (said, "upstream", differ)
    if said is not None:
        return said, "upstream", False
    if counted is not None:
        return counted, "packets", False
    return guess, "estimate", False


def _differ(one: float, other: float) -> bool:
    return abs(one - other) > TOLERANCE * max(one, other)
