"""Running requests whose key is revoked, or whose gateway is taken for dead."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.groundwork import declare
from gateway.policy.metering import Expiry
from tests.running import configured, running, until, upstream
from tests.stub import Answer, stub

SPEECH = {"model": "tts-1", "voice": "alloy", "input": "hello"}


async def test_revoking_a_key_ends_what_runs_on_it_and_bills_what_was_served(store_url: str, data: Path) -> None:
    async with stub() as one:
        one.answers = [Answer(pieces=(b"abc", b"def"), content_type="audio/mpeg", gate=asyncio.Event())]
        config = configured(data, upstream("a", one.url))
        async with running(config, url=store_url) as gateway, gateway.client() as client:
            async with client.stream("POST", "/audio/speech", json=SPEECH) as answer:
                pieces = answer.aiter_raw()
                assert await anext(pieces) == b"abc"
                alice = replace(config.keys["alice"], revoked=True)
                await declare(replace(config, keys={"alice": alice}), store_url)
                await gateway.app.parts.ledger.renew()
                (record,) = await gateway.records()
            await one.closed.wait()
            assert (await client.post("/audio/speech", json=SPEECH)).status_code == 401
            await gateway.idle()
    assert (record["error"], record["status"], record["characters"]) == ("revoked_key", "200", "5")
    assert len(one.seen) == 1


@pytest.mark.parametrize(
    ("policy", "error", "cost"), [("charge", "expired", 75), ("refund", "expired", 0), ("mark", "unsettled", 0)]
)
async def test_Q_7_what_another_gateway_took_for_dead_is_put_right_when_it_comes_back(
    store_url: str, data: Path, caplog: pytest.LogCaptureFixture, policy: Expiry, error: str, cost: int
) -> None:
    async with stub() as one:
        one.answers = [Answer(pieces=(b"abc", b"def"), content_type="audio/mpeg", gate=asyncio.Event())]
        config = configured(data, upstream("a", one.url))
        config = replace(config, store=replace(config.store, on_expired=policy))
        async with (
            running(config, url=store_url) as slow,
            running(config, url=store_url) as other,
            slow.client() as client,
        ):
            asking = asyncio.ensure_future(client.post("/audio/speech", json=SPEECH))
            await one.request()
            store = other.app.connection.client
            await until(lambda: store.zcard("{ag}:leases"), bool)
            (rid,) = await store.zrange("{ag}:leases", 0, -1)
            await store.zadd("{ag}:leases", {rid: 1})  # its lease ran out long ago
            await other.app.parts.ledger.reap()
            (expired,) = await other.records()
            assert f"request {rid} was never settled" in caplog.text
            assert f"{policy} of 75 micro-USD reserved" in caplog.text
            assert "audiogate_expired_reservations_total 1.0" in other.app.metrics.render().decode()
            one.answers[0].gate.set()  # type: ignore[union-attr]
            assert (await asking).status_code == 200
            rows = await slow.records(2)
            await slow.idle()
    assert (expired["id"], expired["error"], expired["model"], expired["route"]) == (rid, error, "tts-1", "speech")
    assert (expired["cost_micro_usd"], expired["reserved_micro_usd"]) == (str(cost), "75")
    billed = sum(int(row["cost_micro_usd"]) - int(row.get("takes_back", 0)) for row in rows)
    assert billed == int(rows[-1]["cost_micro_usd"]) == 75
