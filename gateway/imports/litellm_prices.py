"""What LiteLLM was told that a model costs, in our units. It charges by the first of several fields, never by both."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from gateway.imports.draft import Draft, number
from gateway.imports.prices import price_of
from gateway.policy.pricing import FREE, Price, told

MILLION = Decimal(1_000_000)


@dataclass(frozen=True, slots=True)
class Cost:
    """A unit of ours, the fields that may say what it costs (the first that is not zero does), for which models."""

    unit: str
    fields: tuple[str, ...]
    times: Decimal = Decimal(1)
    models: Literal["all", "speaking", "listening"] = "all"


# Source: LiteLLM's cost per second (output before input), and its price map of OpenAI's audio models.
COSTS = (
    Cost("per_second", ("output_cost_per_second", "input_cost_per_second"), models="listening"),
    Cost("per_1m_characters", ("input_cost_per_character", "output_cost_per_character"), MILLION),
    Cost("per_1m_input_tokens", ("input_cost_per_token",), MILLION),
    Cost("per_1m_audio_tokens", ("input_cost_per_audio_token",), MILLION),
    Cost("per_1m_output_tokens", ("output_cost_per_audio_token", "output_cost_per_token"), MILLION, "speaking"),
    Cost("per_1m_output_tokens", ("output_cost_per_token",), MILLION, "listening"),
    Cost("per_request", ("input_cost_per_request", "input_cost_per_query")),
)


def is_cost(field: str) -> bool:
    """Whether a field tells a price."""
    return "cost" in field


def price(draft: Draft, what: str, fields: Mapping[str, object], *, speaking: bool) -> Price | None:
    """The price that these fields say, None if they say none. Each of them gets its line."""
    amounts = {name: amount for name, value in fields.items() if is_cost(name) and value is not None
               for amount in (number(value),)}  # fmt: skip
    used: dict[str, str] = {}
    units: dict[str, Decimal] = {}
    for cost in COSTS:
        if cost.models not in ("all", "speaking" if speaking else "listening"):
            continue
        told_here = [
            (name, amount) for name in cost.fields if (amount := amounts.get(name)) is not None and amount >= 0
        ]
        if told_here:
            name, amount = next(((name, amount) for name, amount in told_here if amount), told_here[0])
            units[cost.unit], used[name] = amount * cost.times, cost.unit
    for name in amounts:
        if name not in used:
            draft.say("left out", f"{what}: {name}", "it has no counterpart, or another price goes before it")
    if not used:
        return None
    found = price_of(units)
    if found is None:
        draft.say("left out", f"{what}: price", "it is more than a file of ours may say")
        return None
    draft.say("taken", f"{what}: price", f"{', '.join(used)}: {told(found)}")
    return found if any(units.values()) else FREE
