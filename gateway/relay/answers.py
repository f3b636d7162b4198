"""How an answer is read: strictly, from peers that may be broken or hostile.

httptools (llhttp) reads the bytes, and refuses by itself doubled or odd lengths, a length beside chunks, bare line
ends, folded lines and odd characters. Here is what it lets pass: other encodings than chunked, HTTP/0.9 and 2, chunks
in HTTP/1.0, heads and trailers without end, answers to nothing. RFC 9112, sections 4 to 9.
"""

import re
from dataclasses import dataclass

import httptools

HEAD_BYTES = 32 * 1024  # of an answer's head; as much again may go by between two pieces of a body (chunk extensions)
HEAD_FIELDS = 100
TRAILER_FIELDS = 32
INTERIM = 16
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_LENGTH = re.compile(rb"\d{1,15}")


class Malformed(Exception):
    """What came is no answer that can be trusted."""


@dataclass(frozen=True, slots=True)
class Head:
    """Status and headers (lower-case names) of an answer."""

    status: int
    headers: dict[str, str]


class AnswerReader:
    """Reads the answers of one connection, one after the other.

    `head` is there once it was read, `pieces` are those of the body that nobody has taken, `ended`: the answer is
    whole. `keep`: the connection may serve another request. `touched`: something of this answer has come.
    """

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self.begin(bodiless=False)

    def begin(self, *, bodiless: bool) -> None:
        """A request goes out; `bodiless`: its answer has no body, whatever its head says (HEAD)."""
        self.head: Head | None = None
        self.pieces: list[bytes] = []
        self.ended = self.keep = self.touched = False
        self._bodiless = bodiless
        self._framed = True
        self._fields: list[tuple[bytes, bytes]] = []
        self._size = self._interim = self._idle = self._trailers = 0

    def feed(self, data: bytes | memoryview) -> None:
        """More bytes. Raises Malformed for what cannot be trusted; what came before the fault stays."""
        self.touched = True
        self._idle += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if not self.ended:
                raise Malformed(str(error.__context__ or error)) from error
            self.keep = False  # bytes behind the end
        if self._idle > 2 * HEAD_BYTES and not self.ended:
            raise Malformed("a head or a chunk's head without end")

    def end(self) -> None:
        """The peer has said that nothing follows: an answer without a length is whole."""
        self.keep = False
        if self.head is not None and not self._framed:
            self.ended = True

    # -- what the parser calls

    def on_message_begin(self) -> None:
        if self.ended:
            raise Malformed("an answer to nothing")

    def on_status(self, reason: bytes) -> None:
        if _CONTROL.search(reason):
            raise Malformed("control characters in the reason")

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.head is not None:
            self._trailers += 1
            if self._trailers > TRAILER_FIELDS:
                raise Malformed("too many trailers")
            return
        self._size += len(name) + len(value)
        self._fields.append((name.lower(), value.strip(b" \t")))
        if len(self._fields) > HEAD_FIELDS or self._size > HEAD_BYTES:
            raise Malformed("a head that is too large")

    def on_headers_complete(self) -> None:
        status, version = self._parser.get_status_code(), self._parser.get_http_version()
        if version not in ("1.1", "1.0") or not 100 <= status <= 599 or status == 101:
            raise Malformed(f"status {status} in HTTP/{version}")
        fields, self._fields = self._fields, []
        if status < 200:
            self._interim += 1
            self._size = 0
            if self._interim > INTERIM:
                raise Malformed("interim answers without end")
            return
        self._frame(status, version, fields)
        self._idle = 0
        self.head = Head(
            status, {name.decode("latin-1"): value.decode("utf-8", "surrogateescape") for name, value in fields}
        )
        if self._bodiless:
            self.ended = True  # the parser would wait for a body: this connection is not used again

    def on_body(self, data: bytes) -> None:
        if self.head is None:
            raise Malformed("an interim answer with a body")  # it would be taken for the start of the next one's
        self._idle = 0
        if not self._bodiless:
            self.pieces.append(data)

    def on_message_complete(self) -> None:
        self._idle = 0
        if self.head is not None and not self.ended:
            self.ended = True
            self.keep = self._framed and self._parser.should_keep_alive()

    def _frame(self, status: int, version: str, fields: list[tuple[bytes, bytes]]) -> None:
        """Where the body ends."""
        encodings = [value for name, value in fields if name == b"transfer-encoding"]
        lengths = [value for name, value in fields if name == b"content-length"]
        if encodings and (version == "1.0" or len(encodings) > 1 or encodings[0].lower() != b"chunked"):
            raise Malformed("an encoding that is not chunked")
        if any(not _LENGTH.fullmatch(value) for value in lengths):
            raise Malformed("a length that cannot be")
        self._framed = bool(encodings or lengths) or status in (204, 304)
