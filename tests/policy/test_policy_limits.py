from decimal import ROUND_CEILING, Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.audio.request import ENDPOINTS, OTHER, AudioRequest
from gateway.audio.usage import Usage
from gateway.policy.limits import (
    BURSTS,
    MEASURES,
    PERIODS,
    Amounts,
    Denial,
    Limit,
    amounts,
    denied,
    duration,
    estimated,
    reserve,
)
from gateway.policy.pricing import FREE, Price

SPEAK = ENDPOINTS["POST", "/v1/audio/speech"]
TRANSCRIBE = ENDPOINTS["POST", "/v1/audio/transcriptions"]


def denial(measure: str, per: str, *, limit: int, used: int = 0, asked: int = 1, wait_ms: int | None) -> Denial:
    return Denial("team", "red", Limit(measure, per, limit), used=used, asked=asked, wait_ms=wait_ms)


@pytest.mark.parametrize(
    ("usd", "half_even", "up"),
    [
        ("0", 0, 0),
        ("0.0000001", 0, 1),
        ("0.0000005", 0, 1),
        ("0.0000015", 2, 2),
        ("0.00000149999", 1, 2),
        ("0.006", 6_000, 6_000),
        ("12345678901234.000001", 12_345_678_901_234_000_001, 12_345_678_901_234_000_001),
    ],
)
def test_money_is_rounded_to_micro_usd_and_upwards_only_when_reserving(usd: str, half_even: int, up: int) -> None:
    assert amounts(Usage(), Decimal(usd)).usd == half_even
    assert amounts(Usage(), Decimal(usd), rounding=ROUND_CEILING).usd == up


@given(st.decimals(0, 10_000, places=9), st.integers(0, 10**9))
def test_a_reservation_is_never_below_the_exact_price(usd: Decimal, ms: int) -> None:
    held = amounts(Usage(seconds=ms / 1000), usd, rounding=ROUND_CEILING)
    assert 0 <= held.usd - usd * 1_000_000 < 1
    assert held.ms >= ms


@given(st.integers(0, 7 * 24 * 3_600_000))
def test_milliseconds_are_settled_without_drift(ms: int) -> None:
    assert amounts(Usage(seconds=ms / 1000), Decimal(0)).ms == ms


def test_milliseconds_are_reserved_without_drift() -> None:
    drifted = [
        ms for ms in range(10_000) if amounts(Usage(seconds=ms / 1000), Decimal(0), rounding=ROUND_CEILING).ms != ms
    ]
    assert drifted == []


def test_usage_that_says_no_seconds_takes_no_milliseconds_but_one_request() -> None:
    assert amounts(Usage(characters=7), Decimal(0)) == Amounts(usd=0, ms=0, characters=7, requests=1)


def test_an_estimate_of_speech_knows_characters_and_leans_high_on_tokens() -> None:
    usage = estimated(AudioRequest(SPEAK, model="tts-1", characters=4096))
    assert usage.seconds is None
    assert (usage.characters, usage.input_tokens, usage.audio_tokens) == (4096, 4096, 0)
    assert usage.output_tokens >= 4096


def test_an_estimate_of_a_transcription_covers_what_a_minute_is_billed_at() -> None:
    usage = estimated(AudioRequest(TRANSCRIBE, model="whisper-1", seconds=60.0))
    assert usage.seconds == 60.0
    assert usage.characters == 0
    assert usage.input_tokens == usage.audio_tokens >= 1_000
    assert usage.output_tokens > 0


def test_a_reservation_is_the_estimate_at_the_candidates_price() -> None:
    request = AudioRequest(TRANSCRIBE, model="whisper-1", seconds=61.5)
    assert reserve(request, Price(per_minute=Decimal("0.006"))) == Amounts(usd=6_150, ms=61_500)
    assert reserve(request, Price(per_second=Decimal("0.0000001"))) == Amounts(usd=7, ms=61_500)  # 6.15 micro-USD
    assert reserve(AudioRequest(OTHER), Price(per_request=Decimal("0.01"))) == Amounts(usd=10_000)
    assert reserve(AudioRequest(SPEAK, characters=3), FREE) == Amounts(characters=3)


def test_a_limit_per_minute_says_when_to_come_again() -> None:
    refusal = denied([denial("requests", "minute", limit=3, used=3, wait_ms=20_400)])
    assert refusal.row.status == 429
    assert refusal.retry_after == 20.4
    assert refusal.row.retry == "yes"
    assert refusal.message == (
        "Rate limit reached for team red on requests per minute: Limit 3, Used 3, Requested 1. Please try again in 20s."
    )


@pytest.mark.parametrize("per", sorted(BURSTS))
def test_bursts_are_rate_limits(per: str) -> None:
    refusal = denied([denial("requests", per, limit=1, wait_ms=2_000)])
    assert (refusal.row.type, refusal.row.code) == ("requests", "rate_limit_exceeded")


@pytest.mark.parametrize("per", [per for per in PERIODS if per not in BURSTS])
def test_longer_windows_are_quotas_that_no_sdk_should_retry(per: str) -> None:
    refusal = denied([denial("usd", per, limit=10_000_000, used=9_999_999, asked=6_000, wait_ms=None)])
    assert (refusal.row.type, refusal.row.code) == ("insufficient_quota", "insufficient_quota")
    assert refusal.row.retry == "no"
    assert refusal.retry_after is None
    words = " in all" if per == "total" else f" per {per}"
    assert refusal.message == (
        f"You exceeded the current quota of team red: US dollars{words}: Limit 10, Used 9.999999, "
        "Requested 0.006. It does not reset by itself."
    )


def test_a_quota_names_its_reset() -> None:
    refusal = denied([denial("audio_seconds", "day", limit=3_600_000, used=3_599_500, asked=1_000, wait_ms=11_045_000)])
    assert refusal.retry_after == 11_045.0
    assert "seconds of audio per day: Limit 3600, Used 3599.5, Requested 1. It resets in 3h4m5s." in refusal.message


@pytest.mark.parametrize(("wait_ms", "words"), [(1, "1ms"), (499, "499ms"), (1_000, "1s"), (59_999, "1m0s")])
def test_a_rate_says_to_the_millisecond_when_to_come_again(wait_ms: int, words: str) -> None:
    refusal = denied([denial("requests", "minute", limit=3, used=3, wait_ms=wait_ms)])
    assert refusal.retry_after == wait_ms / 1000
    assert refusal.message.endswith(f"Please try again in {words}.")
    assert refusal.headers["x-ratelimit-reset-requests"] == words


def test_concurrency_is_told_as_it_is_and_waits_the_second_that_the_store_says() -> None:
    for wait_ms in (None, 0, 1_000):
        refusal = denied([denial("concurrency", "", limit=2, used=2, wait_ms=wait_ms)])
        assert refusal.retry_after == 1.0
        assert "on requests at once: Limit 2" in refusal.message
        assert refusal.message.endswith("in 1s.")


@pytest.mark.parametrize("backwards", [False, True])
def test_the_limit_that_gives_way_first_is_named(backwards: bool) -> None:
    rows = [
        denial("usd", "total", limit=1, wait_ms=None),
        denial("requests", "hour", limit=1, wait_ms=60_000),
        denial("characters", "minute", limit=1, wait_ms=3_000),
    ]
    refusal = denied(rows[::-1] if backwards else rows)
    assert "characters per minute" in refusal.message
    assert refusal.retry_after == 3.0


def test_a_request_that_can_never_fit_is_not_told_to_try_again() -> None:
    refusal = denied([denial("audio_seconds", "minute", limit=60_000, used=0, asked=600_000, wait_ms=30_000)])
    assert refusal.row.retry == "no"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0ms"),
        (0.0244, "24ms"),
        (0.999, "999ms"),
        (1, "1s"),
        (59.4, "59s"),
        (59.6, "1m0s"),
        (360, "6m0s"),
        (3_599.4, "59m59s"),
        (3_600, "1h0m0s"),
        (10_861, "3h1m1s"),
        (31 * 86_400, "744h0m0s"),
    ],
)
def test_durations_read_as_openai_writes_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@given(st.integers(0, 10**15), st.sampled_from(sorted(MEASURES)))
def test_amounts_in_messages_are_exact_and_never_in_exponents(amount: int, measure: str) -> None:
    refusal = denied([denial(measure, "day", limit=amount, wait_ms=1_000)])
    told = refusal.message.partition("Limit ")[2].partition(",")[0]
    assert "E" not in told
    assert Decimal(told) * MEASURES[measure].scale == amount


def test_concurrency_alone_has_no_window() -> None:
    assert [name for name, measure in MEASURES.items() if not measure.windowed] == ["concurrency"]
