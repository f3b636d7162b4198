"""Requests that run for long: their leases are renewed, and they end with their key."""

import asyncio
import time
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest

from gateway.groundwork import declare
from gateway.store.limits import LEASE_MS
from tests.faults.checker import checking, oracle, served
from tests.running import configured, running, until, upstream
from tests.stub import Answer

LEASES = 20  # a request of twenty minutes outlives so many
NEARLY_OUT = 300  # ms
SPEECH = {"model": "tts-1", "voice": "x", "input": "hello"}


async def test_Q_8_a_long_transcription_keeps_its_lease(
    store_url: str, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Time is not waited for: each time its lease is set to be nearly out, and is found renewed in the next moment."""
    monkeypatch.setattr("gateway.loops.RENEW_SECONDS", 0.02)
    monkeypatch.setattr("gateway.loops.REAP_SECONDS", 0.02)
    gate = asyncio.Event()

    def draw() -> Answer:
        answer = served()
        answer.hold = gate
        return answer

    async with oracle("a", draw) as a, checking(store_url, a) as checker:
        config = configured(data, upstream("a", a.url))
        async with running(config, url=store_url) as gateway, running(config, url=store_url) as other:
            asking = asyncio.ensure_future(checker.ask(gateway, "fields first"))
            await a.stub.request()
            store = checker.client
            (rid,) = await store.zrange("{ag}:leases", 0, -1)
            for _ in range(LEASES):
                seconds, micros = await store.time()
                now = seconds * 1000 + micros // 1000
                await store.zadd("{ag}:leases", {rid: now + NEARLY_OUT}, xx=True)
                await other.app.parts.ledger.reap()
                await until(lambda: store.zscore("{ag}:leases", rid), lambda end, now=now: (end or 0) >= now + LEASE_MS)
            gate.set()
            told = await asking
            await checker.at_rest(gateway, other)
            figures = await checker.check(*(one.app.metrics.render().decode() for one in (gateway, other)))
            (record,) = await gateway.records()
    print("Q-8", LEASES, "leases renewed;", figures)
    assert told.status == 200
    assert (record["error"], record["cost_micro_usd"]) == ("", "10")


async def test_Q_11_a_revoked_key_is_refused_by_every_worker_and_ends_what_runs_on_it(
    store_url: str, data: Path
) -> None:
    endless = Answer(pieces=(b"abc", b"def"), content_type="audio/mpeg", gate=asyncio.Event())
    async with oracle("a", lambda: endless) as a, AsyncExitStack() as stack:
        config = configured(data, upstream("a", a.url))
        workers = [await stack.enter_async_context(running(config, url=store_url)) for _ in range(3)]
        clients = [await stack.enter_async_context(one.client()) for one in workers]
        async with clients[0].stream("POST", "/audio/speech", json=SPEECH) as answer:
            pieces = answer.aiter_raw()
            assert await anext(pieces) == b"abc"
            alice = replace(config.keys["alice"], revoked=True)
            await declare(replace(config, keys={"alice": alice}), store_url)
            began = time.monotonic()
            codes = [(await client.post("/audio/speech", json=SPEECH)).status_code for client in clients]
            refused = time.monotonic() - began
            with pytest.raises(httpx2.TransportError):
                await anext(pieces)
            took = time.monotonic() - began
        await a.stub.closed.wait()
        (record,) = await workers[0].records()
        await workers[0].idle()
    print(f"Q-11 refused everywhere within {refused:.3f} s, the stream ended within {took:.1f} s")
    assert codes == [401] * 3
    assert refused < 1
    assert took < 5
    assert (record["error"], record["cost_micro_usd"]) == ("revoked_key", "75")
    assert len(a.stub.seen) == 1
