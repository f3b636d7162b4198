import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.audio.container import HEAD_BYTES
from gateway.audio.duration import LOWEST, Estimate, estimate_seconds, most_seconds
from tests.media import KINDS, make

MAX = 25 * 2**20
EXACT = {"mp3", "mpga", "wav", "wav_float", "wav_stream", "flac"}


def estimate(file: bytes, *, known: bool = True) -> Estimate:
    return estimate_seconds(file[:HEAD_BYTES], total_bytes=len(file) if known else None, max_bytes=MAX)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("known", [True, False])
def test_an_honest_file_never_lasts_longer_than_its_estimate(kind: str, known: bool) -> None:
    assert estimate(make(kind, 4.0), known=known).seconds >= 4.0


@pytest.mark.parametrize("kind", sorted(EXACT))
def test_a_plain_header_is_believed_within_two_percent(kind: str) -> None:
    guess = estimate(make(kind, 4.0))
    assert guess.source == "header"
    assert guess.seconds == pytest.approx(4.0, rel=0.02)


@pytest.mark.parametrize("kind", sorted(set(KINDS) - EXACT - {"mp3_vbr"}))
def test_without_a_header_to_believe_the_bytes_tell(kind: str) -> None:
    assert estimate(make(kind, 4.0)).source == "bytes"


def test_unknown_bytes_last_as_long_as_the_slowest_sound() -> None:
    assert estimate_seconds(b"", total_bytes=1_000, max_bytes=MAX) == Estimate(8_000 / LOWEST, "bytes")
    assert estimate_seconds(b"", total_bytes=None, max_bytes=1_000) == Estimate(8_000 / LOWEST, "bytes")


def test_a_total_shorter_than_the_head_is_not_believed() -> None:
    assert estimate_seconds(bytes(1_000), total_bytes=1, max_bytes=MAX).seconds == 8_000 / LOWEST


def test_a_forged_size_of_wav_data_changes_nothing() -> None:
    honest = make("wav", 4.0)
    at = honest.index(b"data")
    forged = honest[: at + 4] + struct.pack("<I", 96) + honest[at + 8 :]
    assert estimate(forged) == estimate(honest)


def test_a_forged_byte_rate_of_pcm_changes_nothing() -> None:
    honest = make("wav", 4.0)
    at = honest.index(b"fmt ") + 16
    forged = honest[:at] + b"\xff\xff\xff\xff" + honest[at + 4 :]
    assert estimate(forged) == estimate(honest)


def test_a_compressed_wav_goes_by_its_declared_byte_rate() -> None:
    fmt = struct.pack("<HHIIHH", 0x11, 1, 8_000, 4_000, 256, 4)  # ADPCM
    head = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0" + fmt + b"data\0\0\0\0"
    assert estimate_seconds(head, total_bytes=40_000 + len(head), max_bytes=MAX) == Estimate(10.0, "header")


def test_no_byte_rate_of_wav_makes_a_file_shorter_than_the_fastest_sound() -> None:
    fmt = struct.pack("<HHIIHH", 0x11, 1, 8_000, 2**32 - 1, 256, 4)
    head = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0" + fmt + b"data\0\0\0\0"
    assert estimate_seconds(head, total_bytes=49_152_000, max_bytes=2**30).seconds == pytest.approx(8.0)


@pytest.mark.parametrize("chunks", [b"", b"JUNK\xff\0\0\0", b"fmt \x10\0\0\0" + bytes(16) + b"data\0\0\0\0"])
def test_a_wav_whose_rate_is_not_in_its_head_goes_by_bytes(chunks: bytes) -> None:
    guess = estimate_seconds(b"RIFF\0\0\0\0WAVE" + chunks, total_bytes=10_000, max_bytes=MAX)
    assert guess == Estimate(10.0, "bytes")


def test_a_wav_whose_sound_begins_behind_the_head_counts_every_byte() -> None:
    fmt = struct.pack("<HHIIHH", 1, 1, 8_000, 16_000, 2, 16)
    head = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0" + fmt + b"LIST\0\xff\0\0"
    assert estimate_seconds(head, total_bytes=160_000, max_bytes=MAX) == Estimate(10.0, "header")


def test_a_forged_count_of_mp3_frames_makes_the_estimate_no_shorter() -> None:
    honest = make("mp3", 4.0)
    at = honest.index(b"Xing") if b"Xing" in honest else honest.index(b"Info")
    small = honest[: at + 8] + struct.pack(">I", 4) + honest[at + 12 :]
    assert estimate(small).seconds >= 4.0
    large = honest[: at + 8] + struct.pack(">I", 2**32 - 1) + honest[at + 12 :]
    assert 4.0 <= estimate(large).seconds <= len(honest) * 8 / 32_000


def test_a_variable_mp3_with_a_count_of_frames_goes_by_the_count() -> None:
    low, high = bytes.fromhex("fffb1000").ljust(104, b"\0"), bytes.fromhex("fffbe000").ljust(1_044, b"\0")
    first = (bytes.fromhex("fffb5000") + bytes(32) + b"Xing\0\0\0\1" + struct.pack(">I", 1_001)).ljust(208, b"\0")
    file = first + high + high + low * 1_000
    assert estimate(file).seconds == pytest.approx(1_001 * 1_152 / 44_100)


def test_a_variable_mp3_at_low_rates_goes_by_the_lowest_of_them() -> None:
    frames = bytes.fromhex("fff31000").ljust(26, b"\0") + bytes.fromhex("fff32000").ljust(52, b"\0")
    assert estimate(frames * 50).seconds == pytest.approx(len(frames) * 50 * 8 / 8_000)


def test_an_mp3_behind_a_long_tag_goes_by_bytes() -> None:
    head = (b"ID3\4\0\0\0\1\0\0" + bytes(100)).ljust(HEAD_BYTES, b"\0")
    assert estimate_seconds(head, total_bytes=100_000, max_bytes=MAX) == Estimate(100.0, "bytes")


def test_a_forged_number_of_flac_samples_lasts_at_least_its_bytes_uncompressed() -> None:
    honest = make("flac", 4.0)
    number = int.from_bytes(honest[18:26])
    forged = honest[:18] + (number >> 36 << 36 | 1).to_bytes(8) + honest[26:]
    guess = estimate(forged)
    assert guess.source == "header"
    assert guess.seconds == pytest.approx(len(honest) * 8 / (48_000 * 16))


@settings(deadline=None)  # the first example of a kind is made on the spot
@given(st.binary(max_size=600), st.sampled_from([*KINDS, None]), st.none() | st.integers(0, 2**40))
def test_any_head_gets_a_finite_estimate_that_is_not_negative(
    noise: bytes, kind: str | None, total: int | None
) -> None:
    head = noise if kind is None else make(kind)[: len(noise) // 2] + noise
    guess = estimate_seconds(head, total_bytes=total, max_bytes=MAX)
    floor = max(len(head), MAX if total is None else total) * 8 / 100_000_000
    assert floor <= guess.seconds < float("inf")


@pytest.mark.parametrize("size", [100, 10_000])
def test_no_header_makes_a_file_last_longer_than_so_many_bytes_can(size: int) -> None:
    header = b"fLaC\0\0\0\x22" + bytes(10) + ((8_000 << 44) | (15 << 36) | (2**36 - 1)).to_bytes(8) + bytes(16)
    found = estimate_seconds(header, total_bytes=size, max_bytes=10**9)
    assert (found.seconds, found.source) == (most_seconds(size), "header")
    assert most_seconds(size) == size / 2
