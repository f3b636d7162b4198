"""Replies of upstreams, byte by byte: those that nobody may believe, and those that everybody has to."""

from collections.abc import Mapping
from dataclasses import dataclass, field

OK = b"HTTP/1.1 200 OK"
FIVE = b"Content-Length: 5"
CHUNKED = b"Transfer-Encoding: chunked"
IN_CHUNKS = b"5\r\nhello\r\n0\r\n\r\n"


def head(*lines: bytes, status: bytes = OK) -> bytes:
    """A reply's head."""
    return b"\r\n".join((status, *lines, b"", b""))


def reply(body: bytes, *lines: bytes, status: bytes = OK) -> bytes:
    """A whole reply that tells its length."""
    return head(*lines, b"Content-Length: %d" % len(body), status=status) + body


GOOD = reply(b"good")
STOWAWAY = reply(b"stowaway")
"""Goes out behind what is broken: where it is taken for an answer, somebody was fooled."""

_LENGTHS = {
    "negative": b"-1",
    "with a sign": b"+5",
    "in hex": b"0x5",
    "of two numbers": b"5 5",
    "empty": b"",
    "a list": b"5, 7",
    "a list of equals": b"5, 5",
    "a list with nothing in it": b"5,",
    "a float": b"5.0",
    "in powers": b"1e30",
    "of 2**64": b"18446744073709551616",
    "of 2**64 and 5": b"18446744073709551621",
    "of thirty digits": b"1" * 30,
    "with an underscore": b"0_5",
    "in quotes": b'"5"',
    "in other digits": "٥".encode(),
    "with a vertical tab": b"\x0b5",
}
_CODINGS = {
    "gzip": b"gzip",
    "gzip and chunked": b"gzip, chunked",
    "chunked and gzip": b"chunked, gzip",
    "chunked and identity": b"chunked, identity",
    "chunked twice": b"chunked, chunked",
    "identity": b"identity",
    "xchunked": b"xchunked",
    "chunked with a parameter": b"chunked;q=1",
    "chunked in quotes": b'"chunked"',
    "chunked behind a vertical tab": b"\x0bchunked",
    "a list of nothing and chunked": b", chunked",
    "none": b"",
}
_FIELDS = {
    "a NUL in a value": b"X: a\0b",
    "a NUL in a name": b"X\0Y: a",
    "a bare CR in a value": b"X: a\rY: b",
    "a bare CR in a name": b"X\rY: b",
    "a control character in a value": b"X: a\x01b",
    "a DEL in a value": b"X: a\x7fb",
    "a line that goes on, after a space": b"X: a\r\n b",
    "a line that goes on, after a tab": b"X: a\r\n\tb",
    "a space before the colon": b"X : a",
    "a tab before the colon": b"X\t: a",
    "a space in a name": b"X Y: a",
    "a letter beyond ASCII in a name": b"X\xe9: a",
    "a bracket in a name": b"X[: a",
    "no name": b": a",
    "no colon": b"XY",
    "a space before the first name": b" X: a",
    "101 fields": b"\r\n".join(b"X-%d: a" % number for number in range(100)),  # with the length
    "5,000 fields": b"\r\n".join(b"X-%d: a" % number for number in range(5000)),
    "a megabyte in a value": b"X: " + b"a" * 1_000_000,
    "a megabyte in a name": b"X" * 1_000_000 + b": a",
}
_STATUS_LINES = {
    "HTTP/2": b"HTTP/2.0 200 OK",
    "HTTP/0.9": b"HTTP/0.9 200 OK",
    "HTTP/1.10": b"HTTP/1.10 200 OK",
    "HTTP/11": b"HTTP/11 200 OK",
    "HTTP in small letters": b"http/1.1 200 OK",
    "another protocol": b"ICY 200 OK",
    "a space before it": b" HTTP/1.1 200 OK",
    "a status of two digits": b"HTTP/1.1 99 X",
    "a status of four digits": b"HTTP/1.1 1000 X",
    "a status of five digits": b"HTTP/1.1 20000 X",
    "status 000": b"HTTP/1.1 000 X",
    "status 099": b"HTTP/1.1 099 X",
    "a negative status": b"HTTP/1.1 -200 OK",
    "a status in hex": b"HTTP/1.1 0xC8 OK",
    "a status with a letter": b"HTTP/1.1 2o0 OK",
    "no status": b"HTTP/1.1 OK",
    "nothing but the version": b"HTTP/1.1",
    "no space before the status": b"HTTP/1.1200 OK",
    "a tab before the status": b"HTTP/1.1\t200 OK",
    "a NUL in the reason": b"HTTP/1.1 200 O\0K",
    "a bare CR in the reason": b"HTTP/1.1 200 O\rK",
    "a megabyte of reason": b"HTTP/1.1 200 " + b"a" * 1_000_000,
}
_NO_ANSWERS = {
    "a banner": b"SSH-2.0-OpenSSH_9.6\r\n",
    "an alert of TLS": b"\x15\x03\x01\x00\x02\x02\x28",
    "settings of HTTP/2": b"\0\0\0\x04\0\0\0\0\0",
    "a request": b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "a page": b"<html><body>hello</body></html>\r\n\r\n",
    "zeros": bytes(64),
    "0xFF": b"\xff" * 64,
    "JSON": b'{"text":"hello"}\r\n\r\n',
}
_OTHERS = {
    "length and chunked": head(FIVE, CHUNKED) + IN_CHUNKS,
    "chunked and length": head(CHUNKED, FIVE) + IN_CHUNKS,
    "chunked, and length 0": head(CHUNKED, b"Content-Length: 0") + IN_CHUNKS,
    "two lengths": head(FIVE, b"Content-Length: 7") + b"hello",
    "two equal lengths": head(FIVE, FIVE) + b"hello",
    "two equal lengths, written differently": head(FIVE, b"content-LENGTH: 05") + b"hello",
    "chunked in two fields": head(CHUNKED, CHUNKED) + IN_CHUNKS,
    "chunked and identity in two fields": head(CHUNKED, b"Transfer-Encoding: identity") + IN_CHUNKS,
    "chunked in HTTP/1.0": head(CHUNKED, status=b"HTTP/1.0 200 OK") + IN_CHUNKS,
    "chunked on a line that goes on": head(b"Transfer-Encoding:\r\n chunked") + IN_CHUNKS,
    "a space before chunked's colon": head(b"Transfer-Encoding : chunked") + IN_CHUNKS,
    "a length and a transfer coding that is none": head(FIVE, b"Transfer-Encoding: x") + b"hello",
    "lines that end in LF": head(FIVE).replace(b"\r\n", b"\n") + b"hello",
    "lines that end in CR": head(FIVE).replace(b"\r\n", b"\r") + b"hello",
    "a status line that ends in LF": head(FIVE).replace(b"\r\n", b"\n", 1) + b"hello",
    "an empty line of LF": head(FIVE)[:-2] + b"\nhello",
    "an unasked change of protocols": head(b"Upgrade: x", b"Connection: upgrade", status=b"HTTP/1.1 101 Switch"),
    "a bare 101": head(status=b"HTTP/1.1 101 X"),
    "garbage behind an interim answer": head(status=b"HTTP/1.1 100 Continue") + bytes(32),
    "an interim answer of a megabyte": head(b"X: " + b"a" * 1_000_000, status=b"HTTP/1.1 103 Early Hints"),
    "an interim answer with two lengths": head(FIVE, b"Content-Length: 7", status=b"HTTP/1.1 103 Early Hints"),
}

BAD_HEADS: Mapping[str, bytes] = {
    **{f"a length {name}": head(b"Content-Length: " + value) + b"hello" for name, value in _LENGTHS.items()},
    **{f"coding: {name}": head(b"Transfer-Encoding: " + value) + IN_CHUNKS for name, value in _CODINGS.items()},
    **{name: head(lines, FIVE) + b"hello" for name, lines in _FIELDS.items()},
    **{name: head(FIVE, status=line) + b"hello" for name, line in _STATUS_LINES.items()},
    **{f"no answer but {name}": data for name, data in _NO_ANSWERS.items()},
    **_OTHERS,
}
"""Nothing of these may be believed: no answer has come."""

BAD_BODIES: Mapping[str, bytes] = {
    "an empty size": b"\r\nhello\r\n0\r\n\r\n",
    "a size in C's hex": b"0x5\r\nhello\r\n0\r\n\r\n",
    "a negative size": b"-5\r\nhello\r\n0\r\n\r\n",
    "a size with a sign": b"+5\r\nhello\r\n0\r\n\r\n",
    "a size with an underscore": b"0_5\r\nhello\r\n0\r\n\r\n",
    "a size of 17 digits": b"10000000000000005\r\nhello\r\n0\r\n\r\n",
    "a size of 33 digits": b"1" + b"0" * 31 + b"5\r\nhello\r\n0\r\n\r\n",
    "a size that is none": b"g\r\nhello\r\n0\r\n\r\n",
    "a space before a size": b" 5\r\nhello\r\n0\r\n\r\n",
    "a space behind a size": b"5 \r\nhello\r\n0\r\n\r\n",
    "a tab behind a size": b"5\t\r\nhello\r\n0\r\n\r\n",
    "a space in a size": b"0 5\r\nhello\r\n0\r\n\r\n",
    "a size's line that ends in LF": b"5\nhello\r\n0\r\n\r\n",
    "a size's line that ends in CR": b"5\rhello\r\n0\r\n\r\n",
    "data without an end": b"5\r\nhello0\r\n\r\n",
    "data that end in LF": b"5\r\nhello\n0\r\n\r\n",
    "data that end in CR": b"5\r\nhello\r0\r\n\r\n",
    "more data than was said": b"5\r\nhello!\r\n0\r\n\r\n",
    "other bytes where data end": b"5\r\nhelloXX0\r\n\r\n",
    "an extension with LF": b"5;a=b\nc\r\nhello\r\n0\r\n\r\n",
    "an extension that ends in LF": b"5;a\nhello\r\n0\r\n\r\n",
    "an extension with CR": b"5;a=b\rc\r\nhello\r\n0\r\n\r\n",
    "an extension with NUL": b"5;a=b\0\r\nhello\r\n0\r\n\r\n",
    "an extension of a megabyte": b"5;a=" + b"b" * 1_000_000 + b"\r\nhello\r\n0\r\n\r\n",
    "a last chunk that ends in LF": b"0\n\n",
    "an end of LF": b"0\r\n\n",
    "200 trailers": b"0\r\n" + b"".join(b"X-%d: a\r\n" % number for number in range(200)) + b"\r\n",
    "a trailer of a megabyte": b"0\r\nX: " + b"a" * 1_000_000 + b"\r\n\r\n",
    "a length among the trailers": b"0\r\nContent-Length: 99\r\n\r\n",
    "a trailer with NUL": b"0\r\nX: a\0b\r\n\r\n",
    "a trailer with CR": b"0\r\nX: a\rb\r\n\r\n",
    "a trailer that goes on": b"0\r\nX: a\r\n b\r\n\r\n",
    "a trailer without a colon": b"0\r\nXY\r\n\r\n",
    "a trailer without a name": b"0\r\n: a\r\n\r\n",
    "a space before a trailer's colon": b"0\r\nX : a\r\n\r\n",
}
"""What comes behind a chunked reply's head and its first chunk. The body must be taken for broken off."""

BEGUN = head(CHUNKED) + b"6\r\nbegun \r\n"


@dataclass(frozen=True, slots=True)
class Sound:
    """A reply that must be taken: its bytes, and what they mean. `ends`: only the connection's end ends it."""

    data: bytes
    body: bytes = b"hello"
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    kept: bool = True
    ends: bool = False


_MANY = tuple(b"X-%d: a" % number for number in range(99))

SOUND: Mapping[str, Sound] = {
    "with its length": Sound(reply(b"hello", b"X-Y: z"), headers={"x-y": "z", "content-length": "5"}),
    "in chunks": Sound(head(CHUNKED) + b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"),
    "in chunks with extensions": Sound(head(CHUNKED) + b'5;a=b;c="d"\r\nhello\r\n0;e\r\n\r\n'),
    "in chunks with trailers": Sound(
        head(b"X-Y: z", CHUNKED) + b"5\r\nhello\r\n0\r\nX-Y: a\r\nX-T: b\r\n\r\n", headers={"x-y": "z"}
    ),
    "in chunks, sizes in capitals": Sound(head(CHUNKED) + b"A\r\nhellohello\r\n0\r\n\r\n", b"hellohello"),
    "in chunks, sizes with zeros": Sound(head(CHUNKED) + b"00000005\r\nhello\r\n0000\r\n\r\n"),
    "in chunks, empty": Sound(head(CHUNKED) + b"0\r\n\r\n", b""),
    "empty": Sound(reply(b""), b""),
    "204": Sound(head(status=b"HTTP/1.1 204 No Content"), b"", 204),
    "304 with a length": Sound(head(FIVE, status=b"HTTP/1.1 304 Not Modified"), b"", 304),
    "without a reason": Sound(reply(b"hello", status=b"HTTP/1.1 200 ")),
    "with a reason beyond ASCII": Sound(reply(b"hello", status=b"HTTP/1.1 200 Gr\xfc\xdf")),
    "with space around a value": Sound(reply(b"hello", b"X: \t a b \t "), headers={"x": "a b"}),
    "without a space before a value": Sound(reply(b"hello", b"X:a"), headers={"x": "a"}),
    "with an empty value": Sound(reply(b"hello", b"X:"), headers={"x": ""}),
    "with bytes beyond ASCII in a value": Sound(reply(b"hello", b"X: caf\xe9")),
    "with a hundred fields": Sound(reply(b"hello", *_MANY)),
    "with 16 KB in a value": Sound(reply(b"hello", b"X: " + b"a" * 16_000), headers={"x": "a" * 16_000}),
    "behind a 100": Sound(head(status=b"HTTP/1.1 100 Continue") + reply(b"hello")),
    "behind a 102 and a 103": Sound(
        head(status=b"HTTP/1.1 102 Processing")
        + head(b"Link: </a>", b"X-Y: early", status=b"HTTP/1.1 103 Early Hints")
        + reply(b"hello", b"X-Y: z"),
        headers={"x-y": "z"},
    ),
    "with an offer to change the protocol": Sound(
        reply(b"hello", b"Upgrade: h2,h2c", b"Connection: Upgrade, Keep-Alive")
    ),
    "and not kept": Sound(reply(b"hello", b"Connection: close"), kept=False),
    "and not kept, in capitals": Sound(reply(b"hello", b"Connection: CLOSE"), kept=False),
    "and not kept, in a list": Sound(reply(b"hello", b"Connection: x, close"), kept=False),
    "in chunks and not kept": Sound(head(b"Connection: close", CHUNKED) + IN_CHUNKS, kept=False),
    "of HTTP/1.0": Sound(reply(b"hello", status=b"HTTP/1.0 200 OK"), kept=False),
    "until the end": Sound(head() + b"hello", kept=False, ends=True),
    "until the end, of HTTP/1.0": Sound(head(status=b"HTTP/1.0 200 OK") + b"hello", kept=False, ends=True),
    "until the end, empty": Sound(head(), b"", kept=False, ends=True),
    "in gzip": Sound(reply(b"\x1f\x8bhello", b"Content-Encoding: gzip"), b"\x1f\x8bhello"),
    "in an unknown coding": Sound(reply(b"hello", b"Content-Encoding: x-new"), headers={"content-encoding": "x-new"}),
    "301": Sound(reply(b"hello", b"Location: http://127.0.0.1:9/", status=b"HTTP/1.1 301 Moved"), status=301),
    "500": Sound(reply(b"hello", status=b"HTTP/1.1 500 Oops"), status=500),
    "599": Sound(reply(b"hello", status=b"HTTP/1.1 599 Oops"), status=599),
}
"""What an upstream may well say."""
