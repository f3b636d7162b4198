"""Replies that break the rules: none is believed, none gets a second hearing, no stowaway comes along."""

import asyncio

import pytest

from gateway.client import BrokenOff, Client, Unreachable
from tests.corpus.replies import BAD_BODIES, BAD_HEADS, BEGUN, GOOD, STOWAWAY
from tests.relay.line import Line
from tests.relay.origin import Origin, Script, in_turn, origin, serves
from tests.relay.relaying import ask, opened, pieces, relaying

pytestmark = pytest.mark.asyncio(loop_factories=["uvloop"])  # what the bytes mean has nothing to do with the loop
SHORT = 300  # bytes of a reply that is also sent one by one


def says(data: bytes, *cuts: int) -> Script:
    """Answers the first request with these bytes, and lets the other side end it."""

    async def script(line: Line) -> None:
        await line.request()
        await line.say(data, *cuts)
        await line.over()

    return script


def ways(data: bytes) -> list[Script]:
    """The same bytes at once, with what follows them sent later, and one by one."""
    found = [says(data + STOWAWAY), says(data + STOWAWAY, len(data))]
    return [*found, says(data + STOWAWAY, *range(1, len(data)))] if len(data) < SHORT else found


async def gather(client: Client, one: Origin, got: bytearray) -> None:
    """Ask, and put down what comes of the body."""
    exchange = await opened(client, one.url)
    try:
        async for piece in pieces(exchange):
            got += piece
    finally:
        exchange.close()


async def and_then_good(client: Client, one: Origin, lines: int) -> None:
    """Every line so far was ended by the client, and the next request goes out on a new one."""
    assert len(one.lines) == lines
    for line in one.lines:
        assert await line.over() in ("closed", "reset")
    assert (await ask(client, one.url)).body == b"good"
    assert len(one.lines) == lines + 1


@pytest.mark.parametrize("name", BAD_HEADS)
async def test_no_answer_has_come(name: str) -> None:
    for way in ways(BAD_HEADS[name]):
        async with origin(in_turn(way, serves())) as one, relaying() as client:
            with pytest.raises(Unreachable):
                await ask(client, one.url)
            await and_then_good(client, one, 1)


@pytest.mark.parametrize("name", BAD_BODIES)
async def test_the_answer_is_broken_off(name: str) -> None:
    bad = BAD_BODIES[name]
    for way in [*ways(BEGUN + bad), says(BEGUN + bad + STOWAWAY, len(BEGUN), len(BEGUN + bad))]:
        got = bytearray()
        async with origin(in_turn(way, serves())) as one, relaying() as client:
            with pytest.raises((Unreachable, BrokenOff)):  # the head may have come together with what is bad
                await gather(client, one, got)
            assert bytes(got) in (b"", b"begun ", b"begun hello")
            await and_then_good(client, one, 1)


@pytest.mark.parametrize("name", BAD_BODIES)
async def test_what_came_before_the_bad_part_is_an_answer(name: str) -> None:
    """The head is here and believed: what is wrong later is no reason to say that nobody answered."""
    go_on = asyncio.Event()

    async def script(line: Line) -> None:
        await line.request()
        await line.say(BEGUN)
        await go_on.wait()
        await line.say(BAD_BODIES[name] + STOWAWAY)

    async with origin(in_turn(script, serves())) as one, relaying() as client:
        exchange = await opened(client, one.url)
        assert exchange.status == 200
        assert await exchange.peek(6) == b"begun "
        go_on.set()
        with pytest.raises(BrokenOff):
            await exchange.start(1000)
        exchange.close()
        await and_then_good(client, one, 1)


async def test_interim_answers_without_end_are_no_answer() -> None:
    async def script(line: Line) -> None:
        await line.request()
        while True:
            await line.say(b"HTTP/1.1 102 Processing\r\n\r\n" * 10, 40)

    async with origin(in_turn(script, serves())) as one, relaying() as client:
        async with asyncio.timeout(2):
            with pytest.raises(Unreachable):
                await ask(client, one.url, first_byte=60.0)
        await and_then_good(client, one, 1)


async def test_a_thousand_interim_answers_at_once_are_too_many() -> None:
    data = b"HTTP/1.1 100 Continue\r\n\r\n" * 1000 + GOOD
    async with origin(in_turn(says(data), serves())) as one, relaying() as client:
        with pytest.raises(Unreachable):
            await ask(client, one.url)
        await and_then_good(client, one, 1)


async def test_a_header_that_never_ends_is_given_up() -> None:
    async def script(line: Line) -> None:
        await line.request()
        await line.say(b"HTTP/1.1 200 OK\r\n")
        while True:
            await line.say(b"X: " + b"a" * 1000 + b"\r\n", 5)

    async with origin(in_turn(script, serves())) as one, relaying() as client:
        async with asyncio.timeout(2):
            with pytest.raises(Unreachable):
                await ask(client, one.url, first_byte=60.0)
        await and_then_good(client, one, 1)


@pytest.mark.parametrize("later", [False, True])
async def test_a_second_answer_nobody_asked_for_is_never_heard(later: bool) -> None:
    for answer in (
        GOOD,
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ):
        cuts = (len(answer),) if later else ()
        async with origin(in_turn(says(answer + STOWAWAY, *cuts), serves())) as one, relaying() as client:
            assert (await ask(client, one.url)).body in (b"good", b"")
            await and_then_good(client, one, 1)


@pytest.mark.parametrize(
    "data", [STOWAWAY, b"\r\n", b"x", b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n"]
)
async def test_bytes_on_a_kept_connection_end_it(data: bytes) -> None:
    speak = asyncio.Event()

    async def script(line: Line) -> None:
        await line.request()
        await line.say(GOOD)
        await speak.wait()
        await line.say(data)

    async with origin(in_turn(script, serves())) as one, relaying() as client:
        assert (await ask(client, one.url)).body == b"good"
        assert one.open
        speak.set()
        await and_then_good(client, one, 1)
