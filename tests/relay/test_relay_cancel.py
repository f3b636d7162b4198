"""Requests that are called off, at every point: nothing is left of them, and the next ones are served."""

import asyncio
import ssl
from typing import Any

import pytest

from gateway.client import Client
from tests.corpus.replies import CHUNKED, GOOD, head, reply
from tests.relay.certificates import Authority
from tests.relay.line import Line
from tests.relay.machine import black_hole, sockets, until
from tests.relay.origin import Origin, Script, halting, in_turn, origin, serves
from tests.relay.relaying import Bodies, ask, opened, read, relaying

PIECE = b"a" * 64 * 1024


async def called_off(asked: asyncio.Future[Any]) -> None:
    """Cancel it, and wait for its end."""
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked


async def all_well(client: Client, one: Origin, *, kept: int) -> None:
    """The next hundred requests are served, and no more lines are open than there have to be."""
    for _ in range(10):
        answers = await asyncio.gather(*(ask(client, one.url) for _ in range(10)))
        assert {answer.body for answer in answers} == {b"good"}
    await until(lambda: len(one.open) <= kept, lambda: [(line.number, line.ended) for line in one.open])


async def silent(line: Line) -> None:
    """Reads, says nothing."""
    await line.has(1 << 40)


async def deaf(line: Line) -> None:
    """Reads the head, and no more."""
    await line.head()
    line.transport.pause_reading()
    await line.origin.deaf_until.wait()  # type: ignore[attr-defined]
    line.transport.resume_reading()


def says(data: bytes) -> Script:
    """Says this to the first request, and no more."""

    async def script(line: Line) -> None:
        await line.head()
        await line.say(data)
        await line.over()

    return script


@pytest.mark.parametrize("url", ["http", "https"])
async def test_while_it_connects(url: str) -> None:
    before = sockets()
    with black_hole() as port:
        async with relaying() as client:
            for _ in range(5):
                asked = asyncio.ensure_future(ask(client, f"{url}://127.0.0.1:{port}"))
                await until(lambda: sockets() > before + 4)  # the hole itself has four
                await called_off(asked)
                await until(lambda: sockets() == before + 4, sockets)


async def test_while_it_shakes_hands() -> None:
    async with origin(in_turn(*[silent] * 5, serves())) as one, relaying() as client:
        for number in range(5):
            asked = asyncio.ensure_future(ask(client, one.url.replace("http", "https")))
            await (await one.line(number)).has(1)
            await called_off(asked)
            assert await one.lines[number].over() in ("closed", "reset")
        await all_well(client, one, kept=10)


@pytest.mark.parametrize("upload", [True, False])
@pytest.mark.parametrize("kept", [True, False])
async def test_while_it_waits_for_the_answer(upload: bool, kept: bool) -> None:
    async def script(line: Line) -> None:
        if kept:
            await line.request()
            await line.say(GOOD)
        await line.request()
        await line.over()

    async with origin(in_turn(*[script] * 5, serves())) as one, relaying() as client:
        for number in range(5):
            if kept:
                await ask(client, one.url)
            asked = asyncio.ensure_future(ask(client, one.url, body=Bodies(PIECE) if upload else None))
            await one.sees(lambda number=number: len(one.whole) == (number + 1) * (1 + kept))  # type: ignore[misc]
            await called_off(asked)
            assert await one.lines[number].over() in ("closed", "reset")
        await all_well(client, one, kept=10)


@pytest.mark.parametrize("data", [b"H", b"HTTP/1.1 200 OK\r\nX:", b"HTTP/1.1 100 Continue\r\n\r\n"])
async def test_while_the_head_comes(data: bytes) -> None:
    async with origin(in_turn(says(data), serves())) as one, relaying() as client:
        asked = asyncio.ensure_future(ask(client, one.url))
        await one.sees(lambda: one.seen)
        for _ in range(10):
            await asyncio.sleep(0)
        await called_off(asked)
        assert await one.lines[0].over() in ("closed", "reset")
        await all_well(client, one, kept=10)


@pytest.mark.parametrize("length", [None, 100 * len(PIECE)])
async def test_while_the_caller_still_sends(length: int | None) -> None:
    never = asyncio.Event()
    async with origin(in_turn(silent, serves())) as one, relaying() as client:
        bodies = Bodies(PIECE, never)
        asked = asyncio.ensure_future(ask(client, one.url, body=bodies, length=length))
        await (await one.line(0)).has(len(PIECE))
        await called_off(asked)
        assert await one.lines[0].over() in ("closed", "reset")
        assert not bodies.made[0].done
        assert len(bodies.made) == 1
        await all_well(client, one, kept=10)


async def test_while_the_upstream_takes_no_more() -> None:
    async with origin(in_turn(deaf, serves())) as one, relaying() as client:
        one.deaf_until = asyncio.Event()  # type: ignore[attr-defined]
        bodies = Bodies(*[PIECE] * 1000)
        asked = asyncio.ensure_future(ask(client, one.url, body=bodies))
        await until(lambda: bodies.made and bodies.made[0].taken > 10 * len(PIECE))
        await called_off(asked)
        one.deaf_until.set()  # type: ignore[attr-defined]
        assert await one.lines[0].over() in ("closed", "reset")
        assert not bodies.made[0].done
        await all_well(client, one, kept=10)


@pytest.mark.parametrize("data", [reply(b"hello")[:-1], head(CHUNKED) + b"4\r\nhell\r\n", head() + b"hell"])
@pytest.mark.parametrize("upload", [True, False])
async def test_in_the_midst_of_the_body(data: bytes, upload: bool) -> None:
    """As its caller does it: the reading is called off, then the exchange is closed."""
    never = asyncio.Event()
    async with origin(in_turn(says(data), serves())) as one, relaying() as client:
        exchange = await opened(client, one.url, body=Bodies(PIECE, never) if upload else None)
        assert await exchange.peek(4) == b"hell"
        asked = asyncio.ensure_future(read(exchange))
        for _ in range(5):
            await asyncio.sleep(0)
        await called_off(asked)
        assert await one.lines[0].over() in ("closed", "reset")
        await all_well(client, one, kept=10)


async def test_a_look_ahead_that_is_called_off_loses_nothing() -> None:
    go_on = asyncio.Event()
    async with origin(halting(go_on)) as one, relaying() as client:
        exchange = await opened(client, one.url)
        asked = asyncio.ensure_future(exchange.peek(11))
        for _ in range(5):
            await asyncio.sleep(0)
        await called_off(asked)
        go_on.set()
        assert (await read(exchange)).body == b"hello world"


async def test_the_client_may_be_closed_while_requests_run() -> None:
    async with origin(silent) as one, relaying() as client:
        asked = [asyncio.ensure_future(ask(client, one.url, body=Bodies(PIECE))) for _ in range(5)]
        await one.sees(lambda: len(one.lines) == 5 and all(line.raw for line in one.lines))
        await client.close()
        for line in one.lines:
            assert await line.over() in ("closed", "reset")
        found = await asyncio.wait_for(asyncio.gather(*asked, return_exceptions=True), 5)
        assert all(isinstance(error, Exception) for error in found)


@pytest.mark.parametrize("version", [None, ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("upload", [False, True])
@pytest.mark.parametrize("kept", [False, True])
async def test_after_any_number_of_turns(
    version: ssl.TLSVersion | None, upload: bool, kept: bool, authority: Authority, trusting: ssl.SSLContext
) -> None:
    """After none, one, two ... turns of the event loop, until it is too late to call it off."""
    reply_ = GOOD if kept else reply(b"good", b"Connection: close")
    turns, before = 0, sockets()
    context = authority.server()
    context.maximum_version = version or ssl.TLSVersion.TLSv1_3
    async with origin(serves(reply_), tls=context if version else None) as one, relaying(trusting) as client:
        listening = sockets()
        while True:
            asked = asyncio.ensure_future(ask(client, one.url, body=Bodies(PIECE, PIECE) if upload else None))
            for _ in range(turns):
                await asyncio.sleep(0)
            asked.cancel()
            (found,) = await asyncio.gather(asked, return_exceptions=True)
            if not isinstance(found, asyncio.CancelledError):
                break
            turns += 1
        assert getattr(found, "body", found) == b"good"
        assert turns > 5
        await until(lambda: sockets() <= listening + 2 * kept, lambda: sockets() - listening)
        assert (await ask(client, one.url)).body == b"good"
    await until(lambda: sockets() == before, lambda: sockets() - before)
