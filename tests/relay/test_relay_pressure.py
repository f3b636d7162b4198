"""Who reads slowly is written to slowly, and nobody is read from faster than he is read: a bounded number of bytes
waits in this process, whatever goes through it."""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from gateway.client import TimedOut
from tests.corpus.replies import CHUNKED, GOOD, head
from tests.relay.line import Line
from tests.relay.machine import stalled, under_way
from tests.relay.origin import Origin, in_turn, origin, serves
from tests.relay.relaying import Bodies, ask, opened, pieces, read, relaying

MUCH, PIECE = 20 * 1024 * 1024, 64 * 1024
AHEAD = 1024 * 1024  # bytes that may wait here


@asynccontextmanager
async def reader() -> AsyncIterator[int]:
    """The port of an upstream in a thread of its own that reads one request's body and answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            line, _ = listener.accept()
            with line, line.makefile("rb") as file:
                chunked = False
                while (row := file.readline()).strip():
                    chunked = chunked or b"chunked" in row
                while chunked and (size := int(file.readline(), 16)):
                    file.read(size + 2)
                file.read(2 if chunked else MUCH)
                line.sendall(GOOD)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield int(listener.getsockname()[1])
        await asyncio.to_thread(thread.join, 10)


def waiting_here(one: Origin, line: Line, *, given: int, taken: int) -> int:
    """Of the bytes that were given and not taken, those that neither the kernel holds nor the upstream's own loop."""
    return given - taken - under_way(one.port) - line.transport.get_write_buffer_size()


@pytest.mark.parametrize("length", [None, MUCH])
async def test_a_body_is_taken_no_faster_than_the_upstream_reads(length: int | None) -> None:
    read_on = asyncio.Event()

    async def script(line: Line) -> None:
        await line.head()
        line.transport.pause_reading()
        await read_on.wait()
        line.transport.resume_reading()
        await line.has(MUCH)
        while b"0\r\n\r\n" not in line.raw[-5:] and not length:
            await line.has(len(line.raw) + 1)
        await line.say(GOOD)

    bodies = Bodies(*[b"a" * PIECE] * (MUCH // PIECE))
    async with origin(script) as one, relaying() as client:
        asked = asyncio.ensure_future(ask(client, one.url, body=bodies, length=length, first_byte=10.0))
        line = await one.line(0)
        taken = await stalled(lambda: bodies.made[0].taken if bodies.made else 0)
        assert taken < MUCH
        here = waiting_here(one, line, given=taken, taken=len(line.raw))
        print(f"{here / 1024:.0f} KiB of a body wait here, {taken / 1024:.0f} KiB were taken")
        assert here <= AHEAD
        read_on.set()
        assert (await asked).body == b"good"
        assert bodies.made[0].taken == MUCH


@pytest.mark.parametrize("how", ["length", "chunks", "many chunks", "end"])
async def test_an_answer_is_read_no_faster_than_it_is_taken(how: str) -> None:
    sent = 0

    async def script(line: Line) -> None:
        nonlocal sent
        await line.request()
        told = {"length": b"Content-Length: %d" % MUCH, "end": b"X: none"}.get(how, CHUNKED)
        await line.say(head(told))
        piece = b"a" * PIECE
        if how == "chunks":
            piece = b"%x\r\n%s\r\n" % (PIECE, piece)
        elif how == "many chunks":
            piece = b"40\r\n" + b"a" * 64 + b"\r\n"
            piece *= PIECE // 64
        for _ in range(MUCH // PIECE):
            sent += len(piece)
            await line.say(piece)
        await line.say(b"0\r\n\r\n" if "chunks" in how else b"")
        if how == "end":
            line.finish()

    async with origin(script) as one, relaying() as client:
        exchange = await opened(client, one.url)
        await exchange.peek(1)
        stopped = await stalled(lambda: sent)
        assert stopped < MUCH
        here = waiting_here(one, one.lines[0], given=stopped, taken=0)
        print(f"{here / 1024:.0f} KiB of an answer wait here, {stopped / 1024:.0f} KiB were sent")
        assert here <= AHEAD
        size = 0
        async for piece in pieces(exchange):
            size += len(piece)
            assert len(piece) <= AHEAD
        exchange.close()
        assert size == MUCH


async def test_an_answer_that_nobody_takes_can_be_closed() -> None:
    async def script(line: Line) -> None:
        await line.request()
        await line.say(head(CHUNKED))
        while True:
            await line.say(b"%x\r\n%s\r\n" % (PIECE, b"a" * PIECE))

    async with origin(in_turn(script, serves())) as one, relaying() as client:
        exchange = await opened(client, one.url)
        await stalled(lambda: one.lines[0].transport.get_write_buffer_size())
        exchange.close()
        assert await one.lines[0].over() in ("closed", "reset")
        assert (await ask(client, one.url)).body == b"good"


async def test_a_whole_answer_that_waits_for_its_reader_stays_though_the_upstream_has_gone() -> None:
    body = b"a" * 3 * AHEAD

    async def script(line: Line) -> None:
        await line.request()
        await line.say(head(b"Content-Length: %d" % len(body), b"Connection: close") + body)
        line.finish()

    async with origin(script) as one, relaying() as client:
        exchange = await opened(client, one.url)
        await stalled(lambda: under_way(one.port) + 1, seconds=0.05)
        assert (await read(exchange)).body == body


async def test_an_upstream_that_never_reads_is_given_up() -> None:
    """It takes nothing for as long as it may be silent in the midst of an answer."""

    async def script(line: Line) -> None:
        await line.head()
        line.transport.pause_reading()
        await asyncio.Event().wait()

    async with origin(in_turn(script, serves())) as one, relaying() as client:
        body = Bodies(*[b"a" * PIECE] * (MUCH // PIECE))
        async with asyncio.timeout(5):
            with pytest.raises(TimedOut):
                await ask(client, one.url, body=body, first_byte=0.2, idle=0.2)
        one.lines[0].transport.resume_reading()
        assert await one.lines[0].over() in ("closed", "reset")
        assert (await ask(client, one.url)).body == b"good"


@pytest.mark.parametrize("length", [None, MUCH])
async def test_a_body_that_never_waits_leaves_turns_to_others(length: int | None) -> None:
    """All of it is here, and the upstream, elsewhere, reads as fast as it comes: nobody else is kept waiting."""
    bodies = Bodies(*[b"a" * PIECE] * (MUCH // PIECE))
    longest = last = 0
    async with reader() as port, relaying() as client:
        asked = asyncio.ensure_future(ask(client, f"http://127.0.0.1:{port}", body=bodies, length=length))
        while not asked.done():
            await asyncio.sleep(0)
            now = bodies.made[0].taken if bodies.made else 0
            longest, last = max(longest, now - last), now
        assert (await asked).body == b"good"
    print(f"{longest / 1024:.0f} KiB of a body at most in one turn")
    assert last == MUCH
    assert longest <= 2 * AHEAD
