from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.audio.usage import Usage
from gateway.policy.pricing import FREE, UNITS, Price, by_tokens, cost, find


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
