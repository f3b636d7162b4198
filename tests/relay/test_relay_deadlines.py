"""How long is waited: for a connection, for the first byte once all is sent, for each piece."""

import asyncio
from collections.abc import Callable, Iterable

import pytest

from gateway.client import TimedOut, Unreachable
from tests.corpus.replies import CHUNKED, GOOD, head, reply
from tests.relay.line import Line
from tests.relay.machine import black_hole, closed_port
from tests.relay.origin import in_turn, origin, serves
from tests.relay.relaying import Bodies, Body, ask, opened, pieces, read, relaying

SHORT = 0.05  # seconds
LATE = 1.0  # more than that, after SHORT, is too late on the busiest machine


async def test_a_connection_that_is_not_made_in_time_is_none() -> None:
    bodies = Bodies(b"piece")
    with black_hole() as port:
        async with relaying() as client:
            began = asyncio.get_running_loop().time()
            with pytest.raises(Unreachable):
                await ask(client, f"http://127.0.0.1:{port}", connect=SHORT, body=bodies)
            assert SHORT * 0.9 < asyncio.get_running_loop().time() - began < SHORT + LATE
    assert not any(body.taken for body in bodies.made)


async def test_a_connection_that_is_refused_is_none() -> None:
    async with relaying() as client:
        for body in (None, Bodies(b"piece")):
            with pytest.raises(Unreachable):
                await ask(client, f"http://127.0.0.1:{closed_port()}", body=body)


async def test_a_name_that_nobody_knows_is_unreachable() -> None:
    async with relaying() as client:
        with pytest.raises(Unreachable):
            await ask(client, "http://nowhere.invalid:1")


async def silent(line: Line) -> None:
    """Reads everything, says nothing."""
    await line.request()
    await line.over()


@pytest.mark.parametrize("upload", [True, False])
async def test_no_answer_in_time(upload: bool) -> None:
    async with origin(in_turn(silent, serves())) as one, relaying() as client:
        began = asyncio.get_running_loop().time()
        with pytest.raises(TimedOut):
            await ask(client, one.url, body=Bodies(b"piece") if upload else None, first_byte=SHORT)
        assert SHORT * 0.9 < asyncio.get_running_loop().time() - began < SHORT + LATE
        assert await one.lines[0].over() in ("closed", "reset")
        assert (await ask(client, one.url)).body == b"good"
        assert len(one.seen) == 2


@pytest.mark.parametrize("length", [None, 5])
async def test_the_time_to_the_first_byte_begins_when_the_upload_has_ended(length: int | None) -> None:
    ended: list[float] = []

    class Slow(Body):
        async def read(self, take: Callable[[bytes], bool]) -> bytes:
            del take
            if self.taken == 5:
                ended.append(asyncio.get_running_loop().time())
                return b""
            await asyncio.sleep(SHORT / 2)  # the caller takes his time
            self.taken += 1
            return b"a"

    async with origin(in_turn(silent, serves())) as one, relaying() as client:
        with pytest.raises(TimedOut):
            await ask(client, one.url, body=lambda: Slow([asyncio.Event()]), length=length, first_byte=SHORT)
        assert SHORT * 0.9 < asyncio.get_running_loop().time() - ended[0] < SHORT + LATE
        assert len(one.whole) == 1
        # The body takes longer than the upstream has; on a busy machine the upstream needs some of that itself.
        answer = await ask(client, one.url, body=lambda: Slow([asyncio.Event()]), length=length, first_byte=SHORT * 2.4)
        assert answer.body == b"good"


@pytest.mark.parametrize(
    "drip",
    [
        b"HTTP/1.1 200 OK\r\n" + b"X: a\r\n" * 50,
        b"HTTP/1.1 100 Continue\r\n\r\n" * 5,
        b"HTTP/1.1 200 " + b"a" * 500,
    ],
)
async def test_a_head_that_comes_in_drips_has_no_longer(drip: bytes) -> None:
    async def script(line: Line) -> None:
        await line.request()
        for number in range(len(drip)):
            await asyncio.sleep(SHORT / 10)
            await line.say(drip[number : number + 1])

    async with origin(in_turn(script, serves())) as one, relaying() as client:
        began = asyncio.get_running_loop().time()
        with pytest.raises(TimedOut):
            await ask(client, one.url, first_byte=SHORT)
        assert asyncio.get_running_loop().time() - began < SHORT + LATE
        assert await one.lines[0].over() in ("closed", "reset")
        assert (await ask(client, one.url)).body == b"good"


@pytest.mark.parametrize("data", [reply(b"hello")[:-1], head(CHUNKED) + b"4\r\nhell\r\n", head() + b"hell"])
@pytest.mark.parametrize("way", ["peek", "start", "pieces"])
async def test_no_more_of_the_body_in_time(data: bytes, way: str) -> None:
    async def script(line: Line) -> None:
        await line.request()
        await line.say(data)
        await line.over()

    async with origin(in_turn(script, serves())) as one, relaying() as client:
        exchange = await opened(client, one.url, idle=SHORT)
        with pytest.raises(TimedOut):
            await {"peek": exchange.peek, "start": exchange.start}.get(way, lambda _: read(exchange))(1000)
        exchange.close()
        assert await one.lines[0].over() in ("closed", "reset")
        assert (await ask(client, one.url)).body == b"good"


async def test_a_slow_body_has_time_for_each_piece() -> None:
    async def script(line: Line) -> None:
        await line.request()
        await line.say(head(CHUNKED))
        for _ in range(8):
            await asyncio.sleep(SHORT / 2)
            await line.say(b"1\r\na\r\n")
        await line.say(b"0\r\n\r\n")

    async with origin(script) as one, relaying() as client:
        assert (await ask(client, one.url, idle=SHORT * 3)).body == b"a" * 8


async def test_a_reader_who_takes_his_time_is_no_reason_to_give_up() -> None:
    """Only waiting for the upstream counts: what is here already is given, however late it is asked for."""
    parts: Iterable[bytes] = (b"5\r\nhello\r\n", b"6\r\n world\r\n0\r\n\r\n")

    async def script(line: Line) -> None:
        await line.request()
        await line.say(head(CHUNKED))
        for part in parts:
            await line.say(part)

    async with origin(script) as one, relaying() as client:
        exchange = await opened(client, one.url, idle=SHORT)
        await asyncio.sleep(SHORT * 2)
        got = b""
        async for piece in pieces(exchange):
            got += piece
            await asyncio.sleep(SHORT * 2)
        exchange.close()
        assert got == b"hello world"


async def test_deadlines_leave_nothing_behind_that_goes_off_later() -> None:
    async with origin(serves(GOOD)) as one, relaying() as client:
        for _ in range(20):
            await ask(client, one.url, body=Bodies(b"piece"), first_byte=SHORT * 4, idle=SHORT * 4, connect=SHORT * 4)
        await asyncio.sleep(SHORT * 5)
        assert (await ask(client, one.url)).body == b"good"
        assert len(one.lines) == 1
