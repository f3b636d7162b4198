"""Which upstreams may serve a request, in which order. Pure."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil

from gateway.audio.request import OTHER, PREFIX, AudioRequest
from gateway.errors import Refused, refuse
from gateway.policy.keys import Caller
from gateway.policy.picking import Choice, Outlook, order
from gateway.policy.pricing import Price, find
from gateway.upstreams.base import Upstream

ANY_AUDIO = PREFIX + "*"  # the price row of requests that name no model
DRAINED = 30  # seconds until a caller may look whether an upstream is in use again
REMEMBERED = 1000  # models, since patterns let callers make up any number of them


@dataclass(slots=True)
class Candidate:
    """An upstream that can serve the request, what it calls the model, and what it costs there."""

    upstream: Upstream
    model: str
    price: Price


@dataclass(frozen=True, slots=True)
class Market:
    """What is on offer: the upstreams and their prices by model (upstream's own row first, then the common one)."""

    upstreams: tuple[Upstream, ...]
    prices: Mapping[str, Mapping[str, Price]]
    _found: dict[str | None, tuple[Candidate, ...]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def candidates(self, model: str | None) -> tuple[Candidate, ...]:
        """Who serves a model that has a price there; None stands for requests that name none."""
        found = self._found.get(model)
        if found is None:
            if len(self._found) >= REMEMBERED:
                self._found.clear()
            found = self._found[model] = tuple(self._search(model))
        return found

    def price(self, upstream: Upstream, model: str) -> Price | None:
        """The price of a model at an upstream, None if nobody set one. ANY_AUDIO has to be named as it is."""
        prices = self.prices[upstream.name]
        return prices.get(model) if model == ANY_AUDIO else find(prices, model)

    def _search(self, model: str | None) -> Iterator[Candidate]:
        for upstream in self.upstreams:
            sent = "" if model is None else upstream.sent_model(model) or None
            price = self.price(upstream, ANY_AUDIO if model is None else model)
            if sent is not None and price is not None:
                yield Candidate(upstream, sent, price)


def plan(
    request: AudioRequest,
    caller: Caller,
    market: Market,
    *,
    outlook: Callable[[Candidate], Outlook],
    draw: Callable[[], float],
) -> tuple[Candidate, ...]:
    """The candidates in the order in which they are to be tried, at least one.

    Those that failed lately go last and are never dropped: when all look bad, one of them may still answer. Left out
    are those that said when to come again, that are full, and that are drained. `draw` gives numbers in [0, 1). Raises
    Refused (400, 403, 404; 429, 503 where all are left out).
    """
    serving = _serving(request, caller, market)
    allowed = [candidate for candidate in serving if caller.may_use_upstream(candidate.upstream.name)]
    if not allowed:
        raise refuse("no_upstream")
    able = [candidate for candidate in allowed if fits(candidate.upstream, request)]
    if not able:
        raise bad_format(request, (candidate.upstream for candidate in allowed))
    places = None if caller.upstreams is None else {name: place for place, name in enumerate(caller.upstreams)}
    tiers: dict[tuple[bool, bool, int], list[Choice[Candidate]]] = {}
    for candidate, known in _open(able, outlook):
        one = candidate.upstream
        place = one.priority if places is None else places[one.name]
        tier = tiers.setdefault((known.shut, not _suits(one, request), place), [])
        tier.append(Choice(candidate, one.weight, known))
    return tuple(candidate for _, tier in sorted(tiers.items()) for candidate in order(tier, draw=draw))


def fits(upstream: Upstream, request: AudioRequest) -> bool:
    """Whether an upstream can give the answer that is asked for."""
    if request.endpoint.name not in upstream.can.routes:
        return False
    return not _transcribes(request) or request.response_format in upstream.can.formats


def bad_format(request: AudioRequest, upstreams: Iterable[Upstream]) -> Exception:
    """The refusal when none of these upstreams can give the format, naming those that they can give."""
    routes = [one.can for one in upstreams if request.endpoint.name in one.can.routes]
    choice = [value for value in request.endpoint.formats if any(value in can.formats for can in routes)]
    if not _transcribes(request) or not choice or request.response_format in choice:
        return refuse("no_upstream")
    words = " or ".join(f"'{value}'" for value in choice)
    return refuse("bad_format", value=request.response_format, model=request.model, choice=words)


def models_for(caller: Caller, market: Market) -> tuple[str, ...]:
    """The models that a caller may name, in the order of the configuration."""
    names: dict[str, None] = {}
    for upstream in market.upstreams:
        if caller.may_use_upstream(upstream.name):
            exact = (name for name in upstream.models if not set(name) & set("*?["))
            names.update(dict.fromkeys(name for name in exact if caller.may_use_model(name)))
    return tuple(names)


def _open(able: list[Candidate], outlook: Callable[[Candidate], Outlook]) -> list[tuple[Candidate, Outlook]]:
    """Those that take requests now, and what is known of them."""
    found = [(candidate, outlook(candidate)) for candidate in able]
    ready = [(candidate, known) for candidate, known in found if not (known.full or known.wait or known.drained)]
    if not ready:
        raise closed([known for _, known in found])
    return ready


def undrained(candidates: Iterable[Candidate], outlook: Callable[[Candidate], Outlook]) -> list[Candidate]:
    """Those that may still be tried: operators may have taken some out of use meanwhile."""
    return [candidate for candidate in candidates if not outlook(candidate).drained]


def closed(found: Sequence[Outlook]) -> Refused:
    """The refusal when none of these takes a request now."""
    used = [known for known in found if not known.drained]
    if not used:
        return refuse("drained", retry_after=DRAINED, wait=f"{DRAINED}s")
    if any(not known.wait for known in used):
        return refuse("overloaded", retry_after=1, wait="1s")
    return busy(min(known.wait for known in used))


def busy(wait: float) -> Refused:
    """The refusal when every upstream wants to be left alone, the first of them for `wait` seconds."""
    wait = max(wait, 1.0)
    return refuse("upstream_busy", retry_after=wait, wait=f"{ceil(wait)}s")


def _serving(request: AudioRequest, caller: Caller, market: Market) -> tuple[Candidate, ...]:
    found: tuple[Candidate, ...] = ()
    if request.endpoint is OTHER:
        found = market.candidates(None)
    elif request.model is not None and caller.may_use_model(request.model):
        found = market.candidates(request.model)
    if not found and request.endpoint is OTHER:
        raise refuse("no_upstream")
    if not found:
        raise refuse("no_model", model=str(request.model)[:100])
    return found


def _transcribes(request: AudioRequest) -> bool:
    return request.endpoint.reader == "form"


def _suits(upstream: Upstream, request: AudioRequest) -> bool:
    """Whether nothing speaks against it: streams when asked to, knows the container by its extension."""
    can = upstream.can
    if request.container is not None and can.containers is not None and request.container.name not in can.containers:
        return False
    return can.stream or not (request.stream and _transcribes(request))
