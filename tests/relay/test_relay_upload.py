"""Bodies on their way: those that fail, those that end too soon, those that an answer overtakes."""

import asyncio
import hashlib

import pytest

from gateway.client import BrokenOff, Unreachable
from gateway.upload import Overlong, Unfit
from tests.corpus.replies import CHUNKED, head
from tests.relay.line import Line
from tests.relay.origin import in_turn, origin, serves
from tests.relay.relaying import Bodies, Body, ask, opened, read, relaying

FAILURES = [
    Overlong(),
    Unfit(),
    OSError(28, "No space left on device"),
    ConnectionResetError(104, "not ours"),
    KeyError("x"),
]


@pytest.mark.parametrize("failure", FAILURES, ids=lambda one: type(one).__name__)
@pytest.mark.parametrize("length", [None, 100])
@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("pieces", [0, 2])
async def test_a_body_that_fails_is_never_taken_for_whole(
    failure: Exception, length: int | None, kept: bool, pieces: int
) -> None:
    async with origin(serves()) as one, relaying() as client:
        if kept:
            await ask(client, one.url)
        bodies = Bodies(*[b"piece"] * pieces, failure, b"never")
        with pytest.raises(Unreachable):
            await ask(client, one.url, body=bodies, length=length)
        assert bodies.made[0].failure is failure
        assert len(bodies.made) == 1, "it is not sent again: it was not the connection that failed"
        assert not bodies.made[0].done
        assert len(one.whole) == int(kept)
        for line in one.lines:
            assert await line.over() in ("closed", "reset")
        assert b"never" not in b"".join(line.raw for line in one.lines)
        assert not any(line.raw.endswith(b"\r\n0\r\n\r\n") for line in one.lines)
        assert (await ask(client, one.url)).body == b"good"


@pytest.mark.parametrize("length", [None, 100, 1_000_000])
async def test_a_body_that_is_called_off_is_not_waited_for(length: int | None) -> None:
    """Its keeper has gone: what he leaves to those who follow is a CancelledError."""
    async with origin(serves()) as one, relaying() as client:
        bodies = Bodies(b"piece", asyncio.CancelledError())
        asked = asyncio.ensure_future(ask(client, one.url, body=bodies, length=length))
        await asyncio.wait([asked], timeout=2)
        assert asked.done()
        assert asked.cancelled() or isinstance(asked.exception(), Unreachable)
        assert await one.lines[0].over() in ("closed", "reset")
        assert not one.whole
        assert (await ask(client, one.url)).body == b"good"


@pytest.mark.parametrize("length", [None, 100, 1_000_000])
@pytest.mark.parametrize("end", ["finish", "reset"])
async def test_an_upstream_that_goes_while_the_caller_still_sends_is_noticed(length: int | None, end: str) -> None:
    async def script(line: Line) -> None:
        await line.head()
        await line.until(b"piece")
        getattr(line, end)()

    async with origin(in_turn(script, serves())) as one, relaying() as client:
        async with asyncio.timeout(3):
            with pytest.raises(Unreachable):
                await ask(client, one.url, body=Bodies(b"piece", asyncio.Event()), length=length)
        assert (await ask(client, one.url)).body == b"good"


async def test_a_body_that_fails_while_the_upstream_answers_already_breaks_the_answer_off() -> None:
    fail = asyncio.Event()

    async def script(line: Line) -> None:
        await line.head()
        await line.say(head(CHUNKED) + b"5\r\nhello\r\n")
        await line.request()

    async with origin(in_turn(script, serves())) as one, relaying() as client:
        bodies = Bodies(b"piece", fail, Unfit())
        exchange = await opened(client, one.url, body=bodies)
        assert await exchange.peek(5) == b"hello"
        fail.set()
        with pytest.raises(BrokenOff):
            await read(exchange)
        assert await one.lines[0].over() in ("closed", "reset")
        assert not one.whole


@pytest.mark.parametrize("kept", [True, False])
async def test_a_body_shorter_than_was_told_is_never_taken_for_whole(kept: bool) -> None:
    async with origin(serves()) as one, relaying() as client:
        if kept:
            await ask(client, one.url)
        with pytest.raises(Unreachable):
            await ask(client, one.url, body=Bodies(b"a" * 50, b"b" * 49), length=100, first_byte=1.0)
        assert await one.lines[0].over() in ("closed", "reset")
        assert len(one.whole) == int(kept)
        assert (await ask(client, one.url)).body == b"good"


async def test_an_answer_may_begin_before_the_upload_has_ended_and_both_come_whole() -> None:
    more = asyncio.Event()

    async def script(line: Line) -> None:
        while True:
            got = await line.head()
            await line.say(head(CHUNKED) + b"5\r\nhello\r\n")
            size, digest = 0, hashlib.sha256()
            while chunk := int(await line.until(b"\r\n"), 16):
                digest.update((await line.take(chunk + 2))[:-2])
                size += chunk
            await line.take(2)
            assert got.method == "POST"
            told = b"%d %s" % (size, digest.hexdigest().encode())
            await line.say(b"%x\r\n%s\r\n0\r\n\r\n" % (len(told), told))

    pieces = [bytes([number]) * 100_000 for number in range(40)]
    async with origin(script) as one, relaying() as client:
        for _ in range(2):
            more.clear()
            body = Body([pieces[0], more, *pieces[1:]])
            exchange = await opened(client, one.url, body=lambda body=body: body)  # type: ignore[misc]
            assert await exchange.peek(5) == b"hello"
            assert not body.done
            more.set()
            told = f"hello4000000 {hashlib.sha256(b''.join(pieces)).hexdigest()}"
            assert (await read(exchange)).body.decode() == told
            assert body.done
        assert len(one.lines) == 1


@pytest.mark.parametrize("status", [b"301 Moved", b"401 Unauthorized", b"500 Oops"])
async def test_nobody_is_sent_more_once_he_has_refused(status: bytes) -> None:
    """Though he reads on, and takes his time to say why."""
    go_on = asyncio.Event()

    async def script(line: Line) -> None:
        await line.has(1_000_000)
        await line.say(head(b"Content-Length: 10", status=b"HTTP/1.1 " + status) + b"hello")
        await go_on.wait()
        await line.say(b"hello")

    async with origin(script) as one, relaying() as client:
        body = Body([b"a" * 10_000] * 10_000)
        exchange = await opened(client, one.url, body=lambda: body)
        assert await exchange.peek(5) == b"hello"
        taken = body.taken
        for _ in range(200):
            await asyncio.sleep(0)
        assert body.taken <= taken + 100_000
        go_on.set()
        assert (await read(exchange)).body == b"hellohello"
        assert await one.lines[0].over() in ("closed", "reset")
