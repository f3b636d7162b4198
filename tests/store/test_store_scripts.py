"""What holds for all scripts: which keys they touch and leave, and that the server may forget them at any time."""

import json
import re
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import pytest
from redis.crc import key_slot

from gateway.config.model import Key, Team, Usage
from gateway.errors import Refused
from gateway.policy.ids import request_id
from gateway.policy.limits import Limit
from gateway.store.connection import script_text, shared_text
from gateway.store.drains import Drains
from gateway.store.leases import Leases
from gateway.store.register import Register
from gateway.store.repeats import Mine, Repeats
from gateway.store.stream import Stream
from tests.running import PEPPER, configured
from tests.store.conftest import refused

PERMANENT = re.compile(r"\{ag\}:((k|t|u):[^:]+|names|teams|declared|drained|audit|usage|exported|warned|shards)")
WHILE_HELD = {"{ag}:leases", "{ag}:held"}
SCRIPTS = {path.name.removesuffix(".lua") for path in (files("gateway.store") / "lua").iterdir()} - {
    "calendar",
    "many",
    "scope",
}


async def cycle(rooms, rid: str, *, between=None):
    """Everything that scripts do for one request."""
    steps = [
        lambda: rooms.declare(key=[Limit("usd", "day", 1000)]),
        lambda: rooms.admit(rid, peek=True),
        lambda: rooms.admit(rid, "one", "two", usd=10),
        lambda: rooms.switch(rid, "one", "two", usd=12),
        lambda: Leases(rooms.connection).renew({rid: rooms.caller}),
        lambda: rooms.settle(rid, "two", usd=9),
        lambda: rooms.settle(rid, "two", usd=9),
    ]
    answers = []
    for step in steps:
        answers.append(await step())
        if between is not None:
            await between()
    admission, moved, states, settled, again = answers[2:]
    assert (admission.upstream, moved, states, settled, again) == ("one", "two", {rid: "active"}, True, False)


async def by_hand(rooms):
    """Everything that scripts do for operators."""
    register = Register(rooms.connection, rooms.config(), pepper=PEPPER, door="cli")
    await register.make_team(Team("red"))
    made = await register.make_key(Key("made by hand", "red"))
    await register.change_key("made by hand", lambda key: replace(key, team="default"))
    await register.rotate_key("made by hand", overlap=60)
    await register.roll.keys()
    await Drains(rooms.connection, door="cli").begin("one", known=["one"])
    await register.roll.key_standing(made.record)
    await register.revoke_key("made by hand")


async def left_behind(rooms) -> dict[str, int]:
    """The keys of the store, and when they expire."""
    return {name.decode(): expires for name, (_, expires) in (await rooms.everything()).items()}


async def test_every_key_expires_or_is_one_of_the_few_that_stay(rooms):
    seen = []

    async def look():
        seen.append(await left_behind(rooms))

    await cycle(rooms, "r1", between=look)
    for keys in seen:
        stray = {name for name, expires in keys.items() if expires == -1 and not PERMANENT.fullmatch(name)}
        assert stray <= WHILE_HELD
    assert seen[2].keys() >= WHILE_HELD
    assert not seen[-1].keys() & WHILE_HELD, "they go with the last reservation"
    assert any(re.fullmatch(r"\{ag\}:done:\d{10}", name) for name in seen[-1])


async def test_what_operators_make_leaves_nothing_that_should_expire(rooms):
    await rooms.declare()
    await by_hand(rooms)
    assert all(PERMANENT.fullmatch(name) for name in await left_behind(rooms))


async def test_a_hundred_requests_leave_no_more_keys_than_one(rooms):
    await cycle(rooms, "r0")
    after_one = (await left_behind(rooms)).keys()
    for number in range(100):
        await rooms.admit(f"r{number + 1}", usd=1)
        await rooms.settle(f"r{number + 1}", usd=1)
    assert (await left_behind(rooms)).keys() == after_one


async def test_the_server_may_forget_the_scripts_at_any_time(rooms):
    await cycle(rooms, "r1", between=rooms.raw.script_flush)
    for scope in ("alice", "default", "two"):
        assert (await rooms.numbers(scope)).used["total"] == (9, 0, 0, 1)


async def test_a_user_who_may_touch_nothing_but_our_keys_is_enough(rooms, url, open_rooms):
    rights = ["+@all", "-@dangerous", "-@admin"]
    await rooms.raw.acl_setuser("gateway", enabled=True, passwords="+word", keys=["{ag}:*"], commands=rights)
    try:
        async with open_rooms(url.replace("unix://", "unix://gateway:word@")) as limited:
            await limited.keys.declare(limited.config())
            await limited.reread()
            await limited.admit("r1", "one", usd=10)
            await limited.switch("r1", "one", "two", usd=12)
            assert await limited.settle("r1", "two", usd=9)
            await by_hand(limited)
            assert await limited.connection.alive()
            with pytest.raises(Refused):
                await limited.connection.run("declare", ["elsewhere"], ["[0]"])
    finally:
        await rooms.raw.acl_deluser("gateway")


async def test_all_keys_of_a_script_are_in_one_slot(rooms, monkeypatch):
    seen = {}
    run = rooms.connection.run

    async def watched(script, keys, args):
        seen.setdefault(script, set()).update(keys)
        return await run(script, keys, args)

    monkeypatch.setattr(rooms.connection, "run", watched)
    await cycle(rooms, "r1")
    await rooms.keys.declare(configured(Path("unused"), keys={"bob": Key("bob", "default")}))
    await rooms.declare()
    await by_hand(rooms)
    await rooms.admit(request_id(0, bytes(10)))
    repeats = Repeats(rooms.connection)
    mine = Mine(repeats.place(rooms.caller, "name"), "r1", "token")
    await repeats.claim(mine, lease=1)
    await repeats.keep(mine, (200, (), b""), print_="print")
    rooms.connection.now_ms = 4_000_000_000_000
    await Leases(rooms.connection).reap("charge")
    stream = Stream(rooms.connection, Usage())
    await stream.commit((await stream.page("", whole=True))[-1].cursor)
    await stream.trim()
    assert seen.keys() == SCRIPTS - {"lease", "grant"}, "a script that nobody runs; these two have one key each"
    assert len({key_slot(key.encode()) for keys in seen.values() for key in keys}) == 1


@pytest.mark.parametrize("script", ["admit", "declare", "switch"])
@pytest.mark.parametrize("bad", ["", "seven", "1,5"])
async def test_a_bad_number_changes_nothing(rooms, script, bad):
    kid = (await rooms.declare()).kid
    await rooms.admit("r1", usd=10)
    scopes, books = [f"{{ag}}:k:{kid}", "{ag}:t:default"], ["{ag}:leases", "{ag}:held"]
    offers = [["one", bad, 1, 1]]
    one = {"rid": "r2", "key": kid, "team": "default", "digest": rooms.caller.digest, "hour": "1", "offers": offers}
    one |= {"versions": rooms.caller.versions, "peek": False, "model": "", "route": ""}
    asked = {
        "admit": ([*books, *scopes, "{ag}:done:1", "{ag}:u:one"], [1, json.dumps([one])]),
        "switch": ([*scopes, books[1], "{ag}:u:one", "{ag}:u:two"], ["r1", "one", 1, 1, 1, 1, json.dumps(offers)]),
        "declare": (scopes, [f"[0, [{bad}"]),
    }
    before = await rooms.everything()
    assert await refused(rooms, script, *asked[script])
    assert await rooms.everything() == before


@pytest.mark.parametrize("script", sorted(SCRIPTS))
def test_a_script_begins_with_what_all_share(script):
    shared = shared_text()
    assert script_text(script).startswith(shared)
    assert len(script_text(script)) > len(shared) + 100
