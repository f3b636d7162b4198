"""A gateway that knows what is left of our money: whom it asks first, and what it tells about it."""

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from tests.aggregator import TOKEN, ByPath, fill, looks, with_wallet
from tests.running import Running, configured, running, until, upstream
from tests.stub import Answer, Stub, failed, said, stub
from tests.wire import END, MODEL, Wire, dial, file

BODY = MODEL + file(b"not really sound" * 100) + END
TARGET = "/v1/audio/transcriptions"


@asynccontextmanager
async def two_upstreams(
    store_url: str, data: Path, *, usd: float | None
) -> AsyncIterator[tuple[Running, Stub, Stub, Wire]]:
    """A gateway; the upstream it goes to first, with so much in the wallet; and the next one, which is not asked."""
    async with stub() as one, stub() as two:
        two.answers = [said("from two")]
        with_wallet(one, usd=usd)
        first = upstream("a", one.url, kind="newapi", balance=True)
        config = configured(data, first, upstream("b", two.url, kind="newapi", priority=2))
        async with running(config, url=store_url) as gateway, dial(gateway) as wire:
            await until(lambda: _seen(gateway), bool)
            yield gateway, one, two, wire
            await gateway.idle()


async def _seen(gateway: Running) -> bool:
    return gateway.app.balances.seen("a") is not None


def answers_of(one: Stub) -> ByPath:
    assert isinstance(one.answers, ByPath)
    return one.answers


async def left(gateway: Running) -> dict[str, float]:
    """The gauge, by upstream."""
    async with gateway.client() as client:
        text = (await client.get(f"{gateway.origin}/metrics")).text
    families = text_string_to_metric_families(text)
    (found,) = [family for family in families if family.name == "audiogate_upstream_balance_usd"]
    return {sample.labels["upstream"]: sample.value for sample in found.samples}


async def test_a_dry_upstream_is_passed_over_until_it_is_filled(store_url: str, data: Path) -> None:
    async with two_upstreams(store_url, data, usd=0) as (gateway, one, _, wire):
        assert (await wire.post(TARGET, BODY)).json == {"text": "from two"}
        assert await left(gateway) == {"a": 0}
        fill(answers_of(one), 4.5)
        assert (await wire.post(TARGET, BODY)).json == {"text": "from two"}
        await gateway.app.balances.look("a")
        assert (await wire.post(TARGET, BODY)).json == {"text": "hello"}
        assert await left(gateway) == {"a": 4.5}
        fill(answers_of(one), 0)
        await gateway.app.balances.look("a")
        assert (await wire.post(TARGET, BODY)).json == {"text": "from two"}
        records = await gateway.records(4)
    assert [(record["upstream"], record["attempts"]) for record in records] == [
        ("b", "1"),
        ("b", "1"),
        ("a", "1"),
        ("b", "1"),
    ]


async def test_a_dry_upstream_still_serves_when_no_other_does(store_url: str, data: Path) -> None:
    async with two_upstreams(store_url, data, usd=0) as (gateway, _, two, wire):
        two.answers = [failed(500)]
        assert (await wire.post(TARGET, BODY)).json == {"text": "hello"}
        (record,) = await gateway.records()
    assert (record["upstream"], record["attempts"]) == ("a", "2")


async def test_an_unknown_balance_changes_nothing(store_url: str, data: Path) -> None:
    async with two_upstreams(store_url, data, usd=None) as (gateway, _, two, wire):
        assert (await wire.post(TARGET, BODY)).json == {"text": "hello"}
        found = await left(gateway)
        await gateway.records()
    assert set(found) == {"a"}
    assert math.isnan(found["a"])
    assert two.seen == []


async def test_a_refusal_for_want_of_money_has_the_wallet_looked_at(store_url: str, data: Path) -> None:
    async with two_upstreams(store_url, data, usd=3) as (gateway, one, _, wire):
        hurried = gateway.app.balances._hurried["a"]
        answers_of(one)[:] = [failed(500)]
        assert (await wire.post(TARGET, BODY)).json == {"text": "from two"}
        assert not hurried.is_set()
        answers_of(one)[:] = [failed(403, "用户额度不足", code="insufficient_user_quota")]
        assert (await wire.post(TARGET, BODY)).json == {"text": "from two"}
        assert hurried.is_set()
        fill(answers_of(one), 0)
        await gateway.app.balances.look("a")
        assert not hurried.is_set()
        assert await left(gateway) == {"a": 0}
        await gateway.records(2)


async def test_no_request_waits_for_a_wallet_and_no_wallet_keeps_a_gateway_from_ending(
    store_url: str, data: Path
) -> None:
    async with stub() as one:
        answers = with_wallet(one)
        answers.pages[TOKEN] = Answer(pieces=(b"{", b"}"), gate=one.closed)  # goes on when the gateway hangs up
        config = configured(data, upstream("a", one.url, kind="newapi", balance=True))
        async with running(config, url=store_url) as gateway, dial(gateway) as wire:
            await until(lambda: _looked(one), bool)
            assert (await wire.post(TARGET, BODY)).json == {"text": "hello"}
            await gateway.records()
            assert gateway.app.balances.seen("a") is None
    assert len(looks(one)) == 1


async def _looked(one: Stub) -> bool:
    return bool(looks(one))


async def test_nobody_is_asked_who_is_not_to_be(store_url: str, data: Path) -> None:
    async with stub() as one:
        config = configured(data, upstream("a", one.url, kind="newapi"), upstream("b", one.url))
        async with running(config, url=store_url) as gateway, dial(gateway) as wire:
            assert (await wire.post(TARGET, BODY)).json == {"text": "hello"}
            await gateway.records()
            assert gateway.app.balances.names == ()
            assert await left(gateway) == {}
    assert [seen.target for seen in one.seen] == [TARGET]
