import io

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.probe.packets import least
from tests.media import make


@pytest.mark.parametrize(
    ("packet", "seconds"),
    [
        (bytes([0 << 3]), 0.010),  # SILK
        (bytes([3 << 3 | 1]), 0.120),  # two frames
        (bytes([13 << 3 | 2]), 0.040),  # hybrid
        (bytes([16 << 3]), 0.0025),  # CELT
        (bytes([31 << 3 | 3, 4]), 0.080),  # a count of frames
        (bytes([31 << 3 | 3, 63]), 0.120),  # more than the format allows
        (bytes([31 << 3 | 3]), 0.0),
    ],
)
def test_an_opus_packet_tells_its_length_in_its_first_bytes(packet: bytes, seconds: float) -> None:
    opus = least("opus")
    assert opus is not None
    assert opus(packet, 48_000) == pytest.approx(seconds)


def test_an_aac_packet_goes_by_its_adts_header_or_by_the_rate_of_the_stream() -> None:
    aac = least("aac")
    assert aac is not None
    assert aac(bytes.fromhex("fff14c80000000"), 0) == 1024 / 48_000
    assert aac(bytes.fromhex("fff14c80000003"), 0) == 4 * 1024 / 48_000
    assert aac(bytes.fromhex("fff17480000000"), 44_100) == 1024 / 44_100  # no such rate
    assert aac(b"raw", 44_100) == 1024 / 44_100
    assert aac(b"raw", 0) == 0.0


@pytest.mark.parametrize("codec", ["mp3", "mp2"])
def test_an_mpeg_packet_goes_by_the_rate_of_the_stream(codec: str) -> None:
    mpeg = least(codec)
    assert mpeg is not None
    assert mpeg(b"", 48_000) == 1152 / 48_000
    assert mpeg(b"", 22_050) == 576 / 22_050
    assert mpeg(b"", 0) == 0.0


def test_a_codec_without_a_row_has_no_least() -> None:
    assert least("vorbis") is None


@pytest.mark.parametrize("kind", ["webm", "ogg", "aac", "m4a", "mp3", "mpga", "mpeg"])
def test_the_least_of_an_honest_file_is_what_it_lasts(kind: str) -> None:
    with av.open(io.BytesIO(make(kind, 3.0)), "r") as file:
        stream = file.streams.audio[0]
        count = least(stream.codec_context.codec.canonical_name)
        assert count is not None
        rate = stream.codec_context.sample_rate
        total = sum(count(bytes(packet), rate) for packet in file.demux(stream) if packet.size)
    assert total == pytest.approx(3.0, rel=0.02)


@given(st.sampled_from(["opus", "aac", "mp3"]), st.binary(min_size=1, max_size=20), st.integers(0, 192_000))
def test_any_packet_gets_seconds_that_are_not_negative(codec: str, packet: bytes, rate: int) -> None:
    count = least(codec)
    assert count is not None
    assert count(packet, rate) >= 0
