"""Two processes that share one port: who answers makes no difference."""

import asyncio
import json
import os
import re
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import httpx2
import pytest
from prometheus_client.mmap_dict import MmapedDict

from tests.launched import Launched, launched, processes_in, room, transcribe, until, write_config
from tests.stub import Answer, Stub, said, stub

BATCH = 8


@pytest.fixture
def folder() -> Iterator[Path]:
    """A room of its own."""
    with room() as one:
        yield one


@pytest.fixture
async def upstream() -> AsyncIterator[Stub]:
    """What the workers relay to."""
    async with stub() as one:
        one.answers = [said(usage={"type": "duration", "seconds": 6})]
        yield one


@pytest.fixture
async def pair(folder: Path, upstream: Stub) -> AsyncIterator[Launched]:
    """A gateway of two workers."""
    async with launched(folder, "-c", str(write_config(folder, upstream=upstream.url, workers=2))) as one:
        await until(lambda: len(workers(one)) == 2)
        yield one


def workers(one: Launched) -> list[int]:
    """The processes that serve: children of the command that were spawned to run its application."""
    found = []
    for children in Path(f"/proc/{one.process.pid}/task").glob("*/children"):
        for pid in children.read_text().split():
            try:
                if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    found.append(int(pid))
            except OSError:
                continue
    return sorted(found)


def counted(folder: Path, pid: int) -> int:
    """How many requests this worker has answered."""
    found = 0.0
    for file in (folder / "tmp").glob(f"audiogate-metrics-*/counter_{pid}.db"):
        for key, value, *_ in MmapedDict.read_all_values_from_file(str(file)):  # type: ignore[no-untyped-call]
            found += value if json.loads(key)[1] == "audiogate_requests_total" else 0
    return int(found)


async def shared(client: httpx2.AsyncClient, one: Launched, folder: Path) -> int:
    """Ask until both workers have answered; returns how often that was."""
    asked = 0
    async with asyncio.timeout(20):
        while len(pids := workers(one)) < 2 or not all(counted(folder, pid) for pid in pids):
            answers = await asyncio.gather(*(transcribe(client) for _ in range(BATCH)))
            assert {answer.status_code for answer in answers} == {200}
            asked += BATCH
    return asked


async def numbers(client: httpx2.AsyncClient, name: str) -> float:
    """The sum of all series of this name."""
    text = (await client.get("/metrics")).text
    return sum(float(value) for value in re.findall(rf"^{name}(?:\{{.*\}})? (\S+)$", text, re.MULTILINE))


async def _settled(client: httpx2.AsyncClient, count: int) -> None:
    """Wait until so many requests are counted and their bills are with the store."""
    async with asyncio.timeout(20):
        while await numbers(client, "audiogate_requests_total") < count:
            await asyncio.sleep(0.02)
        while await numbers(client, "audiogate_reservations_held") > 0:
            await asyncio.sleep(0.02)


async def test_the_numbers_add_up_over_the_workers_whoever_answers(pair: Launched, folder: Path) -> None:
    async with pair.client() as client:
        asked = await shared(client, pair, folder)
        await _settled(client, asked)
        for _ in range(10):  # whichever worker is asked
            assert await numbers(client, "audiogate_requests_total") == asked
            assert await numbers(client, "audiogate_request_duration_seconds_count") == asked
            assert await numbers(client, "audiogate_audio_seconds_total") == 6 * asked
            assert await numbers(client, "audiogate_inflight_requests") == 0
            assert await numbers(client, "audiogate_upstream_up") == 1
            assert await numbers(client, "audiogate_build_info") == 1
    assert await pair.stopped() == 0


async def test_every_worker_writes_its_requests_into_the_log(pair: Launched, folder: Path) -> None:
    async with pair.client() as client:
        asked = await shared(client, pair, folder)
    await until(lambda: pair.said.count('"upstream": "stub"') == asked, else_tell=lambda: pair.said)
    assert await pair.stopped() == 0


async def test_a_worker_that_dies_is_replaced_and_the_other_serves_meanwhile(pair: Launched, folder: Path) -> None:
    async with pair.client() as client:
        await shared(client, pair, folder)
        dead, other = workers(pair)
        os.kill(dead, signal.SIGKILL)
        replaced = False
        async with asyncio.timeout(20):
            while not replaced:
                with suppress(httpx2.TransportError):  # it had already taken this connection when it died
                    assert (await transcribe(client)).status_code == 200
                now = workers(pair)
                replaced = len(now) == 2 and dead not in now
        assert other in now
        await shared(client, pair, folder)
    assert await pair.stopped() == 0


async def test_what_a_dead_worker_had_in_flight_is_not_counted_for_ever(pair: Launched, upstream: Stub) -> None:
    upstream.answers = [Answer(pieces=(b'{"text":', b'"hello"}'), gate=asyncio.Event()), said()]
    async with pair.client() as client:
        asked = asyncio.ensure_future(transcribe(client))
        await upstream.request()
        before = workers(pair)
        for pid in before:  # one of them had it
            os.kill(pid, signal.SIGKILL)
        await asyncio.gather(asked, return_exceptions=True)
        await until(lambda: len(now := workers(pair)) == 2 and not set(now) & set(before))
        assert (await transcribe(client)).status_code == 200
        await _settled(client, 1)
        assert await numbers(client, "audiogate_inflight_requests") == 0
        assert await numbers(client, "audiogate_reservations_held") == 0
    assert await pair.stopped() == 0


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
async def test_a_signal_ends_them_all(pair: Launched, folder: Path, how: signal.Signals) -> None:
    assert len(processes_in(folder)) >= 4  # the parent, two workers, the store
    assert await pair.stopped(how) == 0
    await until(lambda: not processes_in(folder))
    assert list((folder / "tmp").iterdir()) == []


async def test_an_interrupt_from_the_keyboard_reaches_them_all_and_ends_them_all(pair: Launched, folder: Path) -> None:
    async with pair.client() as client:
        await shared(client, pair, folder)
    os.killpg(pair.process.pid, signal.SIGINT)
    assert await pair.ended() == 0
    await until(lambda: not processes_in(folder))
    assert list((folder / "tmp").iterdir()) == []
    assert not [line for line in pair.said.splitlines() if line.startswith("Traceback")], pair.said
