"""Requests that move while they are settled: to another upstream, or with their key to another team."""

from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.config.model import Key, Team
from gateway.errors import Refused
from gateway.policy.ids import request_id
from gateway.policy.keys import parse
from gateway.policy.limits import Amounts, Limit
from gateway.store.keys import Keys
from gateway.store.leases import Leases
from gateway.store.limits import Offer
from gateway.store.usage import LOOKS, Spent
from tests.running import PEPPER, configured, key_text, running, upstream
from tests.store.conftest import BEGAN, Rooms
from tests.stub import stub
from tests.wires import wired

RID = request_id(int(BEGAN * 1000), bytes(10))
KID = parse(key_text()).kid
NUMBERS = "local s = redis.call('HGET', KEYS[1], 's') return s and cmsgpack.unpack(s) or {}"
SPEECH = {"model": "tts-1", "voice": "alloy", "input": "hello"}  # five characters: 75 micro-USD


async def scope(rooms: Rooms, name: str) -> tuple[int, int, int]:
    """In flight, reserved and used in all (micro-USD) of a scope, by the end of its key."""
    found = [int(number) for number in await rooms.raw.eval(NUMBERS, 1, f"{{ag}}:{name}")] or [0] * 32
    return found[0], found[6], found[26]


async def reaped(rooms: Rooms) -> None:
    assert await rooms.raw.zadd("{ag}:leases", {RID: 1}, xx=True, ch=True) == 1
    assert [one.rid for one in await Leases(rooms.connection).reap("charge")] == [RID]


def meanwhile(rooms: Rooms, deed: Callable[[int], Coroutine[Any, Any, None]]) -> list[str]:
    """After each answer to a settlement do `deed`, which is told how many there were. Returns the answers so far."""
    answers: list[str] = []
    run = rooms.connection.run

    async def watched(script: str, keys: Any, args: Any) -> object:
        found: Any = await run(script, keys, args)
        if script == "settle":
            answers.append(found[0][0])
            await deed(len(answers))
        return found

    rooms.connection.run = watched  # type: ignore[method-assign]
    return answers


async def test_a_settlement_follows_a_reservation_that_moves_under_it(rooms: Rooms) -> None:
    """A switch that nobody waited for arrives between the two questions."""
    await rooms.declare(team=[Limit("usd", "total", 10_000)])
    await rooms.admit(RID, "one", usd=700)

    async def moved(count: int) -> None:
        if count == 1:
            assert await rooms.switch(RID, "one", "two", usd=700) == "two"

    answers = meanwhile(rooms, moved)
    assert await rooms.settle(RID, "three", usd=100)
    assert answers == ["elsewhere", "elsewhere", "settled"]
    assert not await rooms.settle(RID, "three", usd=100), "once"
    assert await rooms.raw.xlen("{ag}:usage") == 1
    assert await rooms.raw.hlen("{ag}:held") == await rooms.raw.zcard("{ag}:leases") == 0
    found = {name: await scope(rooms, name) for name in ("t:default", f"k:{KID}", "u:one", "u:two", "u:three")}
    assert found == {
        "t:default": (0, 0, 100),
        f"k:{KID}": (0, 0, 100),
        "u:one": (0, 0, 0),
        "u:two": (0, 0, 0),
        "u:three": (0, 0, 100),  # where it was served
    }


async def test_one_that_moves_on_and_on_is_not_taken_for_settled(rooms: Rooms) -> None:
    await rooms.declare()
    await rooms.admit(RID, "one", usd=700)
    places, on = ["one", "two"], True

    async def moved(_: int) -> None:
        if on:
            assert await rooms.switch(RID, *places, usd=700) == places[1]
            places.reverse()

    answers = meanwhile(rooms, moved)
    with pytest.raises(Refused) as refused:
        await rooms.settle(RID, "three", usd=100)
    assert (refused.value.name, answers) == ("store_down", ["elsewhere"] * LOOKS)
    assert await scope(rooms, "t:default") == (1, 700, 0), "nothing was done"
    on = False
    assert await rooms.settle(RID, "three", usd=100)
    assert await scope(rooms, "t:default") == (0, 0, 100)


async def admitted_after_a_move(rooms: Rooms) -> None:
    """Alice was of team `old` when she was looked up, and of team `new` when the request was admitted."""
    for team in ("old", "new"):
        config = configured(
            Path("unused"),
            keys={"alice": Key("alice", team, key_text())},
            teams={name: Team(name, limits=(Limit("usd", "total", 10_000),)) for name in ("old", "new")},
            upstream_limits={"one": (), "two": ()},
        )
        await rooms.keys.declare(config)
    assert (await rooms.reread()).team == "new"
    await rooms.admit(RID, "one", usd=700)
    assert await scope(rooms, "t:new") == (1, 700, 0)


@pytest.mark.parametrize(("served", "other"), [("one", "two"), ("two", "one")])
async def test_a_key_that_changed_its_team_is_released_where_it_was_reserved(
    rooms: Rooms, served: str, other: str
) -> None:
    await admitted_after_a_move(rooms)
    assert await rooms.settle(RID, served, team="old", usd=100)
    assert await scope(rooms, "t:old") == (0, 0, 0)
    for name, used in (("t:new", 100), (f"k:{KID}", 100), (f"u:{served}", 100), (f"u:{other}", 0)):
        assert await scope(rooms, name) == (0, 0, used), name
    assert not await rooms.settle(RID, served, team="old", usd=100)


async def test_what_expired_is_taken_back_from_the_team_that_was_charged(rooms: Rooms) -> None:
    await admitted_after_a_move(rooms)
    await reaped(rooms)
    assert await scope(rooms, "t:new") == (0, 0, 700)
    assert await rooms.settle(RID, team="old", usd=100)
    assert await scope(rooms, "t:old") == (0, 0, 0)
    for name in ("t:new", f"k:{KID}", "u:one"):
        assert await scope(rooms, name) == (0, 0, 100), name


async def test_a_gateway_that_never_hears_of_its_reservation_in_the_new_team_gives_it_back(
    rooms: Rooms, url: str, data: Path
) -> None:
    teams = {name: Team(name, limits=(Limit("usd", "total", 10_000_000),)) for name in ("old", "new")}
    async with wired(url) as wire, stub() as one:
        config = configured(data, upstream("a", one.url), teams=teams, keys={"alice": Key("alice", "old", key_text())})
        config = replace(config, store=replace(config.store, on_unavailable="closed"))
        async with running(config, url=wire.url) as gateway, gateway.client() as client:
            assert (await client.post("/audio/speech", json=SPEECH)).status_code == 200
            await gateway.idle()
            moved = replace(config, keys={"alice": Key("alice", "new", key_text())})
            await Keys(rooms.connection, pepper=PEPPER).declare(moved)
            wire.eats = lambda data: b"$2\r\nok\r\n" in data  # it is told "stale", asks again, and is admitted
            assert (await client.post("/audio/speech", json=SPEECH)).status_code == 503
            assert wire.eaten == 2
            wire.eats = lambda _: False
            assert [record["team"] for record in await gateway.records(2)] == ["old", "new"]
            await gateway.idle()
            assert await scope(rooms, "t:old") == (0, 0, 75)
            assert await scope(rooms, "t:new") == (0, 0, 0)
            assert await scope(rooms, f"k:{KID}") == await scope(rooms, "u:a") == (0, 0, 75)


async def broke_off(rooms: Rooms) -> None:
    """An attempt at `one` broke off behind its status 200, which is billed; the request has gone on to `two`."""
    await rooms.declare(upstream=[Limit("usd", "total", 1000)])
    await rooms.admit(RID, "one", usd=700)
    spent, offers = Amounts(usd=600), [Offer("two", Amounts(usd=700))]
    for _ in range(2):  # asked again after an answer was lost
        assert await rooms.limits.switch(RID, rooms.caller, held="one", offers=offers, spent=spent) == "two"


BILLED = (Spent("one", Amounts(usd=600)),)


async def test_what_a_failed_attempt_cost_counts_at_its_upstream_from_the_switch_on(rooms: Rooms) -> None:
    await broke_off(rooms)
    assert await scope(rooms, "u:one") == (0, 0, 600)
    assert await scope(rooms, "t:default") == (1, 700, 0), "it costs the caller nothing"
    with pytest.raises(Refused):
        await rooms.admit("next", "one", usd=401)
    await rooms.admit("next", "one", usd=400)
    assert await rooms.settle("next", "one", usd=400)
    assert await rooms.settle(RID, "two", usd=650, failed=BILLED)
    assert await scope(rooms, "u:one") == (0, 0, 1000)
    assert await scope(rooms, "u:two") == (0, 0, 650)


async def test_it_counts_once_after_its_gateway_died_and_once_when_that_comes_back(rooms: Rooms) -> None:
    await broke_off(rooms)
    await reaped(rooms)
    assert await scope(rooms, "u:one") == (0, 0, 600)
    assert await scope(rooms, "u:two") == (0, 0, 700)
    assert await rooms.settle(RID, "two", usd=650, failed=BILLED)
    assert await scope(rooms, "u:one") == (0, 0, 600)
    assert await scope(rooms, "u:two") == (0, 0, 650)


async def test_what_the_last_attempt_cost_counts_when_it_is_settled(rooms: Rooms) -> None:
    """No switch came after it: nobody noted it before."""
    await broke_off(rooms)
    assert await rooms.settle(RID, "two", usd=0, failed=[*BILLED, Spent("two", Amounts(usd=700))])
    assert await scope(rooms, "u:one") == (0, 0, 600)
    assert await scope(rooms, "u:two") == (0, 0, 700)


async def test_a_free_attempt_that_failed_counts_nothing(rooms: Rooms) -> None:
    await rooms.declare()
    await rooms.admit(RID, "one", usd=700)
    assert await rooms.switch(RID, "one", "two", usd=700) == "two"
    assert (await rooms.numbers("one")).used["total"] == (0, 0, 0, 0)
