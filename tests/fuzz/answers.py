"""Answers of upstreams: the bytes of a connection, as the relay's reader takes them."""

from dataclasses import dataclass

from gateway.relay.answers import HEAD_BYTES, HEAD_FIELDS, AnswerReader, Malformed
from tests.corpus.replies import BAD_BODIES, BAD_HEADS, BEGUN, SOUND
from tests.fuzz.common import in_time, pieces, stretched

RUNS = 4_000
SHORT = 600
SEEDS = [
    *(sound.data for sound in SOUND.values() if len(sound.data) < SHORT),
    *(data for data in BAD_HEADS.values() if len(data) < SHORT),
    *(BEGUN + data for data in BAD_BODIES.values() if len(data) < SHORT),
]
WORDS = [
    b"HTTP/1.1 200 OK\r\n", b"HTTP/1.0 ", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 101 X\r\n",
    b"HTTP/1.1 204 X\r\n",
    b"Content-Length: ", b"Transfer-Encoding: chunked\r\n", b"Connection: close\r\n", b"Connection: keep-alive\r\n",
    b"Upgrade: h2c\r\n", b"\r\n", b"\r\n\r\n", b"0\r\n\r\n", b"5\r\nhello\r\n", b"\n", b"\r", b"\0", b" ", b"\t",
    b":", b";a=b",
    b"FFFFFFFFFFFFFFFF", b"18446744073709551616", b"\xff", b", ", b"304", b"5\r\n", b"Trailer: X\r\n",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Taken:
    """What was understood. `broken`: it was refused there."""

    broken: bool
    head: object
    body: bytes
    ended: bool
    kept: bool


def target(data: bytes) -> None:
    """One answer, to a request that may have a body in it and to one that has none; whole and in pieces."""
    for bodiless in (False, True):
        found = in_time(lambda bodiless=bodiless: taken([data], bodiless=bodiless), len(data))
        for parts in pieces(data):
            again = taken(parts, bodiless=bodiless)
            assert again == found, f"it is read differently in {len(parts)} pieces: {again} != {found}"
        sound(found)
    if large := stretched(data):
        sound(in_time(lambda: taken([large], bodiless=False), len(large)))


def taken(parts: list[bytes], *, bodiless: bool) -> Taken:
    """What the reader takes of it until the peer ends the connection."""
    reader = AnswerReader()
    reader.begin(bodiless=bodiless)
    broken = False
    try:
        for part in parts:
            reader.feed(part)
        kept = reader.ended and reader.keep
        reader.end()
    except Malformed:
        broken, kept = True, False
    return Taken(broken, reader.head, b"".join(reader.pieces), reader.ended, kept)


def sound(found: Taken) -> None:
    """What is believed keeps to its own words."""
    assert not (found.broken and found.kept)
    if found.head is None:
        assert (found.body, found.ended) == (b"", False)
        return
    headers = found.head.headers
    assert 200 <= found.head.status <= 599
    assert len(headers) <= HEAD_FIELDS
    assert sum(map(len, headers)) <= HEAD_BYTES
    for name, value in headers.items():
        assert name == name.lower()
        assert not set("\r\n\0") & set(name + value)
    assert not ("content-length" in headers and "transfer-encoding" in headers)
    if found.ended and found.body and "content-length" in headers:
        assert len(found.body) == int(headers["content-length"])
