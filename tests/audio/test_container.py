import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.audio.container import CONTAINERS, HEAD_BYTES, safe_extension, sniff
from tests.media import KINDS, make

NAMES = {
    "webm_live": "webm",
    "mp3_vbr": "mp3",
    "mp4_fragmented": "mp4",
    "wav_stream": "wav",
    "wav_float": "wav",
    "ogg_vorbis": "ogg",
    "oga": "ogg",
    "flac_stream": "flac",
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_file_is_recognised_by_its_head(kind: str) -> None:
    found = sniff(make(kind)[:HEAD_BYTES])
    assert found is not None
    assert found.name == NAMES.get(kind, kind)


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"RF64\xff\xff\xff\xffWAVEds64", "wav"),
        (b"ID3", None),
        (b"ID3\4", "mp3"),
        (b"\0\0\0\x18ftypqt  \0\0\0\0", "mov"),
        (b"\0\0\0\x18ftypM4B \0\0\0\0", "m4a"),
        (b"\0\0\0\x18ftyp3gp4\0\0\0\0", "mp4"),
        (b"\0\0\0\x18ftyp", None),
        (b"\0\0\1\0moov", "mov"),
        (b"\0\0\1\0mdat", "mov"),
        (b"\0\0\0\x08wide", "mov"),
        (b"FORM\0\0\0\0AIFFCOMM", "aiff"),
        (b"FORM\0\0\0\0AIFCFVER", "aiff"),
        (b"#!AMR-WB\n", "amr"),
        (b"caff\0\1\0\0desc", "caf"),
        (b"\x1aE\xdf\xa3\x9f", None),
        (b"\x1aE\xdf\xa3\x93B\x82\x88matroska", "matroska"),
        (b"RIFF\0\0\0\0AVI LIST", None),
        (b"RIFF\0\0", None),
        (b"<!doctype html><title>no</title>", None),
        (b"#EXTM3U\n", None),
        (b"", None),
    ],
)
def test_other_heads_are_told_apart(head: bytes, name: str | None) -> None:
    found = sniff(head)
    assert (found.name if found else None) == name


def test_adts_needs_a_second_frame_where_the_first_one_ends() -> None:
    frame = bytes.fromhex("fff15080020000") + bytes(9)  # 16 bytes long
    assert sniff(frame + frame) == sniff(frame)
    assert sniff(frame) is not None
    assert sniff(frame + b"other bytes") is None
    assert sniff(bytes.fromhex("fff15080000000")) is None  # shorter than its own header
    assert sniff(bytes.fromhex("fff17480020000")) is None  # no such rate


def test_one_frame_of_mp3_counts_while_nothing_speaks_against_it() -> None:
    frame = bytes.fromhex("fffb5000").ljust(208, b"\0")
    assert sniff(frame[:100]) is not None
    assert sniff(frame + b"what follows is no frame") is None


def test_an_mp3_cut_in_the_middle_of_a_frame_is_still_one() -> None:
    found = sniff(make("mp3")[1_000 : 1_000 + HEAD_BYTES])
    assert found is not None
    assert found.name == "mp3"


@pytest.mark.parametrize("container", CONTAINERS, ids=lambda one: one.name)
def test_rows_suit_a_file_name_and_a_header(container: object) -> None:
    row = next(one for one in CONTAINERS if one is container)
    assert safe_extension(f"audio.{row.extension}") == row.extension
    assert row.content_type.split("/")[0] in {"audio", "video"}


@given(st.binary(max_size=HEAD_BYTES))
def test_any_bytes_get_an_answer(head: bytes) -> None:
    assert sniff(head) is None or sniff(head) in CONTAINERS


@settings(deadline=None)  # the first example of a kind is made on the spot
@given(st.sampled_from(KINDS), st.integers(0, HEAD_BYTES))
def test_part_of_a_head_gets_the_same_answer_or_none(kind: str, length: int) -> None:
    whole = make(kind)[:HEAD_BYTES]
    assert sniff(whole[:length]) in {None, sniff(whole)}


@pytest.mark.parametrize(
    ("filename", "extension"),
    [
        ("speech.mp3", "mp3"),
        ("SPEECH.MP3", "mp3"),
        ("a.tar.gz", "gz"),
        (".wav", "wav"),
        ("../../etc/passwd", None),
        ("speech", None),
        ("speech.", None),
        ("speech.toolong", None),
        ("dir.d/speech", None),
        ('a"\r\nX: 1.wav\r\n', None),
        ("speech.mp3\n", None),
        ("speech.m\u212a", None),  # a Kelvin sign is no k
        ("speech.mp\x00", None),
        ("", None),
    ],
)
def test_only_plain_extensions_are_taken_from_a_file_name(filename: str, extension: str | None) -> None:
    assert safe_extension(filename) == extension


@given(st.text())
def test_no_file_name_yields_anything_but_letters_and_digits(filename: str) -> None:
    extension = safe_extension(filename)
    assert extension is None or (extension.isascii() and extension.isalnum() and len(extension) <= 5)
