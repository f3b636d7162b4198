from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.audio.usage import Usage
from gateway.policy.pricing import FREE, UNITS, Price, by_tokens, cost, find, tariff, times, told


@pytest.mark.parametrize(
    ("price", "usage", "usd"),
    [
        (Price(per_minute=Decimal("0.006")), Usage(seconds=60), "0.006"),
        (Price(per_minute=Decimal("0.006")), Usage(seconds=0.1), "0.00001"),
        (Price(per_minute=Decimal("0.006")), Usage(seconds=1830.53), "0.183053"),
        (Price(per_minute=Decimal("0.006")), Usage(), "0"),
        (Price(per_second=Decimal("0.0001")), Usage(seconds=0.3), "0.00003"),
        (Price(per_1m_characters=Decimal(15)), Usage(characters=4096), "0.06144"),
        (Price(per_1m_input_tokens=Decimal("2.5")), Usage(input_tokens=3, audio_tokens=2), "0.0000075"),
        (Price(per_1m_output_tokens=Decimal(10)), Usage(output_tokens=1), "0.00001"),
        (Price(per_request=Decimal("0.01")), Usage(), "0.01"),
        (Price(per_request=Decimal("0.01"), per_second=Decimal(1)), Usage(seconds=2.5), "2.51"),
        (FREE, Usage(seconds=1e6, characters=10**9, input_tokens=10**9, output_tokens=10**9, audio_tokens=9), "0"),
    ],
)
def test_a_bill_is_usage_times_price_to_the_last_digit(price: Price, usage: Usage, usd: str) -> None:
    assert cost(price, usage) == Decimal(usd)


def test_audio_tokens_with_a_price_of_their_own_are_not_charged_twice() -> None:
    price = Price(per_1m_input_tokens=Decimal(1), per_1m_audio_tokens=Decimal(100))
    assert cost(price, Usage(input_tokens=10, audio_tokens=4)) == Decimal("0.000406")


def test_more_audio_tokens_than_input_tokens_charge_no_more_than_the_input() -> None:
    price = Price(per_1m_input_tokens=Decimal(1), per_1m_audio_tokens=Decimal(100))
    assert cost(price, Usage(input_tokens=10, audio_tokens=4_000)) == Decimal("0.001")
    assert cost(price, Usage(input_tokens=0, audio_tokens=4_000)) == 0


@given(
    st.integers(0, 604_800_000),
    st.integers(0, 10**9),
    st.integers(0, 10**9),
    st.decimals(0, 1_000, places=6),
    st.decimals(0, 1_000, places=6),
    st.decimals(0, 1_000, places=6),
)
def test_no_digit_drifts(ms: int, tokens: int, characters: int, a: Decimal, b: Decimal, c: Decimal) -> None:
    price = Price(per_minute=a, per_1m_output_tokens=b, per_1m_characters=c)
    exact = Fraction(a) * Fraction(ms, 60_000) + Fraction(b) * tokens / 1_000_000 + Fraction(c) * characters / 1_000_000
    found = Fraction(cost(price, Usage(seconds=ms / 1000, output_tokens=tokens, characters=characters)))
    assert abs(found - exact) < Fraction(1, 10**12)


@given(st.integers(1, 10_000), st.decimals(0, 10, places=6))
def test_a_thousand_seconds_cost_as_much_as_one_a_thousand_times(seconds: int, per_second: Decimal) -> None:
    price = Price(per_second=per_second)
    assert cost(price, Usage(seconds=float(seconds))) * 1000 == cost(price, Usage(seconds=float(seconds * 1000)))


@pytest.mark.parametrize("unit", UNITS)
def test_every_unit_charges_something(unit: str) -> None:
    usage = Usage(seconds=60.0, characters=1_000, input_tokens=1_000, output_tokens=1_000, audio_tokens=500)
    assert cost(Price(**{unit: Decimal(1)}), usage) > 0
    assert by_tokens(Price(**{unit: Decimal(1)})) is ("tokens" in unit)


def test_free_is_not_by_tokens() -> None:
    assert not by_tokens(FREE)


def test_a_models_own_row_goes_before_globs_and_globs_in_their_order() -> None:
    one, two, three = (Price(per_request=Decimal(n)) for n in (1, 2, 3))
    prices = {"gpt-*": one, "gpt-4o-*": two, "gpt-4o-transcribe": three}
    assert find(prices, "gpt-4o-transcribe") is three
    assert find(prices, "gpt-4o-mini-transcribe") is one
    assert find({"gpt-4o-*": two, "gpt-*": one}, "gpt-4o-mini-transcribe") is two
    assert find(prices, "whisper-1") is None
    assert find(prices, "GPT-4") is None  # names are told apart by case
    assert find({}, "x") is None


def priced(**rows: int) -> dict[str, Price]:
    return {name: Price(per_request=Decimal(usd)) for name, usd in rows.items()}


@pytest.mark.parametrize(
    ("model", "usd"),
    [
        ("a", 1),  # the first list has it by name
        ("b", 20),  # the second one has it by name
        ("gpt-4", 2),  # the first list's glob goes before the second one's name
        ("gpt", 30),  # by the second list's glob, since the first one's does not fit
        ("c", 300),
        ("d", None),
    ],
)
def test_an_earlier_list_of_prices_goes_before_all_later_ones(model: str, usd: int | None) -> None:
    first = priced(a=1) | {"gpt-*": Price(per_request=Decimal(2))}
    second = priced(a=10, b=20) | {"gpt*": Price(per_request=Decimal(30)), "gpt-4": Price(per_request=Decimal(40))}
    found = find(tariff(first, second, priced(a=100, b=200, c=300)), model)
    assert (found and found.per_request) == usd


def test_a_glob_for_everything_hides_all_names_that_come_later() -> None:
    assert tariff({"*": FREE}, priced(a=1, b=2)) == {"*": FREE}
    assert list(tariff(priced(a=1), {"*": FREE}, priced(b=2))) == ["a", "*"]


def test_no_list_has_no_prices() -> None:
    assert tariff() == tariff({}, {}) == {}


@given(
    st.decimals(0, 1_000_000, places=12, allow_nan=False),
    st.decimals(Decimal("0.000001"), 1000, places=6, allow_nan=False),
)
def test_a_multiple_of_a_price_is_exact(usd: Decimal, factor: Decimal) -> None:
    found = times(Price(**dict.fromkeys(UNITS, usd)), factor)  # type: ignore[arg-type]
    assert {Fraction(getattr(found, unit)) for unit in UNITS} == {Fraction(usd) * Fraction(factor)}


def test_a_multiple_says_so_where_it_came_from() -> None:
    price = Price(per_minute=Decimal("0.006"), origin="common")
    assert times(price, Decimal(1)) is price
    assert times(price, Decimal("2.50")) == Price(per_minute=Decimal("0.015"))
    assert times(price, Decimal("2.50")).origin == "common × 2.5"
    assert times(price, Decimal(100)).origin == "common × 100"
    assert times(FREE, Decimal(2)) == FREE


def test_where_a_price_comes_from_makes_no_difference_between_prices() -> None:
    assert Price(per_minute=Decimal(1), origin="a") == Price(per_minute=Decimal(1), origin="b")
    assert Price(origin="own") == FREE
    assert "origin" not in UNITS


@pytest.mark.parametrize(
    ("price", "words"),
    [
        (FREE, "free"),
        (Price(per_minute=Decimal("0.0060")), "$0.006 per minute"),
        (Price(per_1m_characters=Decimal("3E+1")), "$30 per 1M characters"),
        (
            Price(per_1m_input_tokens=Decimal("2.5"), per_1m_output_tokens=Decimal(10)),
            "$2.5 per 1M input tokens + $10 per 1M output tokens",
        ),
        (Price(per_second=Decimal("1E-12"), per_request=Decimal(1)), "$0.000000000001 per second + $1 per request"),
    ],
)
def test_a_price_is_told_in_words(price: Price, words: str) -> None:
    assert told(price) == words
