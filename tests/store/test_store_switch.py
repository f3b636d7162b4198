"""Moving a reservation to another upstream: all or nothing, at the new one's price."""

import asyncio
from dataclasses import replace

from gateway.policy.limits import Amounts, Limit
from gateway.store.limits import Offer


def usd_per_day(amount: int) -> list[Limit]:
    return [Limit("usd", "day", amount)]


async def test_everything_moves_and_the_new_price_counts_on_key_and_team(rooms):
    await rooms.declare()
    await rooms.admit("other", "one", usd=1000, ms=1, characters=2)
    await rooms.admit("r1", "one", usd=10, ms=20, characters=30)
    offers = [Offer("two", Amounts(usd=15, ms=20, characters=30))]
    assert await rooms.switch("r1", "one", offers=offers) == "two"
    one, two = await rooms.numbers("one"), await rooms.numbers("two")
    assert (one.flying, one.reserved) == (1, (1000, 1, 2, 1))
    assert (two.flying, two.reserved) == (1, (15, 20, 30, 1))
    for scope in ("alice", "default"):
        found = await rooms.numbers(scope)
        assert (found.flying, found.reserved) == (2, (1015, 21, 32, 2)), "the request itself is not counted twice"
    assert await rooms.settle("r1", "two", usd=15, ms=20, characters=30)
    assert await rooms.settle("other", "one", usd=1000, ms=1, characters=2)
    for scope in ("alice", "default", "one", "two"):
        found = await rooms.numbers(scope)
        assert (found.flying, found.reserved) == (0, (0, 0, 0, 0)), scope


async def test_a_cheaper_upstream_frees_budget(rooms):
    await rooms.declare(key=usd_per_day(10))
    await rooms.admit("r1", "one", usd=10)
    assert await rooms.switch("r1", "one", "two", usd=4) == "two"
    await rooms.admit("r2", "one", usd=6)
    assert (await rooms.numbers("alice")).reserved == (10, 0, 0, 2)


async def test_its_own_reservation_does_not_stand_in_its_way(rooms):
    await rooms.declare(
        key=[Limit("usd", "day", 10), Limit("requests", "minute", 1), Limit("concurrency", "", 1)],
        team=[Limit("usd", "total", 10), Limit("concurrency", "", 1)],
    )
    await rooms.admit("r1", "one", usd=10)
    assert await rooms.switch("r1", "one", "two", usd=10) == "two"


async def test_nothing_changes_when_key_team_or_upstream_has_no_room(rooms):
    for scope in ("key", "team", "upstream"):
        await rooms.raw.flushall()
        await rooms.declare(**{scope: usd_per_day(10)})
        await rooms.admit("r1", "two", usd=10)
        before = await rooms.everything()
        assert await rooms.switch("r1", "two", "one", usd=11) is None
        assert await rooms.everything() == before, scope


async def test_it_goes_to_the_first_with_room(rooms):
    full = {"one": (), "two": (Limit("concurrency", "", 1),), "three": ()}
    await rooms.keys.declare(replace(rooms.config(), upstream_limits=full))
    await rooms.reread()
    await rooms.admit("r0", "two")
    await rooms.admit("r1", "one")
    offers = [Offer("two", Amounts(usd=1)), Offer("three", Amounts(usd=2))]
    assert await rooms.switch("r1", "one", offers=offers) == "three"
    assert (await rooms.numbers("two")).reserved == (0, 0, 0, 1)
    assert (await rooms.numbers("three")).reserved == (2, 0, 0, 1)


async def test_asked_twice_it_moves_once(rooms):
    await rooms.declare()
    await rooms.admit("r1", "one", usd=10)
    assert await rooms.switch("r1", "one", "two", "three", usd=12) == "two"
    before = await rooms.everything()
    assert await rooms.switch("r1", "one", "two", "three", usd=12) == "two"
    assert await asyncio.gather(*(rooms.switch("r1", "one", "two", usd=12) for _ in range(9))) == ["two"] * 9
    assert await rooms.everything() == before


async def test_it_can_move_on_and_on(rooms):
    await rooms.declare()
    await rooms.admit("r1", "one", usd=1)
    assert await rooms.switch("r1", "one", "two", usd=2) == "two"
    assert await rooms.switch("r1", "two", "three", usd=3) == "three"
    assert await rooms.switch("r1", "three", "one", usd=4) == "one"
    assert (await rooms.numbers("alice")).reserved == (4, 0, 0, 1)
    assert (await rooms.numbers("one")).reserved == (4, 0, 0, 1)
    for left in ("two", "three"):
        assert (await rooms.numbers(left)).reserved == (0, 0, 0, 0)


async def test_the_same_upstream_may_take_it_at_another_price(rooms):
    await rooms.declare()
    await rooms.admit("r1", "one", usd=10)
    assert await rooms.switch("r1", "one", "one", usd=7) == "one"
    for scope in ("alice", "default", "one"):
        found = await rooms.numbers(scope)
        assert (found.flying, found.reserved) == (1, (7, 0, 0, 1)), scope


async def test_what_is_not_reserved_there_cannot_move(rooms):
    await rooms.declare()
    await rooms.admit("r1", "one", usd=10)
    await rooms.admit("r2", "one")
    await rooms.settle("r2")
    before = await rooms.everything()
    assert await rooms.switch("r1", "two", "three", usd=1) is None, "it is not held by two"
    assert await rooms.switch("never admitted", "one", "two", usd=1) is None
    assert await rooms.switch("r2", "one", "two", usd=1) is None, "it is settled"
    assert await rooms.everything() == before


async def test_nowhere_to_go_is_not_a_move(rooms):
    await rooms.declare()
    await rooms.admit("r1", "one", usd=10)
    before = await rooms.everything()
    assert await rooms.switch("r1", "one") is None
    assert await rooms.everything() == before
