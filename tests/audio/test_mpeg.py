import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.audio import mpeg
from tests.media import make

LAYER_3 = bytes.fromhex("fffb5000")  # MPEG-1 layer 3, 64 kb/s, 44.1 kHz


@pytest.mark.parametrize(
    ("header", "layer", "bit_rate", "rate", "samples", "size"),
    [
        ("fffb5000", 3, 64_000, 44_100, 1152, 208),
        ("fffb5200", 3, 64_000, 44_100, 1152, 209),  # padded
        ("fffd4400", 2, 64_000, 48_000, 1152, 192),
        ("fff31000", 3, 8_000, 22_050, 576, 26),
        ("ffe31800", 3, 8_000, 8_000, 576, 72),  # MPEG-2.5
        ("fff51000", 2, 8_000, 22_050, 1152, 52),
    ],
)
def test_a_header_tells_its_frame(header: str, layer: int, bit_rate: int, rate: int, samples: int, size: int) -> None:
    found = mpeg.frame(bytes.fromhex(header))
    assert found is not None
    assert (found.layer, found.bit_rate, found.rate, found.samples, found.size) == (
        layer,
        bit_rate,
        rate,
        samples,
        size,
    )


@pytest.mark.parametrize(
    "header",
    [
        "",
        "fffb50",
        "00fb5000",
        "ff0b5000",
        "ffeb5000",
        "fff95000",
        "ffff5000",
        "fffb0000",
        "fffbf000",
        "fffb5c00",
        "fffb5002",
    ],
)
def test_what_is_no_header_is_no_frame(header: str) -> None:
    assert mpeg.frame(bytes.fromhex(header)) is None


def test_frames_end_where_the_kind_changes_or_the_bytes_do() -> None:
    one = LAYER_3.ljust(208, b"\0")
    other = bytes.fromhex("fffd4400").ljust(192, b"\0")
    assert len(list(mpeg.frames(one + one + other, 0))) == 2
    assert len(list(mpeg.frames(one + one + b"TAG", 0))) == 2
    assert list(mpeg.frames(b"TAG", 0)) == []


def test_the_size_of_a_tag_counts_its_header_and_footer() -> None:
    assert mpeg.tag_size(b"ID3\4\0\0\0\0\1\1rest") == 10 + 129
    assert mpeg.tag_size(b"ID3\4\0\x10\0\0\1\1rest") == 10 + 129 + 10
    assert mpeg.tag_size(b"ID3\4") == 0
    assert mpeg.tag_size(b"RIFF00000000") == 0


def test_a_file_cut_in_the_middle_of_a_frame_is_found_again() -> None:
    whole = make("mp3_vbr")
    at = mpeg.first_frame(whole[700:4_796])
    assert at is not None
    assert at > 0
    assert mpeg.first_frame(b"\xff" * 500) is None
    assert mpeg.first_frame(LAYER_3 + bytes(500)) is None
    assert mpeg.first_frame(b"no such byte") is None


@pytest.mark.parametrize(
    ("content", "declared"),
    [
        (bytes(32) + b"Xing\0\0\0\1\0\0\1\0", 256),
        (bytes(17) + b"Info\0\0\0\1\0\0\1\0", 256),
        (bytes(17) + b"Info\0\0\0\0\0\0\1\0", 0),
        (bytes(32) + b"VBRI" + bytes(10) + b"\0\0\1\0", 256),
        (bytes(100), None),
    ],
)
def test_an_encoder_says_how_many_frames_it_wrote(content: bytes, declared: int | None) -> None:
    assert mpeg.declared_frames(LAYER_3 + content, 0) == declared


@given(st.binary(max_size=600))
def test_any_bytes_are_read_without_an_error(head: bytes) -> None:
    at = mpeg.first_frame(head)
    assert at is None or mpeg.frame(head, at) is not None
    assert mpeg.tag_size(head) >= 0
