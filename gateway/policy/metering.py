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
UNUSED = Usage(seconds=0.0)


@dataclass(frozen=True, slots=True)
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


def metered(request: AudioRequest, said: Usage, *, counted: float | None, price: Price) -> Metered:
    """What to charge. `said` is what the answer told, `counted` the seconds found in the upload, None if unknown.

    The larger of two figures that disagree is charged: forged headers and careless upstreams err downwards.
    """
    guess = estimated(request)
    if request.endpoint.reader == "form":
        found = _seconds(said.seconds, counted, guess.seconds or 0.0)
    elif request.characters:
        found = Metered(Usage(characters=request.characters), "input")
    else:
        return Metered(UNUSED, "none")
    tokens = said
    if by_tokens(price) and not (said.input_tokens or said.output_tokens):
        tokens = estimated(replace(request, seconds=found.usage.seconds or 0.0))
        found = replace(found, source="estimate")
    usage = replace(
        found.usage,
        input_tokens=tokens.input_tokens,
        output_tokens=tokens.output_tokens,
        audio_tokens=tokens.audio_tokens,
    )
    return replace(found, usage=usage)


def _seconds(said: float | None, counted: float | None, guess: float) -> Metered:
    if said is not None and counted is not None:
        source = "upstream" if said >= counted or not _differ(said, counted) else "packets"
        return Metered(Usage(seconds=said if source == "upstream" else counted), source, _differ(said, counted))
    if said is not None:
        return Metered(Usage(seconds=said), "upstream")
    if counted is not None:
        return Metered(Usage(seconds=counted), "packets")
    return Metered(Usage(seconds=guess), "estimate")


def _differ(one: float, other: float) -> bool:
    return abs(one - other) > TOLERANCE * max(one, other)
