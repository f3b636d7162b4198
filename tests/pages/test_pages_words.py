"""How amounts and times look to people."""

import pytest

from gateway.pages import words


@pytest.mark.parametrize(
    ("usd", "text"),
    [
        *(("0", "$0"), ("0.000001", "$0.000001"), ("0.0099999", "$0.010000"), ("0.01", "$0.0100"), ("0.5", "$0.5000")),
        *(("1", "$1.00"), ("1234567.891", "$1,234,567.89"), ("-3", "-$3.00"), (0.25, "$0.2500")),
    ],
)
def test_money_has_as_many_places_as_it_takes(usd: str | float, text: str) -> None:
    assert words.money(usd) == text


def test_millionths() -> None:
    assert words.micro(1_500_000) == "$1.50"
    assert words.micro(90.0) == "$0.000090"
    assert words.exact(1_234_567_890_123) == "$1,234,567.890123"
    assert words.exact(1) == "$0.000001"
    assert words.exact(0) == "$0.000000"
    assert words.exact(-5) == "-$0.000005"


@pytest.mark.parametrize(
    ("amount", "text"), [(0, "0"), (1234, "1,234"), (1.5, "1.5"), (1234.5, "1,234"), (2.0, "2"), (-0.25, "-0.2")]
)
def test_numbers_have_their_thousands_apart(amount: float, text: str) -> None:
    assert words.count(amount) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        *((0, "0 s"), (1, "1 s"), (1.25, "1.2 s"), (59.9, "59.9 s"), (60, "1 min"), (90, "1.5 min")),
        *((35_999, "600 min"), (36_000, "10 h"), (5_400_000, "1,500 h")),
    ],
)
def test_audio(seconds: float, text: str) -> None:
    assert words.audio(seconds) == text


@pytest.mark.parametrize(
    ("minutes", "text"), [(0, "0 s"), (0.5, "30 s"), (1, "1 min"), (2.25, "2.25 min"), (12_000, "12,000 min")]
)
def test_minutes_stay_minutes(minutes: float, text: str) -> None:
    assert words.minutes(minutes) == text


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        *((0, "0 ms"), (0.2, "0.2 ms"), (9.94, "9.9 ms"), (10, "10 ms"), (999, "999 ms"), (1000, "1.00 s")),
        *((59_999, "60.00 s"), (60_000, "1.0 min"), (600_000, "10.0 min")),
    ],
)
def test_spans(ms: float, text: str) -> None:
    assert words.span(ms) == text


@pytest.mark.parametrize(
    ("amount", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 KB"), (25_000_000, "25.0 MB"), (5e12, "5000.0 GB")]
)
def test_data(amount: float, text: str) -> None:
    assert words.bytes_(amount) == text


def test_shares() -> None:
    assert [words.percent(share) for share in (0, 0.05, 1 / 3, 1)] == ["0 %", "5 %", "33.3 %", "100 %"]


def test_times() -> None:
    assert words.moment(None) == ""
    assert words.moment(0) == "1970-01-01T00:00:00+00:00"
    assert words.shown("") == ""
    assert words.shown("2026-01-31T15:04:05.678Z") == "2026-01-31 15:04:05 UTC"
    assert words.hour("2026-01-31T15:00Z to 2026-02-01T01:00Z") == "2026-01-31 15:00 to 2026-02-01 01:00"
    assert (words.hour("2026-01-31"), words.hour("2026-01")) == ("2026-01-31", "2026-01")


def test_amounts_of_limits() -> None:
    assert words.measured("12.5", "usd") == "$12.50"
    assert words.measured(90, "audio_seconds") == "1.5 min"
    assert words.measured(1200, "characters") == "1,200"
    assert words.FILTERS["measure"]("usd") == "cost"
    assert words.FILTERS["measure"]("else") == "else"


@pytest.mark.parametrize(
    ("status", "tone"), [(0, "bad"), (200, "good"), (399, "good"), (400, "warn"), (499, "warn"), (500, "bad")]
)
def test_statuses_have_a_tone(status: int, tone: str) -> None:
    assert words.tone(status) == tone


def test_what_a_request_used() -> None:
    assert words.used(90_000, 0) == "1.5 min"
    assert words.used(0, 1234) == "1,234 chars"
    assert words.used(0, 0) == "–"


def test_what_cannot_be_seen_is_shown() -> None:
    assert words.sentence("it is 'x\n'") == "It is 'x\ufffd'."
    assert words.sentence("It is so.") == "It is so."
    assert words.sentence("") == "."
