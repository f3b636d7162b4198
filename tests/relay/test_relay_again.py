"""What becomes of a request whose kept connection the upstream closes just then: it is sent again, once, from its first
byte, and only where nothing can have come of it."""

import asyncio

import pytest

from gateway.client import BrokenOff, TimedOut, Unreachable
from tests.corpus.replies import FIVE, GOOD, head
from tests.relay.line import Line
from tests.relay.machine import until
from tests.relay.origin import Script, in_turn, origin, serves
from tests.relay.relaying import Bodies, ask, relaying

UPLOAD = (b"a" * 70_000, b"b" * 70_000, b"c")
WHOLE = b"".join(UPLOAD)


def ends_the_second(end: str, data: bytes = b"", *, whole: bool = True) -> Script:
    """Answers a line's first request; says `data` to the second, read whole or hardly begun, and ends the line."""

    async def script(line: Line) -> None:
        await line.request()
        await line.say(GOOD)
        await (line.request() if whole else line.head())
        await line.say(data)
        getattr(line, end)()

    return script


@pytest.mark.parametrize("end", ["finish", "reset"])
async def test_a_kept_connection_that_ends_is_not_used(end: str) -> None:
    over = asyncio.Event()

    async def script(line: Line) -> None:
        await line.request()
        await line.say(GOOD)
        await over.wait()
        getattr(line, end)()

    async with origin(in_turn(script, serves())) as one, relaying() as client:
        bodies = Bodies(*UPLOAD)
        await ask(client, one.url)
        over.set()
        await until(lambda: not one.open)
        for _ in range(3):
            await asyncio.sleep(0)
        assert (await ask(client, one.url, body=bodies)).body == b"good"
        assert len(bodies.made) == 1
        assert len(one.seen) == 2


@pytest.mark.parametrize("end", ["finish", "reset"])
@pytest.mark.parametrize("upload", [True, False])
@pytest.mark.parametrize("whole", [True, False])
async def test_a_kept_connection_that_is_closed_just_as_we_send_is_replaced(
    end: str, upload: bool, whole: bool
) -> None:
    """Every second request dies so; each is sent again, from its first byte."""
    bodies = Bodies(*UPLOAD)
    script = ends_the_second(end, whole=whole)
    async with origin(script) as one, relaying() as client:
        for _ in range(50):
            assert (await ask(client, one.url, body=bodies if upload else None)).body == b"good"
        assert len(one.lines) == 50  # every one of them is new: it answers once
        assert len(one.seen) == 99
        assert len(bodies.made) == (99 if upload else 0)
        assert {got.body for got in one.whole} == {WHOLE if upload else b""}


async def test_the_end_may_come_at_any_moment() -> None:
    """The upstream closes after its answer, a little sooner or later each time."""

    async def script(line: Line) -> None:
        await line.request()
        await line.say(GOOD)
        for _ in range(line.number % 8):
            await asyncio.sleep(0)
        line.finish()

    bodies = Bodies(*UPLOAD)
    async with origin(script) as one, relaying() as client:
        for number in range(200):
            for _ in range(number % 11):
                await asyncio.sleep(0)
            assert (await ask(client, one.url, body=bodies)).body == b"good"
        print(f"{len(one.lines)} connections and {len(bodies.made)} bodies for 200 requests")
        assert len(one.lines) == 200
        assert 200 < len(bodies.made) < 399, "some came before we sent, some later"
        assert {got.body for got in one.whole} == {WHOLE}


@pytest.mark.parametrize("end", ["finish", "reset"])
async def test_it_is_replaced_by_a_new_one_even_when_others_are_kept(end: str) -> None:
    gate = asyncio.Event()

    async def script(line: Line) -> None:
        await line.request()
        if line.number < 5:
            await gate.wait()
        await line.say(GOOD)
        await line.request()
        getattr(line, end)()

    async with origin(script) as one, relaying() as client:
        asked = [asyncio.ensure_future(ask(client, one.url)) for _ in range(5)]
        await one.sees(lambda: len(one.whole) == 5)
        gate.set()
        await asyncio.gather(*asked)
        assert (await ask(client, one.url)).body == b"good"
        assert (len(one.lines), len(one.seen)) == (6, 7)


@pytest.mark.parametrize("end", ["finish", "reset"])
async def test_it_is_replaced_once_only(end: str) -> None:
    async def never(line: Line) -> None:
        await line.request()
        getattr(line, end)()

    bodies = Bodies(*UPLOAD)
    async with origin(in_turn(ends_the_second(end), never)) as one, relaying() as client:
        await ask(client, one.url)
        with pytest.raises(Unreachable):
            await ask(client, one.url, body=bodies)
        assert (len(one.lines), len(one.seen), len(bodies.made)) == (2, 3, 2)


@pytest.mark.parametrize("data", [b"H", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 100 Continue\r\n\r\n", b"\0"])
async def test_nothing_is_sent_again_once_a_byte_has_come(data: bytes) -> None:
    bodies = Bodies(*UPLOAD)
    async with origin(in_turn(ends_the_second("finish", data), serves())) as one, relaying() as client:
        await ask(client, one.url)
        with pytest.raises(Unreachable):
            await ask(client, one.url, body=bodies)
        assert (len(one.seen), len(bodies.made)) == (2, 1)


async def test_nothing_is_sent_again_once_the_answer_began() -> None:
    async with origin(in_turn(ends_the_second("finish", head(FIVE) + b"hel"), serves())) as one, relaying() as client:
        await ask(client, one.url)
        with pytest.raises(BrokenOff):
            await ask(client, one.url, body=Bodies(*UPLOAD))
        assert len(one.seen) == 2


@pytest.mark.parametrize("end", ["finish", "reset"])
@pytest.mark.parametrize("upload", [True, False])
async def test_nothing_is_sent_again_when_the_connection_was_new(end: str, upload: bool) -> None:
    async def never(line: Line) -> None:
        await line.head()
        getattr(line, end)()

    bodies = Bodies(*UPLOAD)
    async with origin(in_turn(never, serves())) as one, relaying() as client:
        with pytest.raises(Unreachable):
            await ask(client, one.url, body=bodies if upload else None)
        assert (len(one.lines), len(one.seen), len(bodies.made)) == (1, 1, int(upload))


async def test_nothing_is_sent_again_because_it_took_too_long() -> None:
    async def script(line: Line) -> None:
        await line.request()
        await line.say(GOOD)
        await line.request()
        await line.over()

    bodies = Bodies(*UPLOAD)
    async with origin(script) as one, relaying() as client:
        await ask(client, one.url)
        with pytest.raises(TimedOut):
            await ask(client, one.url, body=bodies, first_byte=0.05)
        assert (len(one.seen), len(bodies.made)) == (2, 1)
        assert await one.lines[0].over() in ("closed", "reset")
