"""Usage times price row is the bill. Pure; money is Decimal, in US dollars."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from decimal import Decimal
from fnmatch import fnmatchcase

from gateway.audio.usage import Usage

MICRO = 1_000_000
MILLION = Decimal(1_000_000)


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars per unit; what stands at zero is not charged. FREE is the row of an operator who wrote `free`."""

    per_minute: Decimal = Decimal(0)
    per_second: Decimal = Decimal(0)
    per_1m_characters: Decimal = Decimal(0)
    per_1m_input_tokens: Decimal = Decimal(0)
    per_1m_output_tokens: Decimal = Decimal(0)
    per_1m_audio_tokens: Decimal = Decimal(0)
    per_request: Decimal = Decimal(0)


FREE = Price()
UNITS = tuple(unit.name for unit in fields(Price))


def cost(price: Price, usage: Usage) -> Decimal:
    """US dollars for this usage, not rounded."""
    seconds = Decimal(str(usage.seconds or 0.0))
    text_tokens = usage.input_tokens
    audio_tokens = 0
    if price.per_1m_audio_tokens:  # audio tokens have a price of their own, so the others are charged without them
        audio_tokens = min(usage.audio_tokens, usage.input_tokens)
        text_tokens -= audio_tokens
    return (
        price.per_minute * seconds / 60
        + price.per_second * seconds
        + price.per_1m_characters * usage.characters / MILLION
        + price.per_1m_input_tokens * text_tokens / MILLION
        + price.per_1m_audio_tokens * audio_tokens / MILLION
        + price.per_1m_output_tokens * usage.output_tokens / MILLION
        + price.per_request
    )


def by_tokens(price: Price) -> bool:
    """Whether tokens are part of this price."""
    return bool(price.per_1m_input_tokens or price.per_1m_output_tokens or price.per_1m_audio_tokens)


def find(prices: Mapping[str, Price], model: str) -> Price | None:
    """The row for a model: by name, else the first glob that matches; None if there is none."""
    if model in prices:
        return prices[model]
    return next((price for pattern, price in prices.items() if fnmatchcase(model, pattern)), None)
