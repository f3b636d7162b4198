"""Leases: renewed while a request runs, ended when its gateway is gone, and put right when it comes back."""

import pytest

from gateway.policy.ids import request_id
from gateway.policy.limits import Limit
from gateway.store.leases import Leases
from gateway.store.limits import LEASE_MS

START = 1_750_000_000_000  # 2025-06-15 15:06:40 UTC
RID = request_id(START, bytes(10))


async def died(rooms, **reserved):
    """Leases over a store in which a gateway has admitted RID and died."""
    rooms.connection.now_ms = START
    await rooms.declare(key=[Limit("concurrency", "", 1), Limit("usd", "day", 500)])
    await rooms.admit(RID, usd=300, ms=60_000)
    return Leases(rooms.connection)


async def spent(rooms):
    """In flight, reserved and used today (micro-USD) of key, team and upstream."""
    numbers = [await rooms.numbers(scope) for scope in ("alice", "default", "one")]
    return [(one.flying, one.reserved[0], one.used["day"][0]) for one in numbers]


async def records(rooms):
    return [fields for _, fields in await rooms.connection.client.xrange("{ag}:usage")]


async def test_what_is_renewed_is_not_reaped(rooms):
    leases = await died(rooms)
    rooms.connection.now_ms += LEASE_MS - 1
    assert await leases.renew({RID: rooms.caller.kid}) == {RID: "active"}
    rooms.connection.now_ms += LEASE_MS - 1
    assert await leases.reap("charge") == []
    rooms.connection.now_ms += 1
    assert [one.rid for one in await leases.reap("charge")] == [RID]


async def test_a_dead_gateway_s_reservation_is_charged_once_and_recorded(rooms):
    leases = await died(rooms)
    rooms.connection.now_ms += LEASE_MS
    (one,) = await leases.reap("charge")
    assert (one.held.usd, one.upstream, one.kid) == (300, "one", rooms.caller.kid)
    assert await leases.reap("charge") == [], "once"
    assert await spent(rooms) == [(0, 0, 300)] * 3
    (record,) = await records(rooms)
    assert (record["id"], record["error"], record["cost_micro_usd"]) == (RID, "expired", "300")
    await rooms.admit("r2", usd=200)  # the place it held is free again


async def test_it_may_be_given_back_instead(rooms):
    leases = await died(rooms)
    rooms.connection.now_ms += LEASE_MS
    assert len(await leases.reap("refund")) == 1
    assert await spent(rooms) == [(0, 0, 0)] * 3
    (record,) = await records(rooms)
    assert (record["error"], record["cost_micro_usd"]) == ("expired", "0")


@pytest.mark.parametrize(("policy", "actual"), [("charge", 120), ("refund", 120), ("charge", 0)])
async def test_a_late_settle_puts_it_right(rooms, policy, actual):
    leases = await died(rooms)
    rooms.connection.now_ms += LEASE_MS
    await leases.reap(policy)
    assert await rooms.settle(RID, usd=actual, began=START / 1000)
    assert await spent(rooms) == [(0, 0, actual)] * 3
    assert not await rooms.settle(RID, usd=actual, began=START / 1000), "once"
    assert await spent(rooms) == [(0, 0, actual)] * 3
    rows = await records(rooms)
    billed = sum(int(row["cost_micro_usd"]) - int(row.get("takes_back", 0)) for row in rows)
    assert billed == actual
    days = await rooms.raw.hgetall("{ag}:day:20250615")
    assert sum(int(amount) for field, amount in days.items() if field.endswith(b"|usd")) == actual


async def test_a_late_settle_takes_nothing_out_of_a_window_that_began_since(rooms):
    leases = await died(rooms)
    rooms.connection.now_ms += LEASE_MS
    await leases.reap("charge")
    rooms.connection.now_ms += 24 * 3600 * 1000  # the next day
    await rooms.admit("r2", usd=50)
    await rooms.settle("r2", usd=50)
    assert await rooms.settle(RID, usd=120, began=START / 1000)
    for scope in ("alice", "default", "one"):
        used = (await rooms.numbers(scope)).used
        assert used["day"][0] == 50 + 120, "the charge of yesterday is not taken out of today"
        assert used["month"][0] == 50 + 120, "the month is still the same: 300 taken back, 120 charged"


async def test_renewing_says_which_keys_are_no_longer_good(rooms):
    leases = await died(rooms)
    await rooms.declare(revoked=True)
    assert await leases.renew({RID: rooms.caller.kid, "lost": rooms.caller.kid}) == {RID: "revoked", "lost": "lost"}
    await rooms.declare(expires=START / 1000 - 1)
    assert await leases.renew({RID: rooms.caller.kid}) == {RID: "expired"}
    await rooms.raw.delete(f"{{ag}}:k:{rooms.caller.kid}")
    assert await leases.renew({RID: rooms.caller.kid}) == {RID: "gone"}
    assert await leases.renew({}) == {}


async def test_a_lease_without_a_reservation_is_forgotten(rooms):
    leases = await died(rooms)
    await rooms.raw.hdel("{ag}:held", RID)
    rooms.connection.now_ms += LEASE_MS
    assert await leases.reap("charge") == []
    assert await rooms.raw.zcard("{ag}:leases") == 0
