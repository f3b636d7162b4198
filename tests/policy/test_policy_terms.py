import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.policy.limits import Limit
from gateway.policy.terms import limit_word, moment, plain, read_limit, read_span, told


@pytest.mark.parametrize(
    ("measure", "amount", "said"),
    [
        ("usd", 20_000_000, "20"),
        ("usd", 500_000, "0.5"),
        ("usd", 1, "0.000001"),
        ("usd", 0, "0"),
        ("usd", 2**53, "9007199254.740992"),
        ("audio_seconds", 36_000_000, 36_000),
        ("audio_seconds", 1_500, 1.5),
        ("characters", 7, 7),
        ("requests", 0, 0),
        ("concurrency", 4, 4),
    ],
)
def test_amounts_are_told_in_the_units_of_the_configuration(measure: str, amount: int, said: object) -> None:
    assert told(measure, amount) == said
    assert type(told(measure, amount)) is type(said)


@pytest.mark.parametrize(
    ("limit", "word"),
    [
        (Limit("usd", "month", 20_000_000), "usd/month=20"),
        (Limit("audio_seconds", "day", 1_500), "audio_seconds/day=1.5"),
        (Limit("concurrency", "", 4), "concurrency=4"),
        (Limit("requests", "minute", 60), "requests/minute=60"),
        (Limit("requests", "minute", 60, 10), "requests/minute=60,burst=10"),
        (Limit("requests", "hour", 1000, 1), "requests/hour=1000,burst=1"),
    ],
)
def test_a_limit_in_one_word_is_read_back(limit: Limit, word: str) -> None:
    assert limit_word(limit) == word
    read = read_limit(word)
    assert (read["measure"], read.get("per", "")) == (limit.measure, limit.per)
    assert read["amount"] == str(told(limit.measure, limit.amount))
    assert read.get("burst", "0") == str(limit.burst)
    assert read.keys() <= {"measure", "per", "amount", "burst"}


def test_what_a_limit_says_is_not_judged_here() -> None:
    assert read_limit("beer/fortnight=many") == {"measure": "beer", "per": "fortnight", "amount": "many"}
    assert read_limit("usd/day=1,5") == {"measure": "usd", "per": "day", "amount": "1,5"}
    assert read_limit("beer=much,burst=more") == {"measure": "beer", "amount": "much", "burst": "more"}
    assert read_limit("usd/day=1,burst=") == {"measure": "usd", "per": "day", "amount": "1,burst="}


@pytest.mark.parametrize("word", ["", "usd", "usd=", "=1", "usd/=1", "/day=1", "usd/day", "usd day=1", "USD/day=1"])
def test_what_is_no_limit_is_told(word: str) -> None:
    with pytest.raises(ValueError, match="expected a limit such as"):
        read_limit(word)


def test_times_are_in_utc_and_whole_seconds() -> None:
    assert moment(0.0) == "1970-01-01T00:00:00Z"
    assert moment(1_798_761_599.999) == "2026-12-31T23:59:59Z"


@pytest.mark.parametrize(
    ("text", "seconds"), [("0", 0), ("90", 90), ("90s", 90), ("15m", 900), ("24h", 86_400), ("7d", 604_800)]
)
def test_spans(text: str, seconds: int) -> None:
    assert read_span(text) == seconds


@given(st.text(max_size=6).filter(lambda text: not text.rstrip("smhd").isdigit()))
def test_what_is_no_span_is_told(text: str) -> None:
    with pytest.raises(ValueError, match="expected a span"):
        read_span(text)


@pytest.mark.parametrize("text", ["-1h", "1.5h", "1h30m", "24 h", "24H", "12345678", "٣h"])
def test_neither_are_these(text: str) -> None:
    with pytest.raises(ValueError, match="expected a span"):
        read_span(text)


def test_what_cannot_be_seen_is_shown() -> None:
    assert plain("whisper-1 <b> é 语") == "whisper-1 <b> é 语"
    assert plain("a\x1b[31mb\nc\u202ed\u2028") == "a\ufffd[31mb\ufffdc\ufffdd\ufffd"
