"""What goes out: every byte of the request, and none that could be read as another."""

import asyncio
import hashlib

import pytest

from gateway.client import Unreachable
from tests.corpus.replies import head, reply
from tests.relay.origin import origin, serves
from tests.relay.relaying import PATH, Bodies, ask, relaying

FRAMING = {"host", "content-length", "transfer-encoding", "connection"}
SENT = {"authorization": "Bearer sk-x", "content-type": "multipart/form-data; boundary=x", "user-agent": "audiogate"}


@pytest.mark.parametrize("length", [None, 12])
async def test_a_request_goes_out_to_the_byte(length: int | None) -> None:
    target = "/v1/audio/../audio/%2e%2E/transcriptions?a=%20b&c=d+e;f=%C3%A9&&x"
    async with origin(serves()) as one, relaying() as client:
        bodies = Bodies(b"hello ", b"wor", b"ld!")
        await ask(client, one.url, body=bodies, path=target, headers=SENT, length=length)
        (got,) = one.whole
        assert (got.method, got.target, got.body) == ("POST", target, b"hello world!")
        assert {name for name, _ in got.fields} - FRAMING == SENT.keys()
        assert SENT.items() <= dict(got.fields).items()
        assert len(got.fields) == len(dict(got.fields)), "no field twice"
        assert got.all("host") == [f"127.0.0.1:{one.port}"]
        assert got.all("connection") in ([], ["keep-alive"])
        assert got.all("content-length") == ([] if length is None else ["12"])
        assert got.all("transfer-encoding") == (["chunked"] if length is None else [])
        assert len(one.lines[0].raw) == one.lines[0].at, "nothing behind it"
        assert bodies.made[0].done


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "HEAD"])
async def test_a_request_without_a_body_has_none(method: str) -> None:
    answer = head(b"Content-Length: 4") if method == "HEAD" else reply(b"good")
    async with origin(serves(answer)) as one, relaying() as client:
        for _ in range(2):
            await ask(client, one.url, method=method, headers=SENT)
        for got in one.whole:
            assert (got.method, got.target) == (method, PATH)
            assert got.all("content-length") in ([], ["0"])
            assert not got.all("transfer-encoding")
        assert len(one.whole) == 2
        assert len(one.lines) == 1 or method == "HEAD"


@pytest.mark.parametrize("pieces", [(), (b"",), (b"a", b"", b"b"), (b"", b"a", b""), (b"x" * 1_000_000, b"y")])
@pytest.mark.parametrize("known", [True, False])
async def test_a_body_may_be_empty_and_so_may_its_pieces(pieces: tuple[bytes, ...], known: bool) -> None:
    whole = b"".join(pieces)
    async with origin(serves()) as one, relaying() as client:
        for _ in range(2):
            bodies = Bodies(*pieces)
            assert (await ask(client, one.url, body=bodies, length=len(whole) if known else None)).body == b"good"
            assert bodies.made[0].done
        assert [got.body for got in one.whole] == [whole, whole]
        assert len(one.lines) == 1


@pytest.mark.parametrize("length", [None, 1300 * 1300 * 3])
async def test_a_large_body_arrives_as_it_is(length: int | None) -> None:
    pieces = [bytes([number % 256]) * 1300 * (number % 7) for number in range(1300)]
    pieces.append(b"z" * (1300 * 1300 * 3 - sum(map(len, pieces))))
    async with origin(serves()) as one, relaying() as client:
        await ask(client, one.url, body=Bodies(*pieces), length=length)
        digests = [hashlib.sha256(data).hexdigest() for data in (one.whole[0].body, b"".join(pieces))]
        assert digests[0] == digests[1]


async def test_pieces_go_out_as_they_come() -> None:
    more = asyncio.Event()
    async with origin(serves()) as one, relaying() as client:
        asked = asyncio.ensure_future(ask(client, one.url, body=Bodies(b"first", more, b"second")))
        await one.sees(lambda: one.lines and b"first" in one.lines[0].raw)
        assert b"second" not in one.lines[0].raw
        more.set()
        assert (await asked).body == b"good"
        assert one.whole[0].body == b"firstsecond"


async def test_of_a_body_longer_than_was_told_no_byte_too_many_goes_out() -> None:
    """What is too much would be read as the next request."""
    smuggled = b"GET /admin HTTP/1.1\r\nHost: x\r\n\r\n"
    async with origin(serves()) as one, relaying() as client:
        with pytest.raises(Unreachable):
            await ask(client, one.url, body=Bodies(b"a" * 50, b"b" * 50 + smuggled), length=100)
        with pytest.raises(Unreachable):
            await ask(client, one.url, body=Bodies(b"a" * 100, smuggled), length=100)
        assert not [got for got in one.seen if got.target == "/admin"]
        assert b"/admin" not in b"".join(line.raw for line in one.lines)
        assert (await ask(client, one.url)).body == b"good"


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("value", "a\r\nEvil: 1"),
        ("value", "a\nEvil: 1"),
        ("value", "a\rEvil: 1"),
        ("value", "a\0Evil: 1"),
        ("name", "a\r\nEvil: 1\r\nb"),
        ("name", "a: b\nEvil"),
        ("name", "Evil "),
        ("name", "Evil\0"),
        ("path", "/v1 HTTP/1.1\r\nEvil: 1\r\n\r\n"),
        ("path", "/v1\nEvil: 1"),
        ("path", "/v1 Evil"),
        ("path", "/v1\tEvil"),
        ("path", "/v1\0Evil"),
        ("method", "GET / HTTP/1.1\r\nEvil: 1\r\n\r\nGET"),
        ("method", "GET\nEvil"),
        ("method", "GET Evil"),
    ],
)
async def test_nothing_can_be_smuggled_into_a_head(what: str, text: str) -> None:
    async with origin(serves()) as one, relaying() as client:
        told: dict[str, object] = {what: text}
        if what in ("value", "name"):
            told = {"headers": {"x": text} if what == "value" else {text: "x"}}
        for body in (None, Bodies(b"piece")):
            with pytest.raises((Unreachable, ValueError)):
                await ask(client, one.url, body=body, **told)
        assert (await ask(client, one.url)).body == b"good"
        assert b"Evil" not in b"".join(line.raw for line in one.lines)
        assert len(one.seen) == 1
