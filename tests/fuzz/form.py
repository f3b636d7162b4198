"""Bodies of requests, as `reader_for` reads them: a Content-Type, the end of its line, and the body."""

import re
from dataclasses import dataclass
from email.message import Message
from email.parser import BytesParser

from gateway.audio.body import READERS, Reader, reader_for
from gateway.audio.request import ENDPOINTS
from gateway.errors import Refused
from tests.corpus.forms import CLIENTS, WAV, file, form, text
from tests.fuzz.common import in_time, pieces, stretched

RUNS = 700
CAP = 1_000_000
TOKEN = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"
MODEL = "another-name"
TRANSCRIBE = ENDPOINTS["POST", "/v1/audio/transcriptions"]
SPEAK = ENDPOINTS["POST", "/v1/audio/speech"]

_B = "boundary-of-the-fuzzer"
_KIND = b"multipart/form-data; boundary=" + _B.encode() + b"\n"
_FILE = 'Content-Disposition: form-data; name="file"; filename="a.wav"\r\nContent-Type: audio/wav'
SHORT = [one for one in CLIENTS.values() if len(one.body) < 20_000]
SEEDS = [
    *(one.content_type.encode() + b"\n" + one.body.replace(WAV, WAV[:300]) for one in SHORT),
    _KIND + form(_B, text("model", "whisper-1"), file(_FILE, WAV[:60])),
    _KIND + form(_B, file(_FILE, WAV[:60]), text("language", ""), text("model", "m")),
    _KIND + form(_B, text("model", "m"), text("stream", "true"), text("x", "\r\n--bound"), file(_FILE, b"ID3")),
    b'application/json\n{"model":"tts-1","input":"hello","voice":"alloy","response_format":"mp3"}',
    b'application/json\n{"model":"tts-1","input":"\\u00e9","z":[[1e5,{"a":null}]],"stream_format":"sse"}',
]  # fmt: skip
WORDS = [
    b"\r\n", b"--", b"--\r\n", b"\r\n--" + _B.encode(), b"--" + _B.encode() + b"\r\n",
    b"\r\n--" + _B.encode() + b"--",
    b"Content-Disposition: form-data; ", b'name="model"', b'name="file"', b'filename="a"', b"filename*=UTF-8''a",
    b'name="response_format"', b'name="stream"', b"\r\n\r\n", b"Content-Type: ", b"Content-Transfer-Encoding: base64",
    b'"', b"\\", b";", b"boundary=", b"multipart/form-data", b"application/json", b'"model":', b'"input":',
    b"\\ud800",
    b"RIFF", b"WAVEfmt ", b"fLaC", b"OggS", b"\xff\xfb", b"ID3", b"ftyp", b"\x1aE\xdf\xa3", b"NaN", b"1e999", b"[[[[",
]  # fmt: skip

_LINES = re.compile(
    rb'Content-Disposition: form-data; name="([^"\\\r\n]+)"(?:; filename="(audio\.[a-z0-9]+)")?'
    rb"(?:\r\nContent-Type: ([\x20-\x7e]+))?"
)


@dataclass(frozen=True, slots=True)
class Read:
    """A body that was read: what is known of it, what goes out, and the lengths that were announced on the way."""

    facts: object
    content_type: str | None
    sent: bytes
    file: tuple[bytes, ...]


def target(data: bytes) -> None:
    """One body, whole and in pieces, of a known length and of an unknown one."""
    kind, _, body = data.partition(b"\n")
    content_type = kind.decode("latin-1")
    for size in (len(body), None):
        found = in_time(lambda size=size: read([body], content_type, size), len(body))
        for parts in pieces(body):
            again = read(parts, content_type, size)
            assert again == found, f"it is read differently in {len(parts)} pieces: {again} != {found}"
    if isinstance(found, Read) and content_type.lower().lstrip().startswith("multipart"):
        same_parts(body, content_type, found)
    if large := stretched(body):
        in_time(lambda: read([large], content_type, None), len(large))


def read(parts: list[bytes], content_type: str, size: int | None) -> "Read | tuple[str, str | None]":
    """What is read; name and parameter of the refusal if it is refused."""
    endpoint = SPEAK if "json" in content_type else TRANSCRIBE
    reader, kept, lengths = None, bytearray(), []
    try:
        reader = reader_for(endpoint, content_type, body_size=size, max_bytes=CAP, token=TOKEN)
        for piece in parts:
            kept += reader.feed(piece)
            if reader.routable:
                lengths.append(reader.layout(MODEL))
        reader.close()
    except Refused as refusal:
        return refused(refusal)
    return _read(reader, bytes(kept), lengths)


def refused(refusal: Refused) -> tuple[str, str | None]:
    """A refusal that tells the caller whose fault it is, and not at length."""
    assert 400 <= refusal.row.status < 500
    assert len(refusal.message) < 1_000
    return refusal.name, refusal.param


def _read(reader: Reader, kept: bytes, on_the_way: list) -> Read:
    assert reader.routable
    layout = reader.layout(MODEL)
    sent = _spliced(kept, layout.splices) + layout.closing
    assert layout.length == len(sent)
    for early in on_the_way:
        # A request that is under way already cannot take a byte more than was announced; padding makes up for less.
        assert early.length is None or early.length >= len(_spliced(kept, early.splices) + early.closing)
        assert early.content_type == layout.content_type
    assert type(reader) in READERS.values()
    request = reader.request
    assert 0 <= request.seconds < float("inf")
    if reader.file_size is not None:
        assert reader.file_size > 0
    audio = kept[reader.file_at : reader.file_at + (reader.file_size or 0)]
    return Read((request, reader.file_at, reader.file_size), layout.content_type, sent, (audio,))


def _spliced(kept: bytes, splices: tuple[tuple[int, bytes], ...]) -> bytes:
    for offset, insert in reversed(splices):
        kept = kept[:offset] + insert + kept[offset:]
    return kept


# -- what goes out is what came in


def same_parts(body: bytes, content_type: str, found: Read) -> None:
    """Name and value of each part, in order, but for empty texts and the model's name; by three parsers."""
    assert found.content_type is not None
    boundary = found.content_type.partition("boundary=")[2].encode()
    going = strictly(found.sent, boundary)
    for part in going:
        assert _LINES.fullmatch(part[0]), part[0]
    written = [(_LINES.fullmatch(head)[1], value) for head, value in going]  # type: ignore[index]
    by_email = [
        (one.get_param("name", header="content-disposition"), one.get_payload(decode=True)) for one in email_of(found)
    ]
    assert [(name.decode(), value) for name, value in written] == by_email
    came = Message()
    came["Content-Type"] = content_type
    incoming = [(name_in(head), value) for head, value in strictly(body, str(came.get_boundary()).encode())]
    expected = [(name, MODEL.encode() if name == "model" else value) for name, value in incoming if value]
    assert [(name.decode(), value) for name, value in written] == expected
    (audio,) = [value for name, value in written if name == b"file"]
    assert (audio,) == found.file


def strictly(body: bytes, boundary: bytes) -> list[tuple[bytes, bytes]]:
    """Headers and value of each part: what lies between two lines of the boundary, by RFC 2046."""
    line = re.compile(b"\r\n--" + re.escape(boundary) + rb"(--|[ \t]*\r\n)")
    body, found = b"\r\n" + body, []
    first = line.search(body)
    assert first is not None
    assert set(body[: first.start()]) <= set(b"\r\n"), "something before the first part"
    while first[1] != b"--":
        blank = body.index(b"\r\n\r\n", first.end())
        last = line.search(body, blank + 4)
        assert last is not None, "it is not closed"
        found.append((body[first.end() : blank], body[blank + 4 : last.start()]))
        first = last
    return found


def name_in(head: bytes) -> str:
    """The name of a part, by the email package. A line's end that is none, for HTTP, is a space."""
    lines = re.sub(rb"\r(?!\n)|(?<!\r)\n", b" ", head)
    parsed = BytesParser().parsebytes(lines + b"\r\n\r\n", headersonly=True)
    return re.sub(r"\\(.)", r"\1", str(parsed.get_param("name", header="content-disposition")))


def email_of(found: Read) -> list[Message]:
    """The parts that go out, as the email package reads them."""
    parsed = BytesParser().parsebytes(f"Content-Type: {found.content_type}\r\n\r\n".encode() + found.sent)
    assert not parsed.defects
    parts = parsed.get_payload()
    assert isinstance(parts, list)
    return parts
