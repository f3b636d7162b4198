"""Which models a visitor may use, in which direction, and what their upstreams can do together."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gateway.audio.request import ENDPOINTS
from gateway.pages.visiting import Visit
from gateway.policy.pricing import Price
from gateway.policy.routing import Candidate
from gateway.upstreams.base import Upstream

GLOB = frozenset("*?[")
RECORDED = "webm"  # the container of most browsers' recordings
ROUTES = {one.name: one for one in ENDPOINTS.values()}
# What a name says where the price does not: models billed by tokens may do either.
HEARING, SPEAKING = ("whisper", "transcribe", "asr", "stt"), ("tts", "speech")


@dataclass(frozen=True, slots=True)
class Offer:
    """A model: the `formats` that its upstreams can write, whether one `streams`, and whether one reads what browsers
    record (`recorded`).
    """

    name: str
    formats: tuple[str, ...]
    streams: bool
    recorded: bool


@dataclass(frozen=True, slots=True)
class Offers:
    """Models for audio to text and for text to audio; `others`: patterns let them use models that are not named."""

    hearing: tuple[Offer, ...]
    speaking: tuple[Offer, ...]
    others: bool


def offers(visit: Visit) -> Offers:
    """What a visitor may use; operators are shown all there is."""
    upstreams = [one for one in visit.site.config.market.upstreams if _may_use_upstream(visit, one)]
    names = dict.fromkeys(name for one in upstreams for name in _names(visit, one))
    found = [(name, _candidates(visit, name)) for name in names]
    return Offers(
        tuple(_offer(name, served) for name, served in found if _serves(name, served, "transcription")),
        tuple(_offer(name, served) for name, served in found if _serves(name, served, "speech")),
        any(GLOB & set(name) for one in upstreams for name in one.models),
    )


def _names(visit: Visit, upstream: Upstream) -> Iterator[str]:
    """Those that the configuration names; where it has patterns, those with a price are guesses as good as any."""
    caller, patterns = visit.who.caller, any(GLOB & set(name) for name in upstream.models)
    priced = visit.site.config.market.prices[upstream.name] if patterns else ()
    for name in (*upstream.models, *priced):
        if not GLOB & set(name) and (caller is None or caller.may_use_model(name)):
            yield name


def _candidates(visit: Visit, name: str) -> list[Candidate]:
    return [one for one in visit.site.config.market.candidates(name) if _may_use_upstream(visit, one.upstream)]


def _may_use_upstream(visit: Visit, upstream: Upstream) -> bool:
    return visit.who.caller is None or visit.who.caller.may_use_upstream(upstream.name)


def _serves(name: str, served: Sequence[Candidate], route: str) -> bool:
    return any(route in one.upstream.can.routes and _means(name, one.price, route) for one in served)


def _means(name: str, price: Price, route: str) -> bool:
    """Whether a model is for a route, as far as name and price tell; where they tell nothing it may be for any."""
    hears = bool(price.per_minute or price.per_second) or any(word in name.lower() for word in HEARING)
    speaks = bool(price.per_1m_characters) or any(word in name.lower() for word in SPEAKING)
    return hears == speaks or (hears if route == "transcription" else speaks)


def _offer(name: str, served: Sequence[Candidate]) -> Offer:
    can = [one.upstream.can for one in served]
    return Offer(
        name,
        tuple(value for value in ROUTES["transcription"].formats if any(value in one.formats for one in can)),
        any(one.stream for one in can),
        any(one.containers is None or RECORDED in one.containers for one in can),
    )
