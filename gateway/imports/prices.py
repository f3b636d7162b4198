"""What a model costs that was taken over: what its gateway said, else the list price of the model it really is."""

from collections.abc import Mapping
from dataclasses import replace
from decimal import ROUND_HALF_EVEN, Decimal

from gateway.config.values import MOST_USD
from gateway.imports.draft import Draft, UpstreamDraft
from gateway.policy.openai_prices import AS_OF, PRICES
from gateway.policy.pricing import FREE, UNITS, Price, find

_PARTS = Decimal("0.000000000001")


def price_of(units: Mapping[str, Decimal]) -> Price | None:
    """A price from amounts of at least zero, at most 12 decimals each; None where one is beyond what a file may say."""
    if any(not 0 <= amount <= MOST_USD for amount in units.values()):
        return None
    exact = {unit: amount.quantize(_PARTS, rounding=ROUND_HALF_EVEN) for unit, amount in units.items()}
    return Price(**exact, origin="")


def written(price: Price) -> dict[str, str]:
    """The units of a price that cost anything, as the file writes them."""
    return {unit: f"{getattr(price, unit).normalize():f}" for unit in UNITS if getattr(price, unit)}


def settle(draft: Draft, upstream: UpstreamDraft, name: str, own: Price | None, what: str) -> None:
    """Give a model of an upstream its price: `own` if there is one, else OpenAI's for the model that it is there."""
    target = upstream.models[name]
    if own is not None:
        upstream.prices[name] = own
        return
    if find(draft.prices, name) is not None:
        return
    listed = PRICES.get(target)
    if listed is None:
        upstream.prices[name] = FREE
        upstream.unpriced.add(name)
        draft.say("to do", f"{what}: price", f"none is known for {target}: it is free until you write one")
        return
    if PRICES.get(name) != listed:
        upstream.prices[name] = replace(listed, origin="")
    words = f"none was set: OpenAI's list price of {target} counts, as of {AS_OF}"
    draft.say("changed", f"{what}: price", words)
