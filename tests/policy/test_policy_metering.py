from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.audio.request import ENDPOINTS, OTHER, AudioRequest
from gateway.audio.usage import Usage
from gateway.policy.limits import Amounts, estimated
from gateway.policy.metering import TOLERANCE, UNUSED, Metered, charged, metered, wants_counting
from gateway.policy.pricing import FREE, Price

SPEAK = ENDPOINTS["POST", "/v1/audio/speech"]
TRANSCRIBE = ENDPOINTS["POST", "/v1/audio/transcriptions"]
BY_MINUTE = Price(per_minute=Decimal("0.006"))
BY_TOKEN = Price(per_1m_input_tokens=Decimal(1))
SAID_NOTHING = Usage()
lengths = st.none() | st.floats(0.001, 1e6)


def upload(seconds: float = 60.0, seconds_from: str = "header") -> AudioRequest:
    return AudioRequest(TRANSCRIBE, "whisper-1", "json", seconds=seconds, seconds_from=seconds_from)


def speech(characters: int = 11) -> AudioRequest:
    return AudioRequest(SPEAK, "tts-1", "mp3", characters=characters)


@pytest.mark.parametrize(
    ("request_", "said", "wanted"),
    [
        (upload(), None, True),
        (upload(), 60.0, False),
        (upload(), 60.0 * (1 - TOLERANCE / 2), False),
        (upload(), 50.0, True),
        (upload(), 70.0, True),
        (upload(seconds_from="bytes"), 5.0, False),  # a guess by size proves nothing against the answer
        (upload(seconds_from="bytes"), None, True),
        (upload(seconds_from="packets"), None, False),  # they were counted before it was let in
        (upload(seconds_from="packets"), 5.0, False),
        (speech(), None, False),
        (AudioRequest(OTHER), None, False),
    ],
)
def test_packets_are_counted_when_the_answer_is_silent_or_contradicts_the_header(
    request_: AudioRequest, said: float | None, wanted: bool
) -> None:
    assert wants_counting(request_, Usage(seconds=said)) is wanted


@pytest.mark.parametrize(
    ("said", "counted", "seconds", "source", "disputed"),
    [
        (60.0, None, 60.0, "upstream", False),
        (None, 61.0, 61.0, "packets", False),
        (None, 0.0, 0.0, "packets", False),
        (None, None, 77.0, "estimate", False),
        (60.0, 61.0, 60.0, "upstream", False),  # within tolerance the answer is believed
        (61.0, 60.0, 61.0, "upstream", False),
        (60.0, 100.0, 100.0, "packets", True),
        (100.0, 60.0, 100.0, "upstream", True),
        (100.0, 0.0, 100.0, "upstream", True),
        (95.0, 100.0, 95.0, "upstream", False),  # five percent of the larger one is still agreement
        (94.9, 100.0, 100.0, "packets", True),
    ],
)
def test_which_seconds_are_charged(
    said: float | None, counted: float | None, seconds: float, source: str, disputed: bool
) -> None:
    found = metered(upload(77.0), Usage(seconds=said), counted=counted, price=BY_MINUTE)
    assert found == Metered(Usage(seconds=seconds), source, disputed)


@given(lengths, lengths, st.floats(0, 1e6))
def test_no_forged_figure_brings_the_bill_more_than_the_tolerance_below_the_largest_known(
    said: float | None, counted: float | None, guess: float
) -> None:
    found = metered(upload(guess), Usage(seconds=said), counted=counted, price=BY_MINUTE)
    known = [one for one in (said, counted) if one is not None] or [guess]
    assert found.usage.seconds in known
    assert found.usage.seconds >= max(known) * (1 - TOLERANCE) - 1e-9
    assert found.source in {"upstream", "packets", "estimate"}


@pytest.mark.parametrize(
    ("seconds", "source", "size", "charged_"),
    [
        (1.0, "header", 15_000_000, 80.0),  # at 120 Mb/s, says a header that nobody could check
        (90.0, "header", 15_000_000, 90.0),
        (1.0, "bytes", 15_000_000, 1.0),  # it leans high already
        (1.0, "header", 0, 1.0),
    ],
)
def test_a_header_that_nobody_could_check_is_not_believed_to_be_denser_than_a_cd(
    seconds: float, source: str, size: int, charged_: float
) -> None:
    found = metered(upload(seconds, source), SAID_NOTHING, counted=None, price=BY_MINUTE, size=size)
    assert (found.usage.seconds, found.source) == (charged_, "estimate")
    counted = metered(upload(seconds, source), SAID_NOTHING, counted=2.0, price=BY_MINUTE, size=size)
    assert (counted.usage.seconds, counted.source) == (2.0, "packets")


def test_tokens_that_were_said_are_kept_beside_the_seconds() -> None:
    said = Usage(seconds=60.0, input_tokens=1_000, output_tokens=20, audio_tokens=900)
    for price in (BY_MINUTE, BY_TOKEN):
        assert metered(upload(), said, counted=None, price=price) == Metered(said, "upstream")


def test_tokens_that_were_not_said_are_estimated_from_the_seconds_that_are_charged() -> None:
    found = metered(upload(999.0), Usage(seconds=10.0), counted=None, price=BY_TOKEN)
    guess = estimated(upload(10.0))
    assert found.source == "estimate"
    assert found.usage == guess


def test_one_kind_of_tokens_is_enough_to_believe_it() -> None:
    found = metered(upload(), Usage(seconds=60.0, output_tokens=3), counted=None, price=BY_TOKEN)
    assert (found.source, found.usage.input_tokens, found.usage.output_tokens) == ("upstream", 0, 3)


def test_speech_is_charged_by_its_input() -> None:
    assert metered(speech(), SAID_NOTHING, counted=None, price=BY_MINUTE) == Metered(Usage(characters=11), "input")
    lying = Usage(seconds=1e6, characters=10**9)
    assert metered(speech(), lying, counted=None, price=FREE) == Metered(Usage(characters=11), "input")


def test_speech_priced_by_token_takes_what_was_said_or_an_estimate() -> None:
    said = Usage(input_tokens=5, output_tokens=50)
    assert metered(speech(), said, counted=None, price=BY_TOKEN) == Metered(
        Usage(characters=11, input_tokens=5, output_tokens=50), "input"
    )
    found = metered(speech(), SAID_NOTHING, counted=None, price=BY_TOKEN)
    assert found.source == "estimate"
    assert found.usage.characters == 11
    assert found.usage.input_tokens >= 11


def test_other_requests_have_nothing_to_measure() -> None:
    found = metered(AudioRequest(OTHER), Usage(seconds=5.0), counted=9.0, price=BY_TOKEN)
    assert found == Metered(UNUSED, "none")


whole = st.integers(0, 10**12)
some = st.builds(Amounts, usd=whole, ms=whole, characters=whole, requests=st.integers(0, 1))


@pytest.mark.parametrize(
    ("cost", "mine"),
    [
        (Amounts(90, 900, 9), Amounts(90, 900, 9)),
        (Amounts(101, 900, 9), Amounts(100, 900, 9)),
        (Amounts(90, 1001, 9), Amounts(90, 1000, 9)),
        (Amounts(90, 900, 11), Amounts(90, 900, 10)),
        (Amounts(900, 9000, 90, 0), Amounts(100, 1000, 10, 0)),
    ],
)
def test_an_exact_key_is_never_charged_more_than_was_held_for_it(cost: Amounts, mine: Amounts) -> None:
    assert charged(cost, Amounts(100, 1000, 10), exact=True) == mine


@given(some, some)
def test_any_other_key_is_charged_what_the_operator_pays(cost: Amounts, held: Amounts) -> None:
    assert charged(cost, held, exact=False) == cost
    mine = charged(cost, held, exact=True)
    for unit in ("usd", "ms", "characters"):
        assert getattr(mine, unit) == min(getattr(cost, unit), getattr(held, unit))
    assert mine.requests == cost.requests
