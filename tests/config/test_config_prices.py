"""Prices in the file: which row counts, what a multiplier does, and what is refused at its line."""

from decimal import Decimal
from pathlib import Path

import pytest

from gateway.config.asked import key_asked
from gateway.config.load import load
from gateway.errors import Refused
from gateway.policy.openai_prices import ORIGIN
from gateway.policy.pricing import FREE, Price
from gateway.policy.routing import ANY_AUDIO, Market
from tests.config.test_config_schema import UPSTREAM, fits
from tests.config.told import GOOD, found

FILE = "upstreams:\n  a: {{kind: openai, base_url: 'http://a', models: [{models}]{row}}}\n{rest}\n"
ABSURD = ["0", "-1", ".nan", ".inf", "1e308", str(2**63), "nan", "1e-308", "''"]


def priced(tmp_path: Path, *, models: str = "whisper-1", row: str = "", rest: str = "") -> Market:
    file = tmp_path / "gateway.yaml"
    file.write_text(FILE.format(models=models, row=row, rest=rest))
    return load(file, {}).market


def of(market: Market, model: str) -> tuple[Price | None, str]:
    price = market.price(market.upstreams[0], model)
    return price, price.origin if price is not None else ""


MINUTE = {usd: Price(per_minute=Decimal(usd)) for usd in ("0.006", "0.009", "1", "2", "3", "4", "7.5")}


@pytest.mark.parametrize(
    ("row", "rest", "price", "origin"),
    [
        ("", "", MINUTE["0.006"], ORIGIN),
        ("", "prices: {tts-1: {per_minute: 1}}", MINUTE["0.006"], ORIGIN),
        ("", "prices: {whisper-1: {per_minute: 1}}", MINUTE["1"], "common"),
        ("", "prices: {'whisper-*': {per_minute: 1}}", MINUTE["1"], "common"),
        ("", "prices: {'*': {per_minute: 1}, whisper-1: {per_minute: 2}}", MINUTE["2"], "common"),
        ("", "prices: {'*': free}", FREE, "common"),
        (", prices: {'*': free}", "prices: {whisper-1: {per_minute: 1}}", FREE, "own"),
        (", prices: {'w*': {per_minute: 3}}", "prices: {whisper-1: {per_minute: 1}}", MINUTE["3"], "own"),
        (", prices: {'w*': {per_minute: 3}, whisper-1: {per_minute: 4}}", "", MINUTE["4"], "own"),
        (", prices: {tts-1: free}", "", MINUTE["0.006"], ORIGIN),
        (", multiplier: 1.5", "", MINUTE["0.009"], f"{ORIGIN} × 1.5"),
        (", multiplier: 2.50", "prices: {whisper-1: {per_minute: 3}}", MINUTE["7.5"], "common × 2.5"),
        (", multiplier: 1000, prices: {whisper-1: {per_minute: 3}}", "", MINUTE["3"], "own"),
        (", multiplier: 2", "prices: {'*': free}", FREE, "common × 2"),
        (", multiplier: 1", "", MINUTE["0.006"], ORIGIN),
    ],
)
def test_own_rows_go_before_common_ones_and_those_before_shipped_ones(
    tmp_path: Path, row: str, rest: str, price: Price, origin: str
) -> None:
    assert of(priced(tmp_path, row=row, rest=rest), "whisper-1") == (price, origin)


def test_a_multiplier_is_that_of_one_upstream(tmp_path: Path) -> None:
    other = "  b: {kind: openai, base_url: 'http://b', models: [whisper-1], multiplier: 0.000001}"
    market = priced(tmp_path, rest=other)
    prices = [market.price(upstream, "whisper-1") for upstream in market.upstreams]
    assert prices == [MINUTE["0.006"], Price(per_minute=Decimal("0.000000006"))]


def test_requests_without_a_model_have_a_price_only_where_the_file_names_their_row(tmp_path: Path) -> None:
    assert of(priced(tmp_path), ANY_AUDIO) == (None, "")
    assert of(priced(tmp_path, rest="prices: {'*': free}"), ANY_AUDIO) == (None, "")
    row = f"prices: {{'{ANY_AUDIO}': {{per_request: 0.5}}}}"
    assert of(priced(tmp_path, row=", multiplier: 2", rest=row), ANY_AUDIO) == (
        Price(per_request=Decimal(1)),
        "common × 2",
    )


@pytest.mark.parametrize("models", ["sing-1", "'*'", "'gpt-4o-*'", "gpt-4o-transcribe-2027-01-01", "WHISPER-1"])
def test_Q_13_a_model_without_any_price_is_refused_at_its_line(tmp_path: Path, models: str) -> None:
    ((line, path, words),) = found(tmp_path, FILE.format(models=models, row="", rest=""))
    assert (line, path) == (2, "upstreams.a.models[0]")
    assert words.startswith(f"{models if models[0] == chr(39) else repr(models)} has no price; write one under prices")


def test_Q_13_free_has_to_be_written(tmp_path: Path) -> None:
    assert of(priced(tmp_path, models="sing-1", rest="prices: {sing-1: free}"), "sing-1") == (FREE, "common")
    assert found(tmp_path, FILE.format(models="sing-1", row="", rest="prices: {sing-1: }"))


@pytest.mark.parametrize("usd", [*ABSURD[1:], "1000000.000000000001", "0.0000000000001"])
@pytest.mark.parametrize("section", ["prices:\n  whisper-1: {{per_minute: {0}}}", "prices:\n  m: {{per_request: {0}}}"])
def test_Q_14_an_absurd_price_is_refused_at_its_line(tmp_path: Path, section: str, usd: str) -> None:
    text = GOOD.partition("prices:")[0] + section.format(usd) + "\n"
    ((line, path, words),) = found(tmp_path, text)
    assert (line, path.partition(".")[0]) == (7, "prices")
    assert (
        words
        == f"expected US dollars from 0 to 1000000 with at most 12 decimals, such as 0.006, got '{usd.strip(chr(39))}'"
    )


def test_Q_14_a_price_of_zero_is_no_price(tmp_path: Path) -> None:
    text = GOOD.replace("0.006", "0")
    ((line, _, words),) = found(tmp_path, text)
    assert (line, words) == (6, "nothing here costs anything; write a price of more than 0, or the word free")


@pytest.mark.parametrize("factor", [*ABSURD, "1000.000001", "1.0000001", "1001", "2x"])
def test_Q_14_an_absurd_multiplier_is_refused_at_its_line(tmp_path: Path, factor: str) -> None:
    text = GOOD.replace("    kind: newapi\n", f"    kind: newapi\n    multiplier: {factor}\n")
    ((line, path, words),) = found(tmp_path, text)
    assert (line, path) == (4, "upstreams.a.multiplier")
    assert words.startswith(
        "expected a number of more than 0 and at most 1000 with at most 6 decimals, such as 1.5, got"
    )


def test_Q_14_a_multiplier_may_not_lift_a_price_over_the_highest(tmp_path: Path) -> None:
    text = GOOD.replace("    kind: newapi\n", "    kind: newapi\n    multiplier: 1000\n")
    assert found(tmp_path, text.replace("0.006", "1000")) == []
    assert found(tmp_path, text.replace("0.006", "1000.000001")) == [
        (
            4,
            "upstreams.a.multiplier",
            "expected a smaller one: it makes 'whisper-1' cost more than 1000000 US dollars a unit",
        )
    ]


@pytest.mark.parametrize("amount", ABSURD)
@pytest.mark.parametrize("measure", ["usd", "audio_seconds", "characters", "requests"])
@pytest.mark.parametrize("owner", ["teams", "keys", "upstreams"])
def test_Q_14_an_absurd_limit_is_refused_at_its_line(tmp_path: Path, owner: str, measure: str, amount: str) -> None:
    limit = f"limits: [{{measure: {measure}, per: day,\n  amount: {amount}}}]"
    good, row = GOOD.replace("    kind: newapi\n", f"    kind: newapi\n    {limit}\n"), 5
    if owner != "upstreams":
        good, row = GOOD + f"{owner}: {{r: {{{limit}}}}}\n", 8
    ((line, path, words),) = found(tmp_path, good)
    assert (line, path) == (row, f"{owner}.{'a' if owner == 'upstreams' else 'r'}.limits[0].amount")
    assert words.startswith("expected")
    assert words.endswith(f"got '{amount.strip(chr(39))}'")


@pytest.mark.parametrize("amount", [0, -1, float("nan"), float("inf"), 1e308, 2**63, True, "1e308", str(2**63)])
@pytest.mark.parametrize("measure", ["usd", "audio_seconds", "characters", "requests"])
def test_Q_14_an_absurd_limit_is_refused_through_the_other_doors_too(measure: str, amount: object) -> None:
    with pytest.raises(Refused) as caught:
        key_asked("k", {"limits": [{"measure": measure, "per": "day", "amount": amount}]}, upstreams=())
    assert (caught.value.name, caught.value.param) == ("invalid", "limits[0].amount")


def test_editors_are_told_the_same() -> None:
    def with_(value: object) -> dict[str, object]:
        return {"upstreams": {"a": {**UPSTREAM, "multiplier": value}}}

    assert all(fits(with_(value)) for value in (1, 0.5, 1000, "1.5", "${TIMES}", "${TIMES:-2}"))
    assert not any(fits(with_(value)) for value in (0, -1, 1001, "x", None, [1]))
