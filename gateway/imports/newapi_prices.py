"""new-api's ratios as prices. A ratio of 1 is $0.002 for 1,000 units; a minute of audio and a thousand characters are
1,000 units each.
"""

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal

from gateway.imports import names
from gateway.imports.draft import Draft, mapping, number
from gateway.imports.prices import price_of
from gateway.policy.pricing import FREE, told

PER_THOUSAND = Decimal("0.002")
QUOTA_PER_USD = Decimal(500_000)
_READ = frozenset(("ModelRatio", "ModelPrice", "CompletionRatio", "GroupRatio", "QuotaPerUnit"))


def quota_unit(draft: Draft, options: Mapping[str, str]) -> Decimal:
    """How much quota a US dollar is."""
    found = number(options.get("QuotaPerUnit"))
    if found is None or found <= 0:
        return QUOTA_PER_USD
    if found != QUOTA_PER_USD:
        draft.say("taken", "option QuotaPerUnit", f"a US dollar is a quota of {found.normalize():f}")
    return found


def prices(draft: Draft, options: Mapping[str, str], models: Sequence[str]) -> None:
    """Set the common prices of these models from the options, if they say any."""
    ratios, calls, completions = (_table(options.get(name)) for name in ("ModelRatio", "ModelPrice", "CompletionRatio"))
    for model in models:
        units = _units(model, ratios.get(model), calls.get(model), completions.get(model))
        if not units:
            continue
        price = price_of(units)
        if price is None:
            draft.say("left out", f"price of {model}", "it is more than a file of ours may say")
            continue
        draft.prices[model] = price if any(units.values()) else FREE
        draft.say("taken", f"price of {model}", f"{told(price)}, as new-api bills it at a group ratio of 1")
    groups = {group: ratio for group, ratio in _table(options.get("GroupRatio")).items() if ratio != 1}
    if groups:
        words = ", ".join(f"{group} {ratio.normalize():f}" for group, ratio in groups.items())
        draft.say("left out", "option GroupRatio", f"prices are the same for all teams, not times {words}")
    others = [name for name in options if name not in _READ]
    if others:
        draft.say("left out", "options", f"they have no counterpart: {', '.join(others)}")


def _units(
    model: str, ratio: Decimal | None, call: Decimal | None, completion: Decimal | None
) -> dict[str, Decimal] | None:
    if call is not None:
        return {"per_request": call}
    if ratio is None:
        return None
    if model.startswith("gpt-"):  # billed by tokens: what comes out is dearer by a ratio that has to be known
        if completion is None:
            return None
        tokens = ratio * PER_THOUSAND * 1000
        return {"per_1m_input_tokens": tokens, "per_1m_output_tokens": tokens * completion}
    if names.speaks(model):
        return {"per_1m_characters": ratio * PER_THOUSAND * 1000}
    return {"per_minute": ratio * PER_THOUSAND}


def _table(value: str | None) -> dict[str, Decimal]:
    """A table of numbers of at least zero, which an option holds as JSON."""
    try:
        found = mapping(json.loads(value or "{}", parse_float=Decimal))
    except (ValueError, RecursionError, ArithmeticError):
        return {}
    return {name: amount for name, one in found.items() if (amount := number(one)) is not None and amount >= 0}
