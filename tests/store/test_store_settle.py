"""Settling: what was reserved is released, what was used is charged, both once."""

import asyncio
import json
from datetime import UTC, date, datetime

import pytest

from gateway.errors import Refused
from gateway.policy.limits import Amounts, Limit
from gateway.store.totals import METRICS
from gateway.store.usage import DAYS_TTL, HOURS_TTL, SETTLED_TTL, Spent
from tests.store.conftest import refused

SCOPES = ("alice", "default", "one")
BEGAN = datetime(2024, 12, 31, 23, 59, 59, tzinfo=UTC)
SUMS = {"requests": 1, "errors": 0, "usd": 7, "ms": 8, "characters": 9, "bytes_in": 123_456_789_012}


async def numbers_of(rooms, scopes=SCOPES):
    return {scope: await rooms.numbers(scope) for scope in scopes}


async def test_exactly_what_was_reserved_is_released_and_what_was_used_is_charged(rooms):
    await rooms.declare()
    await rooms.admit("other", usd=1000, ms=2000, characters=3000)
    await rooms.admit("r1", usd=10, ms=20, characters=30)
    assert await rooms.settle("r1", usd=7, ms=8, characters=9)
    for scope, found in (await numbers_of(rooms)).items():
        assert (found.flying, found.reserved) == (1, (1000, 2000, 3000, 1)), scope
        assert set(found.used.values()) == {(7, 8, 9, 1)}, scope
    assert await rooms.raw.zrange("{ag}:leases", 0, -1) == await rooms.raw.hkeys("{ag}:held") == [b"other"]


async def test_more_than_was_reserved_is_charged_in_full(rooms):
    await rooms.declare(key=[Limit("usd", "day", 10)])
    await rooms.admit("r1", usd=10)
    assert await rooms.settle("r1", usd=25)
    for found in (await numbers_of(rooms)).values():
        assert (found.reserved, found.used["day"]) == ((0, 0, 0, 0), (25, 0, 0, 1))
    with pytest.raises(Refused):
        await rooms.admit("r2", usd=1)


async def test_a_request_that_was_not_served_is_recorded_and_charged_nothing(rooms):
    await rooms.declare(key=[Limit("requests", "total", 1)])
    await rooms.admit("r1", usd=10)
    assert await rooms.settle("r1", requests=0, sums={"requests": 1, "errors": 1})
    for found in (await numbers_of(rooms)).values():
        assert (found.flying, found.reserved, found.used["total"]) == (0, (0, 0, 0, 0), (0, 0, 0, 0))
    assert await rooms.raw.xlen("{ag}:usage") == 1
    await rooms.admit("r2")


async def test_settled_twenty_times_at_once_it_applies_once(rooms, url, open_rooms):
    await rooms.declare()
    await rooms.admit("r1", usd=10)
    async with open_rooms(url) as others:
        asked = [one.settle("r1", usd=7) for one in (rooms, others) for _ in range(10)]
        assert sorted(await asyncio.gather(*asked)) == [False] * 19 + [True]
    for found in (await numbers_of(rooms)).values():
        assert (found.flying, found.reserved, found.used["month"]) == (0, (0, 0, 0, 0), (7, 0, 0, 1))
    assert await rooms.raw.xlen("{ag}:usage") == 1


async def test_a_settled_request_stays_settled_whatever_is_said_of_it_later(rooms):
    await rooms.declare()
    await rooms.admit("r1", usd=10)
    assert await rooms.settle("r1", usd=7)
    before = await rooms.everything()
    assert not await rooms.settle("r1", usd=999)
    assert not await rooms.settle("r1", "two", usd=999)
    assert await rooms.everything() == before


async def test_without_a_reservation_it_is_charged_all_the_same(rooms):
    await rooms.declare()
    await rooms.admit("other", usd=3)
    assert await rooms.settle("lost", usd=7, ms=8, characters=9)
    assert not await rooms.settle("lost", usd=7, ms=8, characters=9)
    for found in (await numbers_of(rooms)).values():
        assert (found.flying, found.reserved) == (1, (3, 0, 0, 1)), "what others reserved is not touched"
        assert found.used["total"] == (7, 8, 9, 1)


async def test_it_is_released_where_it_is_held_even_if_another_upstream_is_named(rooms):
    """Both answers of a switch were lost: the gateway believes it is still at the first one."""
    await rooms.declare()
    await rooms.admit("r1", "one", usd=10)
    await rooms.switch("r1", "one", "two", usd=10)
    assert await rooms.settle("r1", "one", usd=7)
    assert await rooms.raw.hlen("{ag}:held") == 0
    for scope, used in (("alice", 7), ("default", 7), ("one", 7), ("two", 0)):
        numbers = await rooms.numbers(scope)
        assert (numbers.flying, numbers.reserved, numbers.used["total"][0]) == (0, (0, 0, 0, 0), used), scope
    assert not await rooms.settle("r1", "two", usd=7), "once is enough"


@pytest.mark.parametrize(("sums", "record"), [({"usd": "1.5"}, {"id": "r1"}), ({"usd": 1}, {})])
async def test_what_cannot_be_written_is_not_half_written(rooms, sums, record):
    await rooms.declare()
    await rooms.admit("r1", usd=10)
    before = await rooms.everything()
    with pytest.raises(Refused):
        await rooms.settle("r1", usd=7, sums=sums, record=record)
    assert await rooms.everything() == before


async def test_the_stream_the_sums_and_the_limits_agree(rooms):
    await rooms.declare()
    await rooms.admit("r1", usd=10)
    record = {"id": "r1", "model": "whisper-1|x", "text": "naïve 转写 \r\n\0", "empty": ""}
    await rooms.settle("r1", usd=7, ms=8, characters=9, began=BEGAN.timestamp(), sums=SUMS, record=record)
    (entry,) = await rooms.raw.xrange("{ag}:usage")
    assert {name.decode(): value.decode() for name, value in entry[1].items()} == record
    prefix = f"default|{rooms.presented.kid}|whisper-1|one|transcriptions|"
    expected = {f"{prefix}{name}".encode(): str(amount).encode() for name, amount in SUMS.items() if amount}
    assert await rooms.raw.hgetall("{ag}:hour:2024123123") == expected
    assert await rooms.raw.hgetall("{ag}:day:20241231") == expected
    (row,) = [row async for row in rooms.totals.days(date(2024, 12, 31), date(2024, 12, 31))]
    assert row.sums == {name: amount for name, amount in SUMS.items() if amount and name in METRICS}


async def test_sums_add_up_over_requests(rooms):
    await rooms.declare()
    for number in range(1, 11):
        await rooms.settle(f"r{number}", usd=number, ms=number * 2, sums={"usd": number, "ms": number * 2})
    found = (await rooms.numbers("one")).used["total"]
    stream = await rooms.raw.xrange("{ag}:usage")
    day = await rooms.raw.hgetall("{ag}:day:20231114")
    by_name = {name.split(b"|")[-1]: int(amount) for name, amount in day.items()}
    assert sum(int(fields[b"cost_micro_usd"]) for _, fields in stream) == by_name[b"usd"] == found[0] == 55
    assert sum(int(fields[b"audio_ms"]) for _, fields in stream) == by_name[b"ms"] == found[1] == 110


async def test_what_may_be_forgotten_expires(rooms):
    await rooms.declare()
    await rooms.settle("r1", began=BEGAN.timestamp())
    for key, ttl in [("done:2024123123", SETTLED_TTL), ("hour:2024123123", HOURS_TTL), ("day:20241231", DAYS_TTL)]:
        assert ttl - 5 < await rooms.raw.ttl(f"{{ag}}:{key}") <= ttl


async def test_a_large_bill_is_kept_to_the_unit(rooms):
    await rooms.declare()
    for number in range(3):
        await rooms.settle(f"r{number}", usd=10**15 + 1, ms=10**15 + 1, sums={"usd": 10**15 + 1})
    assert (await rooms.numbers("alice")).used["total"] == (3 * 10**15 + 3, 3 * 10**15 + 3, 0, 3)
    day = await rooms.raw.hgetall("{ag}:day:20231114")
    assert list(day.values()) == [b"3000000000000003"]


@pytest.mark.parametrize("bad", ["", "seven", "1,5", "7 usd", "--7", "-7", "0.5", "9007199254740992", "nan", "inf"])
@pytest.mark.parametrize("place", ["used", "cost", "failed", "sums", "kept", "days"])
async def test_a_bad_number_changes_nothing(rooms, place, bad):
    await rooms.declare()
    await rooms.admit("r1", usd=10)
    keys, args = await _sent(rooms)
    if place in ("kept", "days"):
        args[0 if place == "kept" else 2] = bad
    else:
        (one,) = json.loads(args[3])
        where = {"used": one["used"], "cost": one["cost"], "failed": one["failed"][0], "sums": one["sums"][-1]}
        where[place][3 if place == "used" else 1] = bad
        args[3] = json.dumps([one])
    before = await rooms.everything()
    assert await refused(rooms, "settle", keys, args)
    assert await rooms.everything() == before
    assert await rooms.settle("r1", usd=7)


async def _sent(rooms):
    """The keys and arguments with which r1 is settled."""
    caught = []

    class Caught(Exception):
        pass

    async def run(script, keys, args):
        caught.append((list(keys), list(args)))
        raise Caught

    real, rooms.connection.run = rooms.connection.run, run
    try:
        with pytest.raises(Caught):
            await rooms.settle("r1", usd=7, failed=[Spent("two", Amounts(usd=3))])
    finally:
        rooms.connection.run = real
    (sent,) = caught
    return sent
