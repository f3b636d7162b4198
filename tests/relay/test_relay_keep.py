"""Which connections are used again, and for how long they are kept."""

import asyncio

import pytest

from gateway.relay.pool import KEEP_ALIVE
from tests.corpus.replies import CHUNKED, FIVE, GOOD, head, reply
from tests.relay.line import Line
from tests.relay.machine import stalled, under_way
from tests.relay.origin import in_turn, origin, serves
from tests.relay.relaying import Bodies, ask, opened, relaying, turn

UPLOAD = (b"a" * 70_000, b"b" * 70_000, b"c")
WHOLE = b"".join(UPLOAD)


@pytest.mark.parametrize("length", [None, len(WHOLE)])
async def test_a_connection_is_used_again_when_both_bodies_have_ended(length: int | None) -> None:
    async with origin(serves(reply(b"x" * 100_000))) as one, relaying() as client:
        for _ in range(5):
            assert len((await ask(client, one.url, body=Bodies(*UPLOAD), length=length)).body) == 100_000
            assert len((await ask(client, one.url)).body) == 100_000
        assert len(one.lines) == 1
        assert [got.body for got in one.whole] == [WHOLE, b""] * 5


async def test_as_many_are_kept_as_were_needed_at_once() -> None:
    gate = asyncio.Event()

    async def script(line: Line) -> None:
        while True:
            await line.request()
            await gate.wait()
            await line.say(GOOD)

    async with origin(script) as one, relaying() as client:
        for _ in range(3):
            gate.clear()
            asked = [asyncio.ensure_future(ask(client, one.url)) for _ in range(20)]
            await one.sees(lambda: len(one.whole) % 20 == 0 and one.whole)
            one.whole.clear()
            gate.set()
            assert {answer.body for answer in await asyncio.gather(*asked)} == {b"good"}
        assert len(one.lines) == 20


async def test_origins_share_no_connections() -> None:
    async with origin(serves(reply(b"one"))) as one, origin(serves(reply(b"two"))) as two, relaying() as client:
        for _ in range(3):
            assert (await ask(client, one.url)).body == b"one"
            assert (await ask(client, two.url)).body == b"two"
            assert (await ask(client, two.url.replace("127.0.0.1", "localhost"))).body == b"two"
        assert len(one.lines) == 1
        assert len(two.lines) == 2  # another name may be another upstream
        assert {host for got in two.seen for host in got.all("host")} == {
            f"127.0.0.1:{two.port}",
            f"localhost:{two.port}",
        }


@pytest.mark.parametrize("data", [reply(b"a" * 1_000_000), head(CHUNKED) + b"1\r\na\r\n", head() + b"a", head(FIVE)])
async def test_an_answer_that_is_not_read_to_its_end_takes_its_connection_along(data: bytes) -> None:
    async with origin(in_turn(serves(data), serves())) as one, relaying() as client:
        exchange = await opened(client, one.url)
        exchange.close()
        assert await one.lines[0].over() in ("closed", "reset")
        assert (await ask(client, one.url)).body == b"good"


@pytest.mark.parametrize("size", [1000, 260_000, 300_000, 520_000])
async def test_an_answer_that_has_come_and_was_not_read_is_in_nobodys_way(size: int) -> None:
    async with origin(serves(reply(b"a" * size))) as one, relaying() as client:
        for _ in range(2):
            exchange = await opened(client, one.url)
            await stalled(lambda: under_way(one.port) + 1, seconds=0.02)
            exchange.close()
            assert len((await ask(client, one.url)).body) == size


async def test_a_closed_client_closes_what_it_kept() -> None:
    async with origin(serves()) as one:
        async with relaying() as client:
            await asyncio.gather(*(ask(client, one.url) for _ in range(10)))
            assert one.open
        for line in one.lines:
            assert await line.over() == "closed"


def test_a_connection_is_not_kept_until_the_upstream_closes_it() -> None:
    assert 1 <= KEEP_ALIVE <= 4, "uvicorn and Node close after five seconds, and lose what was sent just then"


async def test_a_connection_is_kept_for_some_seconds_only(monkeypatch: pytest.MonkeyPatch) -> None:
    turn(monkeypatch, "KEEP_ALIVE", 0.05)
    async with origin(serves()) as one, relaying() as client:
        for number in range(3):
            assert (await ask(client, one.url)).body == b"good"
            assert len(one.lines) == number + 1
            await asyncio.sleep(0.06)
        turn(monkeypatch, "KEEP_ALIVE", 600.0)
        for _ in range(3):
            assert (await ask(client, one.url)).body == b"good"
        assert len(one.lines) == 4


@pytest.mark.parametrize("slow", ["upload", "answer"])
async def test_a_request_on_a_kept_connection_may_take_longer_than_it_is_kept(
    slow: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    turn(monkeypatch, "KEEP_ALIVE", 0.04)
    late = asyncio.Event()

    async def script(line: Line) -> None:
        await line.request()
        await line.say(GOOD)
        await line.request()
        await late.wait()
        await line.say(GOOD)

    async with origin(script) as one, relaying() as client:
        await ask(client, one.url)
        asyncio.get_running_loop().call_later(0.1, late.set)
        pieces = (b"piece", late, b"piece") if slow == "upload" else (b"piece",)
        assert (await ask(client, one.url, body=Bodies(*pieces))).body == b"good"
        assert (len(one.lines), len(one.seen)) == (1, 2)


@pytest.mark.parametrize("length", [None, 60_000, 10_000_000])
async def test_an_answer_before_the_upload_ended_takes_its_connection_along(length: int | None) -> None:
    never = asyncio.Event()

    async def script(line: Line) -> None:
        await line.head()
        await line.has(1000)
        await line.say(reply(b"too large", status=b"HTTP/1.1 413 Content Too Large"))
        await line.over()

    async with origin(in_turn(script, serves())) as one, relaying() as client:
        bodies = Bodies(b"a" * 50_000, never)
        async with asyncio.timeout(3):
            answer = await ask(client, one.url, body=bodies, length=length)
        assert (answer.status, answer.body) == (413, b"too large")
        assert not bodies.made[0].done
        assert await one.lines[0].over() in ("closed", "reset")
        assert (await ask(client, one.url)).body == b"good"
        assert (len(one.lines), len(bodies.made)) == (2, 1)
