"""Leases: renewed while a request runs, ended when its gateway is gone, and put right when it comes back."""

import pytest

from gateway.errors import Refused
from gateway.policy.ids import request_id
from gateway.policy.limits import Amounts, Limit
from gateway.store.leases import Leases
from gateway.store.limits import LEASE_MS
from gateway.store.usage import Spent

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
    assert await leases.renew({RID: rooms.caller}) == {RID: "active"}
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


@pytest.mark.parametrize(
    ("policy", "error", "usd", "ms"),
    [("charge", "expired", 300, 60_000), ("refund", "expired", 0, 0), ("mark", "unsettled", 0, 0)],
)
async def test_Q_7_it_is_charged_given_back_or_marked_and_always_recorded(rooms, policy, error, usd, ms):
    leases = await died(rooms)
    rooms.connection.now_ms += LEASE_MS
    assert [one.rid for one in await leases.reap(policy)] == [RID]
    assert await spent(rooms) == [(0, 0, usd)] * 3
    (record,) = await records(rooms)
    assert (record["id"], record["error"]) == (RID, error)
    assert (record["cost_micro_usd"], record["upstream_micro_usd"], record["audio_ms"]) == (str(usd), str(usd), str(ms))
    assert record["reserved_micro_usd"] == "300", "what it may have cost is never forgotten"
    assert record["source"] == ("estimate" if policy == "charge" else "none")
    sums = {}
    for field, amount in (await rooms.raw.hgetall("{ag}:day:20250615")).items():
        sums[field.rsplit(b"|", 1)[1].decode()] = int(amount)
    assert sums == {"requests": 1, "errors": 1, **({"usd": usd, "cost": usd, "ms": ms} if usd else {})}


# Each corner of the world has its day end at another moment; upstreams have that of UTC.
ENDS = {"UTC": 24 * 3600, "Asia/Shanghai": 16 * 3600, "America/New_York": 28 * 3600, "Asia/Kathmandu": 65_700}


@pytest.mark.parametrize("zone", ENDS)
@pytest.mark.parametrize("policy", ["charge", "refund", "mark"])
@pytest.mark.parametrize("over", [-1, 0])
async def test_Q_7_a_late_settle_corrects_each_scope_in_the_windows_that_are_still_the_same(rooms, zone, policy, over):
    """The request is reaped some minutes before its team's day ends, and settled a millisecond before that, or then."""
    end = (START // 86_400_000) * 86_400_000 + ENDS[zone] * 1000
    rid = request_id(end - 600_000, bytes(10))
    rooms.connection.now_ms = end - 600_000
    await rooms.declare(timezone=zone)
    await rooms.admit(rid, usd=300, ms=60_000)
    rooms.connection.now_ms += LEASE_MS
    assert len(await Leases(rooms.connection).reap(policy)) == 1
    rooms.connection.now_ms = end + over
    failed = [Spent("two", Amounts(usd=7, requests=1))]
    told = {"usd": 120, "ms": 50_000, "cost": Amounts(usd=500, ms=50_000), "failed": failed}
    assert await rooms.settle(rid, began=(end - 600_000) / 1000, **told)
    charge = 300 if policy == "charge" else 0
    for scope, cost in {"alice": 120, "default": 120, "one": 500}.items():
        numbers = await rooms.numbers(scope)
        rolled = over == 0 and (scope != "one" or zone == "UTC")
        assert numbers.used["day"] == (cost, 50_000, 0, 1), (scope, rolled)
        assert numbers.used["month"] == numbers.used["total"] == (cost, 50_000, 0, 1), scope
        assert (numbers.flying, numbers.reserved) == (0, (0, 0, 0, 0))
    assert (await rooms.numbers("two")).used["total"] == (7, 0, 0, 1)
    billed = sum(int(row["cost_micro_usd"]) - int(row.get("takes_back", 0)) for row in await records(rooms))
    assert billed == 120
    assert charge in {int(row["cost_micro_usd"]) for row in await records(rooms)}


async def test_Q_7_what_was_charged_yesterday_stays_there_for_the_team_and_is_taken_back_from_the_upstream(rooms):
    end = (START // 86_400_000) * 86_400_000 + ENDS["Asia/Shanghai"] * 1000
    rid = request_id(end - 600_000, bytes(10))
    rooms.connection.now_ms = end - 600_000
    await rooms.declare(timezone="Asia/Shanghai")
    await rooms.admit(rid, usd=300)
    rooms.connection.now_ms += LEASE_MS
    await Leases(rooms.connection).reap("charge")
    rooms.connection.now_ms = end
    await rooms.settle("other", usd=40)
    await rooms.settle(rid, usd=120, began=(end - 600_000) / 1000)
    used = {scope: (await rooms.numbers(scope)).used for scope in ("alice", "default", "one")}
    assert {scope: found["day"][0] for scope, found in used.items()} == {"alice": 160, "default": 160, "one": 160}
    assert {scope: found["month"][0] for scope, found in used.items()} == {"alice": 160, "default": 160, "one": 160}
    before = (await rooms.numbers("alice")).ids
    rooms.connection.now_ms = end - 1
    assert not await rooms.settle(rid, usd=120, began=(end - 600_000) / 1000)
    assert (await rooms.numbers("alice")).ids == before


@pytest.mark.parametrize("policy", ["charge", "refund", "mark"])
@pytest.mark.parametrize("actual", [120, 0, 400])
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
    assert await leases.renew({RID: rooms.caller, "lost": rooms.caller}) == {RID: "revoked", "lost": "lost"}
    await rooms.declare(expires=START / 1000 - 1)
    assert await leases.renew({RID: rooms.caller}) == {RID: "expired"}
    await rooms.raw.delete(f"{{ag}}:k:{rooms.caller.kid}")
    assert await leases.renew({RID: rooms.caller}) == {RID: "gone"}
    assert await leases.renew({}) == {}


async def test_a_lease_without_a_reservation_is_forgotten(rooms):
    leases = await died(rooms)
    await rooms.raw.hdel("{ag}:held", RID)
    rooms.connection.now_ms += LEASE_MS
    assert await leases.reap("charge") == []
    assert await rooms.raw.zcard("{ag}:leases") == 0


async def test_what_was_charged_while_the_clock_was_set_back_is_taken_back_from_the_window_it_went_to(rooms):
    """A little before midnight by the clock, but the windows had begun that begin there."""
    midnight = (START // 86_400_000 + 1) * 86_400_000
    leases = await died(rooms)
    rooms.connection.now_ms = midnight + 200
    await rooms.settle("other", usd=40)
    rooms.connection.now_ms = midnight - 200
    assert len(await leases.reap("charge")) == 1
    assert [used for _, _, used in await spent(rooms)] == [340] * 3
    rooms.connection.now_ms = midnight + 400
    assert await rooms.settle(RID, usd=120, began=START / 1000)
    assert [used for _, _, used in await spent(rooms)] == [160] * 3


@pytest.mark.parametrize("zone", ENDS)
async def test_Q_7_what_is_reaped_after_midnight_is_charged_to_the_day_that_began_there(rooms, zone):
    end = (START // 86_400_000) * 86_400_000 + ENDS[zone] * 1000
    rooms.connection.now_ms = end - 10_000
    await rooms.declare(key=[Limit("usd", "day", 300)], timezone=zone)
    await rooms.admit(RID, usd=300)
    rooms.connection.now_ms += LEASE_MS
    assert len(await Leases(rooms.connection).reap("charge")) == 1
    for moment, fits in [(end + LEASE_MS, False), (end + 86_399_999, False), (end + 86_400_000, True)]:
        rooms.connection.now_ms = moment
        if fits:
            await rooms.admit("r2", usd=300)
        with pytest.raises(Refused):
            await rooms.admit("r3", usd=1)
