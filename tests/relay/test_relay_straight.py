"""A body that is being received goes out piece by piece as it comes, past the task that would fetch it."""

import asyncio
import random
from pathlib import Path

import pytest

from gateway.audio.request import Layout
from gateway.client import TimedOut
from gateway.metrics import Metrics
from gateway.spool import Spool, Spools
from gateway.upload import Sent
from tests.corpus.replies import GOOD
from tests.relay.line import Line
from tests.relay.origin import in_turn, origin, serves
from tests.relay.relaying import ask, relaying

MUCH, PIECE = 6 * 1024 * 1024, 100_000


def body(folder: Path) -> Spool:
    """A body that is in a file, as large ones are."""
    metrics = Metrics(models=(), teams=())
    return Spools(memory_bytes=1, total_bytes=2 * MUCH, folder=folder, metrics=metrics).open()


@pytest.mark.parametrize("length", [None, MUCH])
@pytest.mark.parametrize("seed", range(3))
async def test_what_goes_straight_and_what_had_to_wait_arrives_in_its_order(
    tmp_path: Path, length: int | None, seed: int
) -> None:
    dice = random.Random(seed)
    data, one = dice.randbytes(MUCH), body(tmp_path)

    async def script(line: Line) -> None:
        for _ in range(5):
            await line.has(len(line.raw) + 1)
            line.transport.pause_reading()
            for _ in range(dice.randint(1, 20)):
                await asyncio.sleep(0)
            line.transport.resume_reading()
        await line.request()
        await line.say(GOOD)

    async with origin(script) as upstream, relaying() as client:
        goes = Sent(one, Layout(None, (), b"", length), lambda: True)
        asked = asyncio.ensure_future(ask(client, upstream.url, body=lambda: goes, length=length, first_byte=10.0))
        await upstream.line(0)
        for at in range(0, MUCH, PIECE):
            one.append(data[at : at + PIECE])
            for _ in range(dice.randint(0, 2)):
                await asyncio.sleep(0)
        one.finish()
        assert (await asked).body == b"good"
        assert upstream.whole[0].body == data
    one.close()


@pytest.mark.parametrize("length", [None, MUCH])
async def test_an_upstream_that_takes_none_of_it_is_given_up_though_no_more_comes(
    tmp_path: Path, length: int | None
) -> None:
    one = body(tmp_path)

    async def script(line: Line) -> None:
        await line.head()
        line.transport.pause_reading()
        await asyncio.Event().wait()

    async with origin(in_turn(script, serves())) as upstream, relaying() as client:
        goes = Sent(one, Layout(None, (), b"", length), lambda: True)
        asked = asyncio.ensure_future(ask(client, upstream.url, body=lambda: goes, length=length, idle=0.2))
        await upstream.line(0)
        one.append(b"a")
        await asyncio.sleep(0)
        one.append(b"a" * (MUCH - 2))  # straight to the connection, which is full then
        async with asyncio.timeout(5):
            with pytest.raises(TimedOut):
                await asked
        upstream.lines[0].transport.resume_reading()
        assert (await ask(client, upstream.url)).body == b"good"
    one.close()
