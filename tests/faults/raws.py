"""What nobody should send: requests that could be read in two ways, or have no end, byte by byte."""

from collections.abc import Iterator

BODY = b'{"model":"tts-1","input":"hello","voice":"x"}'
LENGTH = b"Content-Length: %d" % len(BODY)
CHUNKED = b"Transfer-Encoding: chunked"
CHUNKS = b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)
SPEECH = b"POST /v1/audio/speech HTTP/1.1"
HOST = b"Host: x"


def request(key: str, *fields: bytes, line: bytes = SPEECH, host: bytes = HOST, body: bytes = BODY) -> bytes:
    """A request of these lines, with a good key."""
    lines = [line, *([host] if host else []), b"Authorization: Bearer " + key.encode()]
    return b"\r\n".join([*lines, b"Content-Type: application/json", *fields, b"", b""]) + body


def framings(key: str) -> Iterator[tuple[str, bytes]]:
    """Bodies whose end is a matter of opinion."""
    for name, fields in {
        "length and chunked": (LENGTH, CHUNKED),
        "chunked and length": (CHUNKED, LENGTH),
        "two equal lengths": (LENGTH, LENGTH),
        "a list of lengths": (b"Content-Length: %d, %d" % (len(BODY), len(BODY)),),
        "two lengths": (LENGTH, b"Content-Length: 3"),
        "a negative length": (b"Content-Length: -1",),
        "a length with a sign": (b"Content-Length: +%d" % len(BODY),),
        "a length in hex": (b"Content-Length: 0x2d",),
        "a length with an underscore": (b"Content-Length: 4_5",),
        "a length beyond all numbers": (b"Content-Length: 1" + b"0" * 30,),
        "gzip and chunked": (b"Transfer-Encoding: gzip, chunked",),
        "a space before the colon": (b"Transfer-Encoding : chunked",),
        "no such coding": (b"Transfer-Encoding: xchunked",),
        "chunked and identity": (b"Transfer-Encoding: chunked, identity",),
        "chunked twice": (CHUNKED, CHUNKED),
    }.items():
        chunked = b"chunked" in fields[0] and b"Length" not in fields[0]
        yield name, request(key, *fields, body=CHUNKS if chunked else BODY)
    yield "chunked in HTTP/1.0", request(key, CHUNKED, line=SPEECH.replace(b"1.1", b"1.0"), body=CHUNKS)
    for name, chunks in {
        "a chunk without its end": b"%x\r\n%sXX0\r\n\r\n" % (len(BODY), BODY),
        "a size with 0x": b"0x2d\r\n%s\r\n0\r\n\r\n" % BODY,
        "a negative size": b"-1\r\n%s\r\n0\r\n\r\n" % BODY,
        "a line feed in an extension": b"%x;a\nb\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY),
        "a size beyond all numbers": b"1%s\r\n%s\r\n0\r\n\r\n" % (b"0" * 16, BODY),
        "an extension without end": b"%x;%s\r\n%s\r\n0\r\n\r\n" % (len(BODY), b"a" * 1_000_000, BODY),
        "a hundred and one trailers": CHUNKS[:-2] + b"X: 1\r\n" * 101 + b"\r\n",
    }.items():
        yield name, request(key, CHUNKED, body=chunks)


def heads(key: str) -> Iterator[tuple[str, bytes]]:
    """Heads that are wrong whatever follows them; each with a body in either framing."""
    for framing, body in ((LENGTH, BODY), (CHUNKED, CHUNKS)):
        for name, raw in {
            "bare line feeds": request(key, framing, body=b"").replace(b"\r\n", b"\n") + body,
            "a folded field": request(key, b"X: a\r\n b", framing, body=body),
            "a bare CR in a value": request(key, b"X: a\rb", framing, body=body),
            "a NUL in a value": request(key, b"X: a\0b", framing, body=body),
            "no Host": request(key, framing, host=b"", body=body),
            "two Hosts": request(key, HOST, framing, body=body),
            "a Host with a path": request(key, framing, host=b"Host: a/v1?x=", body=body),
            "an empty Host": request(key, framing, host=b"Host:", body=body),
            "an absolute target": request(key, framing, line=b"POST http://x/v1/audio/speech HTTP/1.1", body=body),
            "two slashes": request(key, framing, line=b"POST //v1/audio/speech HTTP/1.1", body=body),
            "dots": request(key, framing, line=b"POST /admin/../v1/usage HTTP/1.1", body=body),
            "escaped dots": request(key, framing, line=b"POST /v1/%2e%2e/admin HTTP/1.1", body=body),
            "an escaped letter": request(key, framing, line=b"POST /%61dmin/keys HTTP/1.1", body=body),
            "an escaped slash": request(key, framing, line=b"POST /admin%2fkeys HTTP/1.1", body=body),
            "an escaped backslash": request(key, framing, line=b"POST /admin%5ckeys HTTP/1.1", body=body),
            "an escaped line break": request(key, framing, line=b"POST /x%0d%0aX:1 HTTP/1.1", body=body),
            "an escaped NUL": request(key, framing, line=b"POST /readyz%00 HTTP/1.1", body=body),
            "a fragment": request(key, framing, line=b"POST /v1/audio/speech#x HTTP/1.1", body=body),
            "a field of 70 KB": request(key, b"X: " + b"a" * 70_000, framing, body=body),
            "a field of a megabyte": request(key, b"X: " + b"a" * 1_000_000, framing, body=body),
            "5,000 fields": request(key, *[b"X: 1"] * 5_000, framing, body=body),
            "a URL of 100 KB": request(
                key, framing, line=b"POST /v1/audio/" + b"a" * 100_000 + b" HTTP/1.1", body=body
            ),
            "CONNECT": request(key, framing, line=b"CONNECT x:443 HTTP/1.1", body=body),
            "HTTP/2 in words": request(key, framing, line=b"POST /v1/audio/speech HTTP/2.0", body=body),
            "HTTP/0.9 in words": request(key, framing, line=b"POST /v1/audio/speech HTTP/0.9", body=body),
        }.items():
            yield f"{name}, {framing.decode().lower()}", raw
    yield "the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    yield "an asterisk", request(key, line=b"OPTIONS * HTTP/1.1", body=b"")
    yield "HTTP/0.9", b"GET /v1/models\r\n"
    yield "a TLS hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(32)


UPGRADES = (
    (
        b"Connection: Upgrade",
        b"Upgrade: websocket",
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        b"Sec-WebSocket-Version: 13",
    ),
    (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"),
)
