import pytest

from gateway.policy.deadlines import LEAST, MOST, SLOWEST, first_byte, trickles


@pytest.mark.parametrize(
    ("audio", "size", "seconds"),
    [(0.0, 0, LEAST), (60.0, 0, 60.0), (0.0, 25_000_000, 55.0), (600.0, 10_000_000, 340.0), (1e9, 0, MOST)],
)
def test_the_first_byte_may_take_as_long_as_the_audio_needs(audio: float, size: int, seconds: float) -> None:
    assert first_byte(audio=audio, size=size) == seconds


def test_sound_that_trickles_is_as_good_as_none() -> None:
    assert trickles(30, waited=30.0, idle=60.0)
    assert not trickles(29, waited=29.0, idle=60.0), "it may still be getting going"
    assert not trickles(int(30 * SLOWEST), waited=30.0, idle=60.0)
    assert trickles(int(600 * SLOWEST) - 1, waited=600.0, idle=60.0)
