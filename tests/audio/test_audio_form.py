"""Forms fed whole, byte by byte and in random pieces; what goes out is read by another parser than ours."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from email.message import Message
from email.parser import BytesParser
from itertools import pairwise
from time import process_time

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.audio.caps import MAX_AROUND, MAX_PARTS, MAX_TEXT, MAX_TEXTS, MAX_WIDE
from gateway.audio.container import HEAD_BYTES
from gateway.audio.form import FormReader
from gateway.audio.request import ENDPOINTS, AudioRequest, Endpoint, Layout
from gateway.errors import Refused
from tests.corpus.forms import CLIENTS, WAV, Sample, file, form, sample, text
from tests.media import make

TRANSCRIBE = ENDPOINTS["POST", "/v1/audio/transcriptions"]
TRANSLATE = ENDPOINTS["POST", "/v1/audio/translations"]
CAP = 25 * 1024 * 1024
FILE = 'Content-Disposition: form-data; name="file"; filename="a.wav"'
MODEL = text("model", "whisper-1")
AUDIO = file(FILE)
B = "boundary-of-tests"
LINE = b"--" + B.encode()
KIND = f"multipart/form-data; boundary={B}"
TOKEN = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"

clients = pytest.mark.parametrize("name", sorted(CLIENTS))


@dataclass
class Read:
    """A form that was read: the reader, what it kept, and how it would have gone out after each piece."""

    reader: FormReader
    kept: bytes
    layouts: list[Layout]

    def sent(self, model: str = "whisper-1", layout: Layout | None = None) -> bytes:
        """The body as it goes out to an upstream, without padding."""
        layout = layout or self.reader.layout(model)
        kept = self.kept
        for offset, insert in reversed(layout.splices):
            kept = kept[:offset] + insert + kept[offset:]
        return kept + layout.closing

    def message(self, model: str = "whisper-1") -> list[Message]:
        """The parts as the email package reads them."""
        head = f"Content-Type: {self.reader.layout(model).content_type}\r\n\r\n".encode()
        parsed = BytesParser().parsebytes(head + self.sent(model))
        assert not parsed.defects
        payload = parsed.get_payload()
        assert isinstance(payload, list)
        return [one for one in payload if isinstance(one, Message)]

    def parts(self, model: str = "whisper-1") -> list[tuple[str, bytes]]:
        """Names and bytes of the parts, in order."""
        return [
            (str(one.get_param("name", header="content-disposition")), value_of(one)) for one in self.message(model)
        ]


def value_of(part: Message) -> bytes:
    """A part's bytes."""
    value = part.get_payload(decode=True)
    assert isinstance(value, bytes)
    return value


def read(
    pieces: Iterable[bytes],
    kind: str = KIND,
    *,
    size: int | None = None,
    endpoint: Endpoint = TRANSCRIBE,
    model: str = "whisper-1",
) -> Read:
    """Feed a form; raises what the reader raises."""
    reader = FormReader(endpoint, kind, body_size=size, max_bytes=CAP, token=TOKEN)
    kept, layouts = bytearray(), []
    for piece in pieces:
        kept += reader.feed(piece)
        if reader.routable:
            layouts.append(reader.layout(model))
    reader.close()
    return Read(reader, bytes(kept), layouts)


def refusal(body: bytes, kind: str = KIND, **more: object) -> Refused:
    """The refusal of a form, which must be the same whole and byte by byte."""
    found = []
    for pieces in ([body], single(body) if len(body) < 20_000 else in_pieces(body, 65_536)):
        with pytest.raises(Refused) as caught:
            read(pieces, kind, **more)  # type: ignore[arg-type]
        found.append(caught.value)
    assert (found[0].name, found[0].param) == (found[1].name, found[1].param)
    return found[0]


def single(body: bytes) -> list[bytes]:
    """Byte by byte."""
    return [body[at : at + 1] for at in range(len(body))]


def in_pieces(body: bytes, size: int) -> list[bytes]:
    """Pieces of one size."""
    return [body[at : at + size] for at in range(0, len(body), size)]


def cut(body: bytes, places: Sequence[int]) -> list[bytes]:
    """Pieces that end at these places."""
    ends = [0, *sorted(place % (len(body) + 1) for place in places), len(body)]
    return [body[start:end] for start, end in pairwise(ends)]


def facts(reader: FormReader) -> tuple[object, ...]:
    """What is known of a request at its end."""
    return reader.request, reader.routable, reader.file_at, reader.file_size


# -- the forms of real clients


@clients
def test_every_clients_form_goes_out_with_the_same_parts_in_the_same_order(name: str) -> None:
    one = CLIENTS[name]
    found = read([one.body], one.content_type, size=len(one.body))
    expected = [(key, value) for key, value in one.parts if value]
    assert found.parts() == expected
    mapped = [(key, b"vendor/big" if key == "model" else value) for key, value in expected]
    assert found.parts("vendor/big") == mapped
    assert found.reader.layout("vendor/big").length == len(found.sent("vendor/big"))
    (audio,) = [part for part in found.message() if part.get_filename() is not None]
    assert audio.get_filename() == "audio.wav"
    assert audio.get_content_type() == "audio/wav"
    reader = found.reader
    assert reader.file_size == len(WAV)
    assert found.kept[reader.file_at :][: len(WAV)] == WAV
    assert (reader.request.model, reader.request.container and reader.request.container.name) == ("whisper-1", "wav")
    assert reader.request.seconds_from == "header"


@clients
def test_every_clients_form_is_read_alike_whole_and_byte_by_byte(name: str) -> None:
    one = CLIENTS[name]
    for size in (None, len(one.body)):
        whole = read([one.body], one.content_type, size=size)
        bytewise = read(
            single(one.body) if len(one.body) < 50_000 else in_pieces(one.body, 7), one.content_type, size=size
        )
        assert bytewise.kept == whole.kept
        assert facts(bytewise.reader) == facts(whole.reader)
        assert bytewise.sent("m") == whole.sent("m")


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(sorted(CLIENTS)), st.lists(st.integers(0, 2**20), max_size=12), st.booleans())
def test_every_clients_form_is_read_alike_in_any_pieces(name: str, places: list[int], sized: bool) -> None:
    one = CLIENTS[name]
    size = len(one.body) if sized else None
    whole = read([one.body], one.content_type, size=size)
    found = read(cut(one.body, places), one.content_type, size=size)
    assert found.kept == whole.kept
    assert facts(found.reader) == facts(whole.reader)


@clients
def test_the_length_is_announced_a_few_bytes_high_at_most_and_exactly_at_the_end(name: str) -> None:
    one = CLIENTS[name]
    model = "another-name-of-the-model"
    pieces = in_pieces(one.body, 61)
    found = read(pieces, one.content_type, size=len(one.body), model=model)
    for layout in found.layouts:
        assert layout.length is not None
        missing = layout.length - len(found.sent(layout=layout))
        assert 0 <= missing <= one.slack
        assert layout.content_type == found.reader.layout(model).content_type
    end = found.reader.layout(model)
    assert end.length == len(found.sent(model))
    assert end.closing.endswith(b"--\r\n")


@clients
def test_without_a_declared_size_the_length_is_known_at_the_end_only(name: str) -> None:
    one = CLIENTS[name]
    found = read(in_pieces(one.body, 997), one.content_type, size=None)
    closed = b"\r\n--" + one.content_type.partition("boundary=")[2].strip('"').encode() + b"--"
    before_end = [layout.length for layout in found.layouts if not layout.closing.endswith(b"\r\n")]
    assert all(length is None for length in before_end)
    assert one.body.count(closed) == 1
    assert found.reader.layout("m").length == len(found.sent("m"))


@clients
def test_with_the_model_first_a_form_can_be_routed_before_its_audio_has_come(name: str) -> None:
    one = CLIENTS[name]
    order = [key for key, _ in one.parts]
    reader = FormReader(TRANSCRIBE, one.content_type, body_size=None, max_bytes=CAP, token=TOKEN)
    reader.feed(one.body[: one.body.index(WAV) + HEAD_BYTES + 100])
    first = order.index("model") < order.index("file")
    assert reader.routable is first
    assert reader.blocked is not first
    assert (reader.request.model == "whisper-1") is first
    assert reader.file_size is None


def test_what_python_libraries_really_send_is_read() -> None:
    prepared = requests.Request(
        "POST",
        "http://x/",
        data=[("model", "whisper-1"), ("include[]", "a"), ("include[]", "b"), ("language", "")],
        files={"file": ("语音.wav", WAV)},
    ).prepare()
    body = prepared.body
    assert isinstance(body, bytes)
    found = read(single(body), prepared.headers["Content-Type"], size=len(body))
    assert found.parts() == [("model", b"whisper-1"), ("include[]", b"a"), ("include[]", b"b"), ("file", WAV)]
    assert found.message()[3].get_content_type() == "audio/wav"


# -- M-1 to M-5, M-7: what must be there, once


@pytest.mark.parametrize(
    "kind",
    ["multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=b; boundary=c", "",
     "text/plain", "application/json", "application/x-www-form-urlencoded",
     f"multipart/form-data; boundary={'x' * 71}"],
)  # fmt: skip
def test_without_one_good_boundary_nothing_is_read(kind: str) -> None:
    with pytest.raises(Refused) as caught:
        FormReader(TRANSCRIBE, kind, body_size=None, max_bytes=CAP, token=TOKEN)
    assert caught.value.row.status == 400


def test_a_boundary_that_is_not_in_the_body_is_a_400() -> None:
    assert refusal(form("other", MODEL, AUDIO)).name == "bad_form"
    assert refusal(b"file=abc&model=x").name == "bad_form"
    assert refusal(b'{"model":"x"}').name == "bad_form"


def test_an_empty_body_is_a_400() -> None:
    with pytest.raises(Refused, match="the body is empty") as caught:
        read([])
    assert caught.value.row.status == 400
    assert refusal(LINE + b"--\r\n").name == "missing"


@pytest.mark.parametrize(
    ("parts", "param"),
    [
        ([AUDIO], "model"),
        ([AUDIO, text("model", "")], "model"),
        ([text("model", ""), AUDIO, text("language", "de")], "model"),
        ([AUDIO, text("Model", "x")], "model"),
        ([MODEL], "file"),
        ([MODEL, file('Content-Disposition: form-data; name="audio"; filename="a.wav"')], "file"),
        ([MODEL, text("file", "")], "file"),
        ([text("language", "de")], "file"),
    ],
)
def test_what_is_missing_is_named(parts: list[tuple[str, bytes, bytes]], param: str) -> None:
    found = refusal(form(B, *parts))
    assert found.row.status == 400
    assert found.param == param


@pytest.mark.parametrize("twin", ["whisper-1", "other"])
@pytest.mark.parametrize("late", [True, False])
def test_a_second_model_is_a_400_wherever_it_stands(twin: str, late: bool) -> None:
    parts = [MODEL, AUDIO, text("model", twin)] if late else [MODEL, text("model", twin), AUDIO]
    found = refusal(form(B, *parts))
    assert (found.name, found.param) == ("repeated", "model")
    assert refusal(form(B, AUDIO, text("model", twin), MODEL)).name == "repeated"


@pytest.mark.parametrize("name", ["response_format", "stream", "file"])
def test_other_parts_that_are_read_may_come_once(name: str) -> None:
    twin = AUDIO if name == "file" else text(name, "json" if name == "response_format" else "true")
    parts = [MODEL, AUDIO, twin] if name == "file" else [MODEL, twin, AUDIO, twin]
    found = refusal(form(B, *parts))
    assert (found.name, found.param) == ("repeated", name)


def test_an_empty_part_counts_as_absent_and_so_may_be_repeated() -> None:
    found = read([form(B, text("model", ""), MODEL, text("response_format", ""), AUDIO)])
    assert found.parts() == [("model", b"whisper-1"), ("file", WAV)]
    assert found.reader.request.response_format == "json"
    assert refusal(form(B, MODEL, text("model", ""), AUDIO)).name == "repeated"


@pytest.mark.parametrize(
    ("part", "name"),
    [
        (file(FILE, b""), "empty_file"),
        (text("file", b"RIFF"), "invalid"),
        (file('Content-Disposition: form-data; name="x"; filename="x.txt"', b"", name="x"), "bad_form"),
    ],
)
def test_an_empty_file_and_one_without_a_name_are_400s(part: tuple[str, bytes, bytes], name: str) -> None:
    found = refusal(form(B, MODEL, part, AUDIO))
    assert (found.name, found.row.status) == (name, 400)


def test_a_model_that_comes_as_a_file_is_a_400() -> None:
    part = file('Content-Disposition: form-data; name="model"; filename="m.txt"', b"whisper-1", name="model")
    with pytest.raises(Refused):
        read([form(B, part, AUDIO)])


def test_a_format_that_comes_as_a_file_is_a_400() -> None:
    part = file(
        'Content-Disposition: form-data; name="response_format"; filename="f"', b"nonsense", name="response_format"
    )
    with pytest.raises(Refused):
        read([form(B, MODEL, part, AUDIO)])


# -- M-8 to M-13, M-17, M-20: bad framing


def test_encodings_are_bytes_and_never_decoded() -> None:
    encoded = file(FILE + "\r\nContent-Transfer-Encoding: base64", b"UklGRg==" * 1_000)
    found = read([form(B, MODEL, encoded)])
    assert found.sent().count(b"UklGRg==" * 1_000) == 1
    assert b"Transfer-Encoding" not in found.sent()


@pytest.mark.parametrize("kind", ["multipart/mixed; boundary=inner", "Multipart/Form-Data", "multipart/"])
def test_a_form_within_the_form_is_a_400(kind: str) -> None:
    """Some parsers read what is in it: another model, perhaps."""
    inner = form("inner", text("model", "hidden"), end=b"")
    nested = ("x", f'Content-Disposition: form-data; name="x"\r\nContent-Type: {kind}'.encode(), inner)
    assert refusal(form(B, MODEL, AUDIO, nested)).name == "bad_form"
    assert refusal(form(B, MODEL, file(f"{FILE}\r\nContent-Type: {kind}", inner))).name == "bad_form"


@pytest.mark.parametrize("before", [b"garbage", b"garbage\r\n", b"\0", b" ", b"-", b"--c\r\n\r\n"])
def test_garbage_before_the_form_is_a_400(before: bytes) -> None:
    assert refusal(before + form(B, MODEL, AUDIO)).name == "bad_form"


@pytest.mark.parametrize("before", [b"\r\n", b"\r\n\r\n", b"\n"])
def test_empty_lines_before_the_form_are_ignored(before: bytes) -> None:
    body = before + form(B, MODEL, AUDIO)
    assert read([body]).parts() == read(single(body)).parts() == [("model", b"whisper-1"), ("file", WAV)]


@pytest.mark.parametrize(
    "behind", [b"", b"\r\n", b"garbage", b"\r\n" + LINE + b"\r\n", b"\r\n" + form(B, text("model", "x")), b"-" * 9_000]
)
def test_what_comes_behind_the_form_is_ignored(behind: bytes) -> None:
    body = form(B, MODEL, AUDIO, end=b"") + behind
    for pieces in ([body], single(body)):
        found = read(pieces, size=len(body))
        assert found.parts() == [("model", b"whisper-1"), ("file", WAV)]
        assert found.reader.layout("m").length == len(found.sent("m"))


def test_megabytes_before_and_behind_the_form_are_refused_and_cost_next_to_nothing() -> None:
    good = form(B, MODEL, AUDIO)
    for body in (b"\r\n" * 4_000_000 + good, good + b"x\r\n--" * 1_600_000):
        pieces = in_pieces(body, 65_536)
        began = process_time()
        with pytest.raises(Refused, match=f"more than {MAX_AROUND} bytes"):
            read(pieces)
        assert process_time() - began < 0.1


def test_so_much_may_stand_around_a_form() -> None:
    for before, behind in ((MAX_AROUND, 0), (0, MAX_AROUND), (MAX_AROUND // 2, MAX_AROUND // 2)):
        pieces = [b"\r\n" * (before // 2), form(B, MODEL, AUDIO), b"x" * behind]
        assert read(pieces).parts() == [("model", b"whisper-1"), ("file", WAV)]
        with pytest.raises(Refused):
            read([*pieces, b"x"])


@pytest.mark.parametrize(
    "body", [b"-" * 10_000_000, LINE + b"-" * 10_000_000, b"\r" * 8_000_000, b"\r\n--" * 2_000_000]
)
def test_megabytes_of_almost_a_boundary_cost_next_to_nothing(body: bytes) -> None:
    pieces = in_pieces(body, 65_536)
    began = process_time()
    with pytest.raises(Refused):
        read(pieces)
    assert process_time() - began < 0.1


@pytest.mark.parametrize("filling", [b"\r", b"\r\n--", b"\r\n--boundar", b"\r\n--boundary", b"--boundary\r\n", b"\n"])
def test_megabytes_of_look_alikes_in_the_audio_cost_little(filling: bytes) -> None:
    audio = WAV + filling.ljust(13, b"x") * 100_000
    body = form("boundary", MODEL, file(FILE, audio))
    began = process_time()
    found = read(in_pieces(body, 65_536), "multipart/form-data; boundary=boundary")
    assert process_time() - began < 1.0
    assert found.reader.file_size == len(audio)
    assert found.kept[found.reader.file_at :][: len(audio)] == audio


def test_the_33rd_part_is_a_400() -> None:
    fill = [text(f"x{number}", "y") for number in range(MAX_PARTS - 2)]
    assert len(read([form(B, MODEL, *fill, AUDIO)]).parts()) == MAX_PARTS
    found = refusal(form(B, MODEL, *fill, AUDIO, text("z", "")))
    assert f"more than {MAX_PARTS} parts" in found.message
    assert refusal(form(B, *[text("x", "")] * 33)).name == "bad_form"  # empty ones count


@pytest.mark.parametrize("parts", [10_000, 200_000])
def test_a_crowd_of_parts_is_refused_at_once(parts: int) -> None:
    body = (LINE + b'\r\nContent-Disposition: form-data; name="x"\r\n\r\ny\r\n') * parts
    best = 9.0
    for _ in range(3):
        began = process_time()
        with pytest.raises(Refused, match="parts"):
            read([body])
        best = min(best, process_time() - began)
    assert best < 0.005


@pytest.mark.parametrize(
    "headers",
    [
        'Content-Disposition: form-data; name="x"\r\nX-Long: ' + "x" * 4_300,
        'Content-Disposition: form-data; name="x"\r\nX-Long: ' + "x" * 60_000,
        "X" * 5_000,
        'Content-Disposition: form-data; name="x"' + "".join(f"\r\nX-{number}: y" for number in range(8)),
        'Content-Disposition: form-data; name="x"' + "".join(f"\r\nX-{number}: {'y' * 1_000}" for number in range(5)),
        "no colon",
        ": no name",
        'Content-Disposition : form-data; name="x"',
        "Content-Type: text/plain",
        'Content-Disposition: form-data; name="x"\rX: y',
        'Content-Disposition: form-data; name="x"\nX: y',
    ],
)
def test_headers_of_a_part_that_are_too_many_too_long_or_malformed_are_400s(headers: str) -> None:
    assert refusal(form(B, MODEL, file(headers, b"y"), AUDIO)).name == "bad_form"


def test_a_header_that_never_ends_is_a_400() -> None:
    body = LINE + b'\r\nContent-Disposition: form-data; name="x' + b"y" * 1_000_000
    assert refusal(body).name == "bad_form"
    assert refusal(LINE + b"\r\n" + b"y" * 1_000_000).name == "bad_form"


def test_a_text_part_may_have_64_kilobytes_and_all_of_them_256() -> None:
    full = "x" * MAX_TEXT
    assert read([form(B, MODEL, text("prompt", full), AUDIO)]).parts()[1] == ("prompt", full.encode())
    found = refusal(form(B, MODEL, text("prompt", full + "x"), AUDIO))
    assert (found.name, found.param, found.row.status) == ("invalid", "prompt", 400)
    four = [text(f"x{number}", full) for number in range(MAX_TEXTS // MAX_TEXT - 1)]
    assert len(read([form(B, MODEL, *four, AUDIO)]).parts()) == 5
    assert refusal(form(B, MODEL, *four, text("last", full), AUDIO)).param == "last"


@pytest.mark.parametrize("name", ["known_speaker_references", "known_speaker_references[]"])
def test_clips_of_speakers_may_be_large_but_not_endless(name: str) -> None:
    clip = text(name, b"x" * 100_000)
    found = read([form(B, MODEL, clip, clip, clip, clip, AUDIO)])
    assert [len(value) for key, value in found.parts() if key == name] == [100_000] * 4
    body = form(B, MODEL, text(name, b"x" * MAX_WIDE), text(name, b"x"), AUDIO)
    assert refusal(body).param == name


def test_a_form_cut_anywhere_is_incomplete() -> None:
    body = form(B, MODEL, text("language", "de"), file(FILE, WAV[:200]), end=b"")
    for end in range(1, len(body)):
        with pytest.raises(Refused) as caught:
            read([body[:end]])
        assert (caught.value.name, caught.value.row.code) == ("incomplete_form", "incomplete_multipart")
    assert read([body]).parts()[0] == ("model", b"whisper-1")


def test_before_its_end_a_form_goes_out_without_a_proper_end() -> None:
    reader = FormReader(TRANSCRIBE, KIND, body_size=None, max_bytes=CAP, token=TOKEN)
    kept = reader.feed(form(B, MODEL, AUDIO, text("x", "y"))[:-7])
    assert not kept.endswith(b"--")
    assert reader.layout("m").closing not in kept


@pytest.mark.parametrize(
    "body",
    [
        form(B, MODEL, AUDIO).replace(b"\r\n", b"\n"),
        form(B, MODEL, AUDIO).replace(b"\r\n", b"\r"),
        form(B, MODEL, AUDIO).replace(LINE + b"\r\n", LINE + b"\n", 1),
        form(B, MODEL).replace(b'"model"\r\n\r\n', b'"model"\n\n'),
    ],
)
def test_other_line_ends_than_crlf_are_400s(body: bytes) -> None:
    assert refusal(body).row.status == 400


# -- M-14: the audio


LOOK_ALIKES = [
    b"\r\n--", b"\r\n--boundar", b"\r\n--boundarx", b"\r\n--boundaryx", b"\r\n--boundary", b"--boundary\r\n",
    b"--boundary--\r\n", b"\r\n-boundary\r\n", b"\r\r\n--boundarz", b"\r\n\r\n--boundar\r\n", b"\r\n--boundary-",
    b"\r\n--boundary-x", b"\r\n--boundary\r", b"\r\n--boundary\rx", b"\r", b"\r\n", b"\0",
]  # fmt: skip


@pytest.mark.parametrize("mark", LOOK_ALIKES)
def test_look_alikes_of_the_boundary_stay_in_the_audio_at_every_split(mark: bytes) -> None:
    """At the start, in the middle and at the end; each followed by what makes it none."""
    kind = "multipart/form-data; boundary=boundary"
    inner = mark + (b"x" if mark.endswith(b"--boundary") else b"")
    for audio in (inner + b"!" + WAV[:300], WAV[:150] + inner + b"!" + WAV[:150], WAV[:300] + inner):
        body = form("boundary", MODEL, file(FILE, audio))
        start = body.index(audio)
        whole = read([body], kind)
        assert whole.kept[whole.reader.file_at :] == audio + b"\r\n"
        for place in [*range(start, start + 40), *range(start + 140, start + 200), *range(start + 290, len(body))]:
            found = read([body[:place], body[place:]], kind)
            assert found.kept == whole.kept
            assert found.reader.file_size == len(audio)
        assert read(single(body), kind).kept == whole.kept


ENDS = [b"\r\n--boundary\r\n", b"\r\n--boundary \r\n", b"\r\n--boundary" + b" \t" * 60 + b"\r\n"]


@pytest.mark.parametrize("mark", [*LOOK_ALIKES, *ENDS])
def test_in_the_midst_of_a_long_file_a_boundary_is_found_and_a_look_alike_is_not(mark: bytes) -> None:
    """At every split around it; behind a real one there is another part."""
    kind = "multipart/form-data; boundary=boundary"
    part = b'Content-Disposition: form-data; name="language"\r\n\r\nde' if mark in ENDS else b"x" * 60
    lead = b"y" * 2 * HEAD_BYTES
    body = form("boundary", MODEL, file(FILE, lead + mark + part), text("x", "y"))
    start = body.index(lead)
    whole = read([body], kind)
    assert ("language" in [name for name, _ in whole.parts()]) is (mark in ENDS)
    assert whole.reader.file_size == len(lead) + (0 if mark in ENDS else len(mark + part))
    for first in (HEAD_BYTES, len(lead) - 1):
        for place in range(len(lead) - 2, len(lead + mark) + 4):
            for width in (1, 7, 200):
                places = [start + first, start + place, start + place + width]
                found = read(cut(body, places), kind)
                assert found.kept == whole.kept
                assert facts(found.reader) == facts(whole.reader)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.sampled_from([*LOOK_ALIKES, b"b", b"-", b"\n", b"\t", b"boundary"]) | st.binary(max_size=9),
        min_size=1,
        max_size=30,
    ),
    st.lists(st.integers(0, 10_000), max_size=20),
)
def test_any_audio_arrives_byte_by_byte_the_same(pieces: list[bytes], places: list[int]) -> None:
    audio = WAV[:44] + b"z" * (len(pieces) % 2 * HEAD_BYTES) + b"".join(pieces)
    # A real boundary within the audio ends it; that is what a boundary is.
    audio = re.sub(rb"\r\n--boundary(?=\r\n|--|[ \t])", b"\r\n--boundary_", audio + b"!")
    body = form("boundary", MODEL, file(FILE, audio), text("x", "y"))
    found = read(cut(body, places), "multipart/form-data; boundary=boundary")
    assert found.kept[found.reader.file_at :].startswith(audio + b"\r\n--" + TOKEN[-16:].encode() + b"\r\n")
    assert found.reader.file_size == len(audio)
    assert found.reader.request.model == "whisper-1"


@pytest.mark.parametrize("length", [1, 2, HEAD_BYTES - 1, HEAD_BYTES, HEAD_BYTES + 1, 3 * HEAD_BYTES])
def test_files_of_any_length_are_kept_whole(length: int) -> None:
    audio = (WAV * 2)[:length]
    body = form(B, MODEL, file(FILE, audio))
    for pieces in ([body], single(body), in_pieces(body, 1_000)):
        found = read(pieces, size=len(body))
        assert found.parts() == [("model", b"whisper-1"), ("file", audio)]
        assert found.reader.file_size == length


@pytest.mark.parametrize("line_end", [b"\n", b"\r"])
def test_no_other_parser_finds_a_part_in_the_audio(line_end: bytes) -> None:
    """The audio hides a second `model`: charged for one model, served by another."""
    hidden = line_end.join(
        [b"", LINE, b'Content-Disposition: form-data; name="model"', b"", b"dear-one", LINE + b"--", b""]
    )
    found = read([form(B, MODEL, file(FILE, WAV[:44] + hidden))])
    assert [name for name, _ in found.parts()] == ["model", "file"]


# -- M-15: names and types


@pytest.mark.parametrize(
    ("filename", "content", "expected"),
    [
        ('filename="a\\"\r\nX: 1.wav"', WAV, None),  # a line end in a header ends it
        ('filename="../../etc/passwd"', WAV, "audio.wav"),
        ('filename="C:\\x.wav"', WAV, "audio.wav"),
        ("filename*=utf-8''evil.mp3", WAV, "audio.wav"),
        (f'filename="{"x" * 3_900}.wav"', WAV, "audio.wav"),
        (f'filename="{"x" * 10_000}.wav"', WAV, None),
        ('filename="😀.wav"', WAV, "audio.wav"),
        ('filename="a\x00b.wav"', WAV, "audio.wav"),
        ('filename="\u202evaw.exe"', WAV, "audio.wav"),
        ('filename="lies.mp3"', WAV, "audio.wav"),
        ('filename="NOISE.OGA"', b"noise" * 99, "audio.oga"),
        ('filename="noise"', b"noise" * 99, "audio.bin"),
        ('filename=""', b"noise" * 99, "audio.bin"),
        ('filename="a.\r\n"', WAV, None),
        ('filename="noise.w%0d"', b"noise" * 99, "audio.bin"),
        ('filename="noise.toolong"', b"noise" * 99, "audio.bin"),
    ],
)
def test_a_filename_is_never_used_but_for_its_extension(filename: str, content: bytes, expected: str | None) -> None:
    body = form(B, MODEL, file(f'Content-Disposition: form-data; name="file"; {filename}', content))
    if expected is None:
        assert refusal(body).name == "bad_form"
        return
    found = read([body])
    head = found.kept[: found.reader.file_at]
    assert head.endswith(b'; filename="' + expected.encode() + b'"\r\nContent-Type: ' + head.rpartition(b": ")[2])
    assert found.message()[1].get_filename() == expected
    assert head.count(b"\r\n") == 8  # two parts of boundary, headers and an empty line; the model's value and its end


@pytest.mark.parametrize(
    ("kind", "extension", "content_type"),
    [
        ("mp3", "mp3", "audio/mpeg"),
        ("mpga", "mp3", "audio/mpeg"),
        ("flac", "flac", "audio/flac"),
        ("ogg", "ogg", "audio/ogg"),
        ("webm", "webm", "audio/webm"),
        ("m4a", "m4a", "audio/mp4"),
    ],
)
def test_extension_and_type_are_those_of_the_bytes(kind: str, extension: str, content_type: str) -> None:
    headers = 'Content-Disposition: form-data; name="file"; filename="upload.WAV"\r\nContent-Type: text/html'
    found = read([form(B, MODEL, file(headers, make(kind)))])
    part = found.message()[1]
    assert (part.get_filename(), part.get_content_type()) == (f"audio.{extension}", content_type)
    assert value_of(part) == make(kind)


@pytest.mark.parametrize(
    ("declared", "expected"),
    [("audio/x-odd", "audio/x-odd"), ("", "application/octet-stream"), ("not a type", "application/octet-stream")],
)
def test_bytes_that_nobody_knows_keep_their_type_or_get_one(declared: str, expected: str) -> None:
    headers = FILE + (f"\r\nContent-Type: {declared}" if declared else "")
    assert read([form(B, MODEL, file(headers, b"noise" * 99))]).message()[1].get_content_type() == expected


@pytest.mark.parametrize(
    "boundary", ["----=_Part_0_1234.5678", "a b", "x:y", "a/b", "(a)", "a?b,c", "b", TOKEN, TOKEN[-20:], "x" * 70]
)
def test_the_boundary_that_goes_out_is_ours_whatever_theirs_is(boundary: str) -> None:
    """Only letters, digits and dashes, so it needs no quotes; and as long as theirs, so that lengths stay."""
    one = sample(boundary, MODEL, AUDIO, quoted=True)
    found = read([one.body], one.content_type)
    ours = str(found.reader.layout("m").content_type).removeprefix("multipart/form-data; boundary=")
    assert re.fullmatch(r"-*[0-9a-f]{16,32}", ours)
    assert TOKEN.endswith(ours.strip("-"))
    assert len(ours) == max(len(boundary), 16)
    assert found.parts() == [("model", b"whisper-1"), ("file", WAV)]


# -- M-19: what is not ours to read


def test_unknown_and_repeated_parts_go_on_untouched_in_their_order() -> None:
    parts = [
        text("include[]", "logprobs"),
        MODEL,
        text("timestamp_granularities[]", "word"),
        text("x-vendor", b"\xff\xfe not utf-8 \r\n\r\n"),
        text("include[]", "more"),
        AUDIO,
        ("extra", b"content-disposition: form-data; name=extra; filename=w.TXT\r\ncontent-type: text/plain", b"a,b"),
        text("stream", "true"),
        text("timestamp_granularities[]", "segment"),
        text("include[]", "logprobs"),
        text("language", " "),
    ]
    found = read([form(B, *parts)])
    assert found.parts() == [(name, value) for name, _, value in parts]
    assert found.message()[6].get_filename() == "audio.txt"
    assert found.reader.request.stream


@pytest.mark.parametrize(
    ("value", "stream"),
    [("true", True), ("True", True), ("TRUE", True), ("1", True), (" true ", True), ("false", False), ("0", False),
     ("yes", False), ("null", False)],
)  # fmt: skip
@pytest.mark.parametrize("late", [True, False])
def test_stream_is_noted_wherever_it_stands(value: str, stream: bool, late: bool) -> None:
    part = text("stream", value)
    parts = [MODEL, AUDIO, part] if late else [part, MODEL, AUDIO]
    assert read([form(B, *parts)]).reader.request.stream is stream


@pytest.mark.parametrize("late", [True, False])
def test_the_format_is_noted_wherever_it_stands_and_checked(late: bool) -> None:
    def parts(value: str | bytes) -> list[tuple[str, bytes, bytes]]:
        part = text("response_format", value)
        return [MODEL, AUDIO, part] if late else [part, MODEL, AUDIO]

    for value in TRANSCRIBE.formats:
        assert read([form(B, *parts(value))]).reader.request.response_format == value
    for bad in ("xml", "JSON", "json ", '"json"'):
        found = refusal(form(B, *parts(bad)))
        assert (found.param, found.row.status) == ("response_format", 400)
        assert bad in found.message
    assert refusal(form(B, *parts(b"\xff"))).message.endswith("it is not UTF-8 text.")
    assert refusal(form(B, *parts("diarized_json")), endpoint=TRANSLATE).param == "response_format"


def test_a_model_may_have_any_name_but_must_be_text() -> None:
    found = read([form(B, text("model", '"wörld"\r\n'), AUDIO)])
    assert found.reader.request.model == '"wörld"\r\n'
    assert found.parts("x")[0] == ("model", b"x")
    assert refusal(form(B, text("model", b"\xff"), AUDIO)).param == "model"


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40))
def test_the_models_own_name_brings_the_same_form_back(model: str) -> None:
    body = form(B, text("model", model), text("x", "y"), AUDIO)
    found = read([body])
    assert found.reader.request.model == model
    assert f'name="model"\r\n\r\n{model}\r\n--'.encode() in found.sent(model)
    assert found.reader.layout(model).length == len(found.sent(model))


# -- what is reserved


def test_seconds_are_estimated_from_what_is_known_of_the_size() -> None:
    body = form(B, MODEL, file(FILE, WAV))
    exact = len(WAV) / 32_000
    sized = read(in_pieces(body, 100), size=len(body)).reader.request
    assert exact * 0.99 < sized.seconds < exact * 1.02
    unsized = read(in_pieces(body, 100)).reader.request
    assert unsized.seconds > CAP / 32_000 * 0.99
    short = read([form(B, MODEL, file(FILE, WAV[:1_000]))]).reader.request
    assert short.seconds == pytest.approx((1_000 - 44) / 32_000)


def test_a_size_that_lies_does_not_go_below_what_was_looked_at() -> None:
    body = form(B, MODEL, file(FILE, WAV))
    request: AudioRequest = read([body], size=10).reader.request
    assert request.seconds >= (HEAD_BYTES - 44) / 32_000


def test_another_file_is_not_measured_and_does_not_route() -> None:
    other = file('Content-Disposition: form-data; name="extra"; filename="e.wav"', WAV, name="extra")
    reader = FormReader(TRANSCRIBE, KIND, body_size=None, max_bytes=CAP, token=TOKEN)
    reader.feed(form(B, MODEL, other)[:-8])
    assert not reader.routable
    assert (reader.request.seconds, reader.request.container, reader.file_size) == (0.0, None, None)
    found = read([form(B, MODEL, other, AUDIO)])
    assert found.parts() == [("model", b"whisper-1"), ("extra", WAV), ("file", WAV)]
    assert found.kept[found.reader.file_at :] == WAV + b"\r\n"


def test_the_estimate_does_not_hang_on_how_the_audio_came_in_pieces() -> None:
    body = form(B, MODEL, file(FILE, bytes(HEAD_BYTES + 500) + make("mp3")))
    whole, bytewise = read([body], size=len(body)), read(in_pieces(body, 100), size=len(body))
    assert facts(whole.reader) == facts(bytewise.reader)


def missing_at_first(held: int, size: int) -> int:
    """What the first length announced has more than is sent, for audio that begins with `held` bytes of a boundary."""
    audio = f"\r\n--{B}".encode()[:held] + b"!" + WAV[: HEAD_BYTES + 600]
    body = form(B, MODEL, file(FILE, audio))
    start = body.index(audio)
    found = read([body[:start], *in_pieces(body[start:], size)], size=len(body))
    first = found.layouts[0]
    assert first.length is not None
    return first.length - len(found.sent(layout=first))


@pytest.mark.parametrize("held", range(len(B) + 5))
def test_the_length_is_right_for_audio_that_begins_like_a_boundary(held: int) -> None:
    """The parser holds such a beginning back until it knows better."""
    assert missing_at_first(held, 500) == 2


@pytest.mark.parametrize("size", [1, 3])
def test_the_length_is_right_for_such_audio_in_tiny_pieces(size: int) -> None:
    assert [held for held in range(len(B) + 5) if missing_at_first(held, size) != 2] == []


def test_a_short_boundary_does_not_reserve_for_the_largest_upload_there_may_be() -> None:
    body = form("short", MODEL, AUDIO)
    request = read(in_pieces(body, 100), "multipart/form-data; boundary=short", size=len(body)).reader.request
    assert request.seconds < 2 * len(WAV) / 32_000


def test_with_a_short_boundary_the_length_is_known_at_the_end_and_right() -> None:
    body = form("short", MODEL, AUDIO, text("x", "y"))
    found = read(in_pieces(body, 100), "multipart/form-data; boundary=short", size=len(body))
    for layout in found.layouts:
        assert layout.length is None or layout.length >= len(found.sent(layout=layout))
    assert found.reader.layout("m").length == len(found.sent("m"))


def test_headers_that_grow_behind_the_audio_make_the_announced_length_too_short_and_the_end_right() -> None:
    """The sender sees that and sends again; no client that we know does this."""
    terse = [(f"x{n}", b"content-disposition:form-data;name=x%d" % n, b"y") for n in range(9)]
    body = form(B, MODEL, AUDIO, *terse)
    found = read(in_pieces(body, 500), size=len(body))
    assert found.layouts[0].length is not None
    assert found.layouts[0].length < len(found.sent(layout=found.layouts[0]))
    assert found.reader.layout("m").length == len(found.sent("m"))


def test_samples_are_what_they_say() -> None:
    for name, one in CLIENTS.items():
        assert isinstance(one, Sample), name
        assert one.body.count(WAV) == 1, name
