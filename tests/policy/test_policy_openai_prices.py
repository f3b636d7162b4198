"""The shipped list of prices. What it is compared with here was written down a second time, not copied from it."""

import re
from decimal import Decimal
from pathlib import Path

import pytest

from gateway.audio.usage import Usage
from gateway.policy.openai_prices import AS_OF, ORIGIN, PRICES
from gateway.policy.pricing import FREE, Price, by_tokens, cost, told

DOCUMENT = Path(__file__).parents[2] / "docs" / "prices.md"
MINUTE = Usage(seconds=60.0)
TOKENS = Usage(seconds=60.0, input_tokens=1_000_000, audio_tokens=900_000, output_tokens=1_000_000)
TEXT = Usage(characters=1_000_000)


@pytest.mark.parametrize(
    ("model", "usage", "usd"),
    [
        ("whisper-1", MINUTE, "0.006"),
        ("gpt-transcribe", MINUTE, "0.0045"),
        ("gpt-4o-transcribe", TOKENS, "12.5"),
        ("gpt-4o-transcribe-diarize", TOKENS, "12.5"),
        ("gpt-4o-mini-transcribe", TOKENS, "6.25"),
        ("gpt-4o-mini-tts", TOKENS, "12.6"),
        ("tts-1", TEXT, "15"),
        ("tts-1-hd", TEXT, "30"),
    ],
)
def test_a_model_costs_what_the_list_says(model: str, usage: Usage, usd: str) -> None:
    assert cost(PRICES[model], usage) == Decimal(usd)


def test_every_row_is_a_name_and_costs_something() -> None:
    assert all(price != FREE and price.origin == ORIGIN for price in PRICES.values())
    assert not [name for name in PRICES if set(name) & set("*?[/")]
    assert [name for name, price in PRICES.items() if by_tokens(price)] == [
        name for name in PRICES if name.startswith("gpt-4o")
    ]


def test_the_list_has_a_date_and_cannot_be_changed() -> None:
    assert re.fullmatch(r"20[0-9]{2}-(0[1-9]|1[0-2])", AS_OF)
    assert AS_OF in ORIGIN
    with pytest.raises(TypeError):
        PRICES["whisper-1"] = Price()  # type: ignore[index]


def test_the_document_has_the_same_list() -> None:
    text = DOCUMENT.read_text()
    rows = dict(re.findall(r"^\| `([\w.-]+)` \| (\$.+?) \|$", text, re.MULTILINE))
    assert rows == {model: told(price) for model, price in PRICES.items()}
    assert f"as of {AS_OF}" in text
