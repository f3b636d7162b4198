"""A store that is slow or says nothing: what that adds to a request, and that nothing is stuck once it is well."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest

from tests.running import Running, configured, running, until, upstream
from tests.stub import stub
from tests.wires import Wire, wired

SPEECH = {"model": "tts-1", "voice": "alloy", "input": "hello"}  # five characters: 75 micro-USD
TIMEOUT = 0.25


@asynccontextmanager
async def behind_a_wire(store_url: str, data: Path) -> AsyncIterator[tuple[Wire, Running, httpx2.AsyncClient]]:
    """A gateway that reaches its store through a wire, waits for it as by default, and lets nothing through without."""
    async with stub() as one, wired(store_url) as wire:
        config = configured(data, upstream("a", one.url))
        config = replace(config, store=replace(config.store, timeout=TIMEOUT, on_unavailable="closed"))
        async with running(config, url=wire.url) as gateway, gateway.client() as client:
            await speak(client)
            yield wire, gateway, client


async def speak(client: httpx2.AsyncClient) -> tuple[int, float]:
    """The status of a request, and the seconds that it took."""
    began = time.monotonic()
    answer = await client.post("/audio/speech", json=SPEECH)
    return answer.status_code, time.monotonic() - began


async def median(client: httpx2.AsyncClient) -> float:
    return sorted([(await speak(client))[1] for _ in range(9)])[4]


async def well_again(gateway: Running, client: httpx2.AsyncClient) -> None:
    """Requests are served, none is still waited for, nothing is held or owed."""

    async def served() -> int:
        return (await speak(client))[0]

    await until(served, lambda status: status == 200)
    await gateway.idle()
    await until(gateway.app.journal.count, lambda owed: owed == 0)
    assert (await client.get(gateway.origin + "/readyz")).status_code == 200


async def test_R_4_a_store_that_is_a_little_slow_is_waited_for(store_url: str, data: Path) -> None:
    async with behind_a_wire(store_url, data) as (wire, gateway, client):
        usual = await median(client)
        wire.delay = 0.025  # each way
        found = [await speak(client) for _ in range(9)]
        assert {status for status, _ in found} == {200}
        assert sorted(seconds for _, seconds in found)[4] - usual <= 0.3
        wire.delay = 0
        await well_again(gateway, client)


@pytest.mark.parametrize("delay", [0.5, 5.0])
async def test_R_4_a_store_that_is_too_slow_adds_little_to_a_request(store_url: str, data: Path, delay: float) -> None:
    async with behind_a_wire(store_url, data) as (wire, gateway, client):
        usual = await median(client)
        wire.delay = delay / 2
        found = [await speak(client) for _ in range(12)]
        assert {status for status, _ in found} == {503}
        times = [seconds - usual for _, seconds in found]
        assert sorted(times)[-3] <= 0.3, "one or two may have met a busy machine"
        assert sum(seconds > 0.2 for seconds in times) <= 5, "the breaker keeps the others from waiting"
        began = time.monotonic()
        assert {status for status, _ in await asyncio.gather(*(speak(client) for _ in range(30)))} == {503}
        assert time.monotonic() - began <= 1
        wire.delay = 0
        await well_again(gateway, client)


async def test_R_5_a_store_that_says_nothing_is_given_up(store_url: str, data: Path) -> None:
    async with behind_a_wire(store_url, data) as (wire, gateway, client):
        wire.silent = True
        began = time.monotonic()
        found = await asyncio.gather(*(speak(client) for _ in range(50)))
        assert time.monotonic() - began <= 1
        assert {status for status, _ in found} == {503}
        assert (await client.get(gateway.origin + "/readyz")).status_code == 503
        wire.silent = False
        await well_again(gateway, client)
