"""Usage times price row is the bill. Pure; money is Decimal, in US dollars."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from decimal import Decimal
from fnmatch import fnmatchcase

from gateway.audio.usage import Usage

MICRO = 1_000_000
MILLION = Decimal(1_000_000)


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars per unit; what stands at zero is not charged. FREE is the row of an operator who wrote `free`.

    `origin` tells people where the row comes from; it makes no difference between two prices.
    """

    per_minute: Decimal = Decimal(0)
    per_second: Decimal = Decimal(0)
    per_1m_characters: Decimal = Decimal(0)
    per_1m_input_tokens: Decimal = Decimal(0)
    per_1m_output_tokens: Decimal = Decimal(0)
    per_1m_audio_tokens: Decimal = Decimal(0)
    per_request: Decimal = Decimal(0)
    origin: str = field(default="", compare=False)


FREE = Price()
UNITS = tuple(unit.name for unit in fields(Price) if unit.compare)


def cost(price: Price, usage: Usage) -> Decimal:
    """US dollars for this usage, not rounded."""
    usd = Decimal(0)
    if usage.seconds:
        seconds = Decimal(str(usage.seconds))
        usd += price.per_minute * seconds / 60
        usd += price.per_second * seconds
    if usage.characters:
        usd += price.per_1m_characters * usage.characters / MILLION
    if by_tokens(price):
        text_tokens = usage.input_tokens
        audio_tokens = 0
        if price.per_1m_audio_tokens:  # audio tokens have a price of their own, so the others are charged without them
            audio_tokens = min(usage.audio_tokens, usage.input_tokens)
            text_tokens -= audio_tokens
        usd += price.per_1m_input_tokens * text_tokens / MILLION
        usd += price.per_1m_audio_tokens * audio_tokens / MILLION
        usd += price.per_1m_output_tokens * usage.output_tokens / MILLION
    return usd + price.per_request


def by_tokens(price: Price) -> bool:
    """Whether tokens are part of this price."""
    return bool(price.per_1m_input_tokens or price.per_1m_output_tokens or price.per_1m_audio_tokens)


def find(prices: Mapping[str, Price], model: str) -> Price | None:
    """The row for a model: by name, else the first glob that matches; None if there is none."""
    if model in prices:
        return prices[model]
    return next((price for pattern, price in prices.items() if fnmatchcase(model, pattern)), None)


def tariff(*lists: Mapping[str, Price]) -> dict[str, Price]:
    """Several lists of prices as one for `find`, so that a row of an earlier list goes before all later lists.

    `find` looks for names before globs, so the row of a name is left out where a glob of an earlier list covers it.
    """
    found: dict[str, Price] = {}
    for prices in lists:
        found |= {name: price for name, price in prices.items() if not _hidden(name, found)}
    return found


def times(price: Price, factor: Decimal) -> Price:
    """A multiple of a price, exact for a factor of up to 6 decimals and prices of up to 12."""
    if factor == 1:
        return price
    units = {unit: getattr(price, unit) * factor for unit in UNITS}
    return replace(price, **units, origin=f"{price.origin} × {factor.normalize():f}")


def told(price: Price) -> str:
    """A price in words: $0.006 per minute, or free."""
    units = {unit: getattr(price, unit) for unit in UNITS}
    words = [f"${usd.normalize():f} {unit.replace('_', ' ').replace('1m', '1M')}" for unit, usd in units.items() if usd]
    return " + ".join(words) or "free"


def _hidden(name: str, before: Mapping[str, Price]) -> bool:
    """Whether nobody would find a row of this name behind those that are there `before`."""
    return name in before or (not set(name) & set("*?[") and find(before, name) is not None)
