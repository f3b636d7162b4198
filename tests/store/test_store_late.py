"""What reaches the store late: an admit behind its own settlement, a settlement behind its lease."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.errors import Refused
from gateway.policy.ids import request_id
from gateway.policy.limits import Amounts, Limit
from gateway.store.leases import Leases
from gateway.store.limits import Offer
from gateway.store.usage import HOURS_TTL
from tests.running import configured, running, until, upstream
from tests.store.conftest import Rooms
from tests.stub import stub

START = 1_750_000_000.0
RID = request_id(int(START * 1000), bytes(10))
SPEECH = {"model": "tts-1", "voice": "alloy", "input": "hello"}  # five characters: 75 micro-USD


async def admit(rooms: Rooms, rid: str = RID, *, began: float = START, usd: int) -> str:
    """As a gateway asks: with the time at which the request began."""
    offers = [Offer("one", Amounts(usd=usd))]
    admission = await rooms.limits.admit(rid, rooms.caller, rooms.presented, offers=offers, began=began)
    return admission.upstream


async def nothing_is_held(rooms: Rooms) -> None:
    for scope in ("alice", "default", "one"):
        found = await rooms.numbers(scope)
        assert (found.flying, found.reserved) == (0, (0, 0, 0, 0)), scope
    assert await rooms.raw.hlen("{ag}:held") == await rooms.raw.zcard("{ag}:leases") == 0


async def used(rooms: Rooms, scope: str = "default", window: str = "total") -> int:
    return (await rooms.numbers(scope)).used[window][0]


async def forgotten(rooms: Rooms, rid: str = RID) -> None:
    """Its gateway is gone for longer than its lease."""
    assert await rooms.raw.zadd("{ag}:leases", {rid: 1}, xx=True, ch=True) == 1
    assert [one.rid for one in await Leases(rooms.connection).reap("charge")] == [rid]


async def test_an_admit_that_comes_behind_its_settlement_reserves_nothing(rooms: Rooms) -> None:
    await rooms.declare(team=[Limit("usd", "total", 1000)])
    assert await rooms.settle(RID, usd=40, began=START)
    before = await rooms.everything()
    with pytest.raises(Refused) as refused:
        await admit(rooms, usd=700)
    assert (refused.value.name, refused.value.__cause__) == ("store_down", None)
    assert await rooms.everything() == before
    await nothing_is_held(rooms)
    assert await Leases(rooms.connection).reap("charge") == []
    assert await used(rooms) == 40, "what it used, and nothing more"
    assert await admit(rooms, request_id(int(START * 1000), b"another ID"), usd=700) == "one"


@pytest.mark.parametrize(("mode", "status", "usd"), [("closed", 503, 0), ("grace", 200, 75)])
async def test_what_a_gateway_gave_up_is_not_reserved_when_it_arrives(
    rooms: Rooms, url: str, data: Path, monkeypatch: pytest.MonkeyPatch, mode: str, status: int, usd: int
) -> None:
    """The network holds back an admit for longer than its request waits, and for longer than that runs."""
    monkeypatch.setattr("gateway.store.connection.GONE", 0.0)  # one late answer is enough to go on in grace
    async with stub() as one:
        config = configured(data, upstream("a", one.url))
        config = replace(config, store=replace(config.store, timeout=0.1, on_unavailable=mode))  # type: ignore[arg-type]
        async with running(config, url=url) as gateway, gateway.client() as client:
            assert (await client.post("/audio/speech", json=SPEECH)).status_code == 200
            await gateway.records(1)
            connection, held_back, open_again = gateway.app.connection, [], asyncio.Event()
            evaluate = connection._evaluate

            async def slow(script, keys, args):  # type: ignore[no-untyped-def]
                if script == "admit":
                    held_back.append((script, keys, args))
                    await open_again.wait()  # it is cancelled here, as its time is up; the store gets it below
                return await evaluate(script, keys, args)

            connection._evaluate = slow  # type: ignore[method-assign]
            assert (await client.post("/audio/speech", json=SPEECH)).status_code == status
            await until(lambda: rooms.raw.xlen("{ag}:usage"), lambda count: count == 2)
            (asked,) = held_back
            assert await evaluate(*asked) == [["over"]]
            assert await rooms.raw.hlen("{ag}:held") == await rooms.raw.zcard("{ag}:leases") == 0
            assert await gateway.cost() == 75 + usd


async def test_an_admit_that_ran_is_answered_again_whatever_became_of_its_key(rooms: Rooms) -> None:
    await rooms.declare(team=[Limit("usd", "total", 1000)])
    key = f"{{ag}}:k:{rooms.presented.kid}"
    assert await admit(rooms, usd=700) == "one"
    record = await rooms.raw.hgetall(key)
    for name, value in {"st": "revoked", "exp": "1", "v": "another", "kh": "another"}.items():
        await rooms.raw.hset(key, name, value)
        assert await admit(rooms, usd=700) == "one", name
        await rooms.raw.hset(key, name, record.get(name.encode(), b""))
    await rooms.raw.hdel(key, "kh")
    assert await admit(rooms, usd=700) == "one", "it is reserved, even if the key is gone"
    assert (await rooms.numbers("default")).reserved == (700, 0, 0, 1), "once"
    with pytest.raises(Refused, match="key"):
        await admit(rooms, request_id(int(START * 1000), b"another ID"), usd=1)


async def test_what_expired_is_known_for_as_long_as_the_usage_of_its_hour(rooms: Rooms) -> None:
    await rooms.declare()
    await admit(rooms, usd=700)
    await forgotten(rooms)
    (expired,) = [name async for name in rooms.raw.scan_iter("{ag}:expired:*")]
    (hour,) = [name async for name in rooms.raw.scan_iter("{ag}:hour:*")]
    assert abs(await rooms.raw.ttl(expired) - await rooms.raw.ttl(hour)) <= 1
    assert await rooms.raw.ttl(expired) > HOURS_TTL - 60
    assert await rooms.settle(RID, usd=650, began=START)
    assert await used(rooms) == 650, "the estimate is taken back"


@pytest.mark.parametrize("back_ms", [50_000, 120_000])
async def test_what_expired_is_taken_back_though_the_clock_stepped_back_over_midnight(
    rooms: Rooms, back_ms: int
) -> None:
    """A window does not go back by one: what is charged meanwhile is charged to the one that has begun."""
    midnight = 1_700_006_400_000
    await rooms.declare(team=[Limit("usd", "day", 10_000)])
    rooms.connection.now_ms = midnight + 1000
    await rooms.admit("warm", usd=0)
    await rooms.settle("warm", usd=0)
    rooms.connection.now_ms = midnight - back_ms
    began = rooms.connection.now_ms / 1000
    rid = request_id(rooms.connection.now_ms, bytes(10))
    await admit(rooms, rid, began=began, usd=700)
    await forgotten(rooms, rid)
    assert await used(rooms, window="day") == 700
    assert await rooms.settle(rid, usd=100, began=began)
    assert [await used(rooms, window=window) for window in ("hour", "day", "total")] == [100] * 3
