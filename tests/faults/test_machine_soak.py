"""Minutes on a machine that is short of something, and figures: `make soak`."""

import asyncio
import json
import os
import random
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from statistics import linear_regression
from typing import Any

import httpx2
import pytest

from tests.faults.machines import (
    KEY,
    UPLOAD,
    Machine,
    begin,
    configured,
    dialled,
    machine,
    memory_of,
    open_files,
    port,
    transcribed,
)
from tests.launched import room
from tests.stub import Answer, failed, said, stub

SECONDS = float(os.environ.get("SOAK_SECONDS", "60"))
HOUR = 3600.0
SPELL = 8.0  # at one rate
pytestmark = [pytest.mark.soak, pytest.mark.timeout(int(SECONDS * 3) + 300)]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A room of its own."""
    with room() as one:
        yield one


async def _offered(one: Machine, rate: float, seconds: float) -> dict[str, Any]:
    """What came of so many requests a second."""
    command = [sys.executable, "-m", "tests.faults.burst", str(one.number), KEY, str(rate), str(seconds)]
    process = await asyncio.create_subprocess_exec(
        *command, cwd=Path(__file__).parents[2], stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    return dict(json.loads(out))


@asynccontextmanager
async def _cheap_upstream() -> AsyncIterator[str]:
    """Its address. It is not what is short here."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.faults.burst", "upstream"),
        cwd=Path(__file__).parents[2],
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(await process.stdout.readline())}/v1"
    finally:
        process.kill()
        await process.wait()


async def test_G_13_goodput_under_three_times_the_load(folder: Path) -> None:
    """Gateway, store, upstream and load share the cores: the peak is what they do together."""
    async with _cheap_upstream() as url:
        config = configured(folder, url)
        with port() as listener:
            async with machine(folder, config, listener) as one:
                await _offered(one, 100, 2)
                peak, rate = await _asked(one, 200), 200.0
                while rate < 2 * peak["served"]:  # upwards, until far more is asked than was ever served
                    rate *= 1.4
                    peak = max(peak, await _asked(one, rate), key=lambda found: found["served"])
                over = await _asked(one, 3 * peak["served"])
                async with one.client() as client:
                    text = (await client.get("/metrics")).text
                    print([line for line in text.splitlines() if line.startswith(("audiogate_shed", "audiogate_loop"))])
                await asyncio.sleep(3)
                after = await _offered(one, 50, 3)
                assert await one.stopped() == 0
    share = over["served"] / peak["served"]
    print(
        f"G-13 goodput {share:.0%} of the peak of {peak['served']:.0f}/s, p99 {over['inside']:.0f} ms "
        f"({peak['inside']:.0f} ms at the peak); with what new connections wait for in the kernel {over['p99']:.1f} s"
    )
    assert set(over["found"]) <= {"200", "503", "-3", "-1"}  # -1: the kernel had no room for another connection
    assert set(after["found"]) == {"200"}
    assert share >= 0.8
    assert over["inside"] < 2 * peak["inside"]


async def _asked(one: Machine, rate: float) -> dict[str, Any]:
    """The same for SPELL seconds, with the p99 inside the gateway."""
    said = len(one.said)
    found = await _offered(one, rate, SPELL)
    found["inside"] = _inside(one.said[said:])
    print(f"\nG-13 {rate:.0f} asked: {found}")
    return found


def _inside(said: str) -> float:
    """The p99 of what was served, in ms, from when the gateway had its head, by its log."""
    records = [json.loads(line) for line in said.splitlines() if line.startswith("{") and line.endswith("}")]
    took = sorted(one["latency_ms"] for one in records if one.get("status") == 200)
    return float(took[int(len(took) * 0.99)])


async def test_G_11_nothing_grows_under_mixed_faults(folder: Path) -> None:
    dice = random.Random(11)
    async with stub() as upstream:
        upstream.answers = [said()]
        config = configured(folder, upstream.url, body=2)
        with port() as listener:
            async with machine(folder, config, listener) as one:
                over = time.monotonic() + SECONDS
                samples: list[tuple[float, int, int, float]] = []
                tasks = [asyncio.ensure_future(_mixed(one, dice, upstream, over)) for _ in range(8)]
                async with one.client() as client:
                    while (now := time.monotonic()) < over:
                        await asyncio.sleep(min(1.0, SECONDS / 40))
                        pid = one.process.pid
                        samples.append(
                            (now, memory_of(pid), open_files(pid), await _number(client, "inflight_requests"))
                        )
                    counts = [await task for task in tasks]
                    async with asyncio.timeout(30):
                        while await _number(client, "inflight_requests") or await _number(client, "reservations_held"):
                            await asyncio.sleep(0.1)
                    assert await _number(client, "spool_bytes") == 0
                    await asyncio.sleep(6)  # files and connections that wait for the next are given back
                    at_rest = open_files(one.process.pid)
                assert "Traceback" not in one.said
                assert await one.stopped() == 0
    warm = samples[len(samples) // 3 :]
    slope = linear_regression([at for at, *_ in warm], [rss / 1e6 for _, rss, *_ in warm]).slope * HOUR
    grown = (warm[-1][1] - warm[0][1]) / 1e6
    print(
        f"\nG-11 {SECONDS:.0f} s, {sum(counts)} requests: memory {grown:+.1f} MB after a third ({slope:+.1f} MB "
        f"an hour), files {warm[0][2]} to {warm[-1][2]}, {at_rest} at rest"
    )
    assert at_rest <= warm[0][2] + 10
    assert slope < 1 if SECONDS >= HOUR else grown < 10


async def _number(client: httpx2.AsyncClient, name: str) -> float:
    text = (await client.get("/metrics")).text
    return float(text.partition(f"\naudiogate_{name} ")[2].partition("\n")[0])


async def _mixed(one: Machine, dice: random.Random, upstream: Any, over: float) -> int:
    """One caller after the other, who does something that goes well, or wrong; how many there were."""
    count = 0
    while time.monotonic() < over:
        count += 1
        what = dice.randrange(8)
        upstream.answers = [
            dice.choice([said(), said(), failed(500), failed(429), Answer(cut=True), Answer(refuse=True)])
        ]
        with suppress(OSError, httpx2.TransportError, asyncio.IncompleteReadError, TimeoutError):
            if what < 3:
                async with one.client() as client:
                    await transcribed(client)
                continue
            async with dialled(one.number) as wire:
                if what == 3:  # hangs up in the middle
                    await begin(wire, UPLOAD, sent=dice.randrange(len(UPLOAD)))
                elif what == 4:  # is no HTTP
                    await wire.send(os.urandom(dice.randrange(1, 2000)))
                    await wire.reader.read(100)
                elif what == 5:  # a form that is none
                    await begin(wire, UPLOAD[: dice.randrange(200)])
                    await wire.answer()
                elif what == 6:  # hangs up before it is answered
                    await begin(wire, UPLOAD)
                else:  # says nothing
                    await asyncio.sleep(0.1)
    return count
