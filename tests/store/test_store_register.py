"""Keys and teams that operators make: checked before they are written, written down, never mixed up with the file's."""

import asyncio
import json
import time
from dataclasses import replace

import pytest

from gateway.config.model import Key, Team
from gateway.errors import Refused, SetupError
from gateway.policy.keys import digest, parse
from gateway.policy.limits import Limit
from gateway.store.keys import Keys
from gateway.store.register import Register
from gateway.store.roll import standings
from tests.running import PEPPER, key_text

DAY = 86_400


@pytest.fixture
async def register(rooms):
    """The register of a gateway whose file declares the key alice and the team default."""
    await rooms.declare()
    return Register(rooms.connection, replace(rooms.config(), file="g.yaml"), pepper=PEPPER, door="cli")


async def refusal(work) -> tuple[str, str]:
    with pytest.raises(Refused) as caught:
        await work
    return caught.value.name, caught.value.message


async def asked(rooms, caller):
    """What the script says to a caller who reserves nothing."""
    one = {"rid": "r", "key": caller.kid, "team": caller.team, "digest": caller.digest, "versions": caller.versions}
    one |= {"hour": "", "offers": [["one", 0, 0, 0]], "peek": True, "model": "", "route": ""}
    scopes = [f"{{ag}}:k:{caller.kid}", f"{{ag}}:t:{caller.team}", "{ag}:done:", "{ag}:u:one"]
    return await rooms.connection.run("admit", ["{ag}:leases", "{ag}:held", *scopes], [1000, json.dumps([one])])


async def tried(rooms, text: str) -> str:
    """What a gateway says to this key: ok, or the refusal's name; it remembers what it saw."""
    presented = parse(text)
    try:
        for fresh in (False, True):
            caller = await rooms.keys.holder(presented, now=time.time(), peer="10.0.0.1", fresh=fresh)
            rooms.caller, rooms.presented = caller, presented
            answer = (await asked(rooms, caller))[0]
            if answer[0] == "ok":
                return "outdated" if caller.outdated else "ok"
            if answer[0] != "stale":
                return f"{answer[-1]}_key"
    except Refused as refused:
        return refused.name
    raise AssertionError("stale twice")


async def deeds(register) -> list[tuple[str, str, str, str]]:
    found = await register.roll.audit(1000)
    return [(one.door, one.action, one.what, one.result) for one in reversed(found)]


KEY = Key(
    "bob",
    "default",
    models=("whisper-*",),
    upstreams=("two", "one"),
    limits=(Limit("usd", "month", 20_000_000), Limit("concurrency", "", 4)),
    expires=4_000_000_000.0,
    ips=("10.0.0.0/8",),
    note="for it",
)


async def test_a_key_made_by_hand_works_and_is_shown_as_it_was_asked_for(rooms, register):
    made = await register.make_key(KEY)
    assert made.text not in repr(made)
    assert await tried(rooms, made.text) == "ok"
    assert (rooms.caller.models, rooms.caller.upstreams) == ((("whisper-*",),), ("two", "one"))
    record = await register.roll.key("bob")
    assert record == made.record
    assert record.key == KEY
    assert (record.kid, record.state, record.origin) == (parse(made.text).kid, "active", "admin")
    assert record.shown == f"ag_{record.kid}_…{made.text[-4:]}"
    assert abs((record.made or 0) - time.time()) < 60
    stored = repr(list((await rooms.everything()).values())).encode()
    assert made.text[14:46].encode() not in stored


async def test_the_list_has_all_keys_and_tells_their_states(rooms, register):
    await register.make_key(Key("carol", "default", expires=1.0))
    await register.make_key(Key("bob", "default"))
    await register.revoke_key("bob")
    found = {one.key.name: (one.state, one.origin) for one in await register.roll.keys()}
    assert found == {"alice": ("active", "config"), "bob": ("revoked", "admin"), "carol": ("expired", "admin")}
    assert list(found) == sorted(found)
    assert (await register.roll.key("alice")).shown == f"ag_{parse(key_text()).kid}_…{key_text()[-4:]}"


async def test_a_name_is_taken_for_good(rooms, register):
    made = await register.make_key(KEY)
    assert (await refusal(register.make_key(KEY)))[0] == "name_taken"
    await register.revoke_key("bob")
    assert (await refusal(register.make_key(KEY)))[0] == "name_taken"
    assert await tried(rooms, made.text) == "revoked_key"


async def test_of_several_who_make_a_name_at_once_one_does(rooms, register):
    found = await asyncio.gather(*(register.make_key(KEY) for _ in range(20)), return_exceptions=True)
    (made,) = [one for one in found if not isinstance(one, BaseException)]
    assert {one.name for one in found if isinstance(one, Refused)} == {"name_taken"}
    assert await tried(rooms, made.text) == "ok"


async def test_a_key_needs_a_team_that_there_is(rooms, register):
    said = await refusal(register.make_key(Key("bob", "nope")))
    assert said == ("invalid", "Invalid value for 'team': no team is called 'nope'.")
    await register.make_team(Team("nope"))
    await register.make_key(Key("bob", "nope"))


async def test_a_team_of_the_file_is_there_before_the_gateway_first_starts(rooms):
    config = rooms.config(team=[Limit("usd", "day", 5)])
    register = Register(rooms.connection, config, pepper=PEPPER, door="cli")
    await register.make_key(Key("bob", "default"))
    assert (await register.roll.team("default")).team.limits == (Limit("usd", "day", 5),)
    assert (await refusal(register.make_key(Key("alice", "default"))))[0] == "declared_in_file"
    assert (await refusal(register.make_team(Team("default"))))[0] == "declared_in_file"
    await rooms.keys.declare(config)


@pytest.mark.parametrize(
    "work",
    [
        lambda register: register.change_key("alice", lambda key: replace(key, note="x")),
        lambda register: register.rotate_key("alice", overlap=0),
        lambda register: register.revoke_key("alice"),
        lambda register: register.make_key(Key("alice", "default")),
        lambda register: register.change_team("default", lambda team: replace(team, note="x")),
        lambda register: register.make_team(Team("default")),
    ],
)
async def test_what_the_file_declares_is_changed_there_alone(rooms, register, work):
    before = await rooms.everything()
    name, message = await refusal(work(register))
    assert name == "declared_in_file"
    assert "is declared in g.yaml" in message
    after = await rooms.everything()
    assert {key for key in after if after[key] != before.get(key)} == {b"{ag}:audit"}


@pytest.mark.parametrize(
    "work",
    [
        lambda register: register.change_key("zoe", lambda key: key),
        lambda register: register.rotate_key("zoe", overlap=0),
        lambda register: register.revoke_key("zoe"),
        lambda register: register.roll.key("zoe"),
        lambda register: register.change_team("zoe", lambda team: team),
        lambda register: register.roll.team("zoe"),
        lambda register: register.roll.key("*"),
        lambda register: register.roll.key("a\r\nb\0"),
    ],
)
async def test_a_name_that_nothing_has_is_told_and_written_down(register, work):
    assert (await refusal(work(register)))[0] == "unknown_name"
    assert (await deeds(register))[-1][3] == "none"


async def test_changes_hold_at_the_next_request_of_every_gateway(rooms, register, url, open_rooms):
    made = await register.make_key(replace(KEY, limits=()))
    async with open_rooms(url) as elsewhere:
        assert [await tried(one, made.text) for one in (rooms, elsewhere)] == ["ok", "ok"]
        await register.change_key("bob", lambda key: replace(key, ips=("192.0.2.0/24",)))
        assert [await tried(one, made.text) for one in (rooms, elsewhere)] == ["bad_address"] * 2
        await register.change_key("bob", lambda key: replace(key, ips=None, expires=1.0))
        assert [await tried(one, made.text) for one in (rooms, elsewhere)] == ["expired_key"] * 2
        await register.change_key("bob", lambda key: replace(key, expires=None))
        assert [await tried(one, made.text) for one in (rooms, elsewhere)] == ["ok", "ok"], "what is remembered refuses"
        await register.revoke_key("bob")
        assert [await tried(one, made.text) for one in (rooms, elsewhere)] == ["revoked_key"] * 2


async def test_changed_limits_keep_what_was_used(rooms, register):
    made = await register.make_key(replace(KEY, limits=()))
    await tried(rooms, made.text)
    await rooms.admit("r1", usd=6)
    await rooms.settle("r1", kid=made.record.kid, usd=6)
    await register.change_key("bob", lambda key: replace(key, limits=(Limit("usd", "day", 7),)))
    await tried(rooms, made.text)
    (standing,) = await register.roll.key_standing(made.record)
    assert (standing.limit, standing.used, standing.reserved) == (Limit("usd", "day", 7), 6, 0)
    with pytest.raises(Refused) as refused:
        await rooms.admit("r2", usd=2)
    assert refused.value.name == "quota"


async def test_two_changes_at_once_both_count(register):
    await register.make_key(KEY)
    await asyncio.gather(
        register.change_key("bob", lambda key: replace(key, note="new")),
        register.change_key("bob", lambda key: replace(key, limits=())),
        register.change_key("bob", lambda key: replace(key, team="default", models=None)),
        register.rotate_key("bob", overlap=DAY),
    )
    found = (await register.roll.key("bob")).key
    assert (found.note, found.limits, found.models, found.ips) == ("new", (), None, KEY.ips)


async def test_what_is_always_overtaken_is_refused(rooms, register):
    made = await register.make_key(KEY)
    await register.make_team(Team("red"))
    numbers = iter(range(100))
    run = rooms.connection.run

    async def overtaken(script, keys, args):
        for scope in (f"{{ag}}:k:{made.record.kid}", "{ag}:t:red"):
            await rooms.raw.hset(scope, "v", f"v{next(numbers)}")
        await rooms.raw.hset("{ag}:names", "alice", f"{next(numbers):010}")
        return await run(script, keys, args)

    rooms.connection.run = overtaken
    assert (await refusal(register.change_key("bob", lambda key: key)))[0] == "changed_meanwhile"
    assert (await refusal(register.change_team("red", lambda team: team)))[0] == "changed_meanwhile"
    assert (await refusal(rooms.declare()))[0] == "store_down"


async def test_a_name_whose_record_is_lost_is_no_key(rooms, register):
    await rooms.raw.hset("{ag}:names", "ghost", "0123456789")
    await rooms.raw.hset("{ag}:teams", "ghosts", "ghosts")
    assert [one.key.name for one in await register.roll.keys()] == ["alice"]
    assert [one.team.name for one in await register.roll.teams()] == ["default"]
    assert (await refusal(register.roll.key("ghost")))[0] == "unknown_name"


async def test_a_key_moves_to_a_team_that_there_is(rooms, register):
    await register.make_key(KEY)
    move = register.change_key("bob", lambda key: replace(key, team="red"))
    assert "no team is called 'red'" in (await refusal(move))[1]
    await register.make_team(Team("red", models=("tts-*",)))
    assert (await register.change_key("bob", lambda key: replace(key, team="red"))).key.team == "red"


async def test_a_revoked_key_stays_revoked(register):
    await register.make_key(KEY)
    assert (await register.revoke_key("bob")).state == "revoked"
    assert (await register.revoke_key("bob")).state == "revoked"
    for work in (
        register.change_key("bob", lambda key: replace(key, revoked=False)),
        register.rotate_key("bob", overlap=0),
    ):
        assert (await refusal(work))[0] == "is_revoked"


# -- rotation


async def test_after_a_rotation_both_secrets_work_and_the_old_one_is_told(rooms, register, url, open_rooms):
    old = await register.make_key(KEY)
    async with open_rooms(url) as elsewhere:
        assert await tried(elsewhere, old.text) == "ok"
        new = await register.rotate_key("bob", overlap=DAY)
        assert parse(new.text).kid == parse(old.text).kid
        assert new.record.shown.endswith(new.text[-4:])
        assert abs((new.record.previous_until or 0) - time.time() - DAY) < 60
        for one in (rooms, elsewhere):
            assert await tried(one, old.text) == "outdated"
            assert one.caller.previous_until == new.record.previous_until
            assert await tried(one, new.text) == "ok"


async def test_without_overlap_the_old_secret_ends_at_once(rooms, register, url, open_rooms):
    old = await register.make_key(KEY)
    async with open_rooms(url) as elsewhere:
        assert await tried(elsewhere, old.text) == "ok"
        new = await register.rotate_key("bob", overlap=0)
        assert new.record.previous_until is None
        for one in (rooms, elsewhere):
            assert await tried(one, old.text) == "bad_key"
            assert await tried(one, new.text) == "ok"


async def test_a_second_rotation_ends_the_secret_before_the_last(rooms, register):
    first = await register.make_key(KEY)
    second = await register.rotate_key("bob", overlap=DAY)
    third = await register.rotate_key("bob", overlap=DAY)
    said = [await tried(rooms, one.text) for one in (first, second, third)]
    assert said == ["bad_key", "outdated", "ok"]


async def test_the_stores_clock_ends_the_old_secret_to_the_millisecond(rooms, register):
    old = await register.make_key(KEY)
    rooms.connection.now_ms = 3_000_000_000_000
    await register.rotate_key("bob", overlap=1.5)
    caller = await rooms.keys.find(parse(old.text).kid, fresh=True)
    presented = parse(old.text)
    rooms.caller, rooms.presented = replace(caller, digest=digest(PEPPER, old.text)), presented
    rooms.connection.now_ms += 1499
    await rooms.admit("r1", peek=True)
    rooms.connection.now_ms += 1
    with pytest.raises(Refused) as refused:
        await rooms.admit("r2", peek=True)
    assert refused.value.name == "bad_key"


async def test_a_rotation_keeps_limits_and_what_was_used(rooms, register):
    old = await register.make_key(KEY)
    await tried(rooms, old.text)
    await rooms.admit("r1", usd=6)
    new = await register.rotate_key("bob", overlap=0)
    await rooms.settle("r1", kid=old.record.kid, usd=6)
    assert new.record.key == KEY
    found = await register.roll.key_standing(new.record)
    assert [one.used for one in found if one.limit.measure == "usd"] == [6]


# -- the file and the register


async def test_the_file_leaves_alone_what_operators_made(rooms, register):
    made = await register.make_key(KEY)
    await register.make_team(Team("red", limits=(Limit("usd", "day", 5),)))
    before = (await register.roll.key("bob"), await register.roll.team("red"))
    await rooms.keys.declare(replace(rooms.config(), keys={}))
    await rooms.declare()
    assert (await register.roll.key("bob"), await register.roll.team("red")) == before
    assert await tried(rooms, made.text) == "ok"


async def test_a_name_that_an_operator_took_stops_the_start(rooms, register):
    made = await register.make_key(KEY)
    await register.make_team(Team("red"))
    config = rooms.config()
    for keys in ({"bob": Key("bob", "default", key_text(5))}, {"bob": Key("bob", "default")}):
        with pytest.raises(SetupError, match=r"keys\.bob: a key of this name or id was made by hand"):
            await rooms.keys.declare(replace(config, keys=keys))
    with pytest.raises(SetupError, match=r"keys\.eve"):
        await rooms.keys.declare(replace(config, keys={"eve": Key("eve", "default", made.text)}))
    with pytest.raises(SetupError, match=r"teams\.red: a team of this name was made by hand"):
        await rooms.keys.declare(replace(config, teams={**config.teams, "red": Team("red")}))
    assert await tried(rooms, made.text) == "ok"


async def test_a_team_that_the_file_drops_goes_on_and_may_be_made_by_hand(rooms, register):
    config, red = rooms.config(), {"red": Team("red", limits=(Limit("usd", "day", 5),))}
    await rooms.keys.declare(replace(config, teams={**config.teams, **red}))
    made = await register.make_key(Key("bob", "red"))
    await rooms.keys.declare(config)
    found = await register.roll.team("red")
    assert (found.state, found.team.limits) == ("dropped", red["red"].limits)
    assert await tried(rooms, made.text) == "ok"
    assert "no team" in (await refusal(register.make_key(Key("carol", "red"))))[1]
    await rooms.keys.declare(replace(config, teams={**config.teams, **red}))
    assert (await register.roll.team("red")).state == "active", "it is back in the file"
    await rooms.keys.declare(config)
    assert (await register.make_team(Team("red", note="ours"))).origin == "admin"
    assert (await register.roll.team("red")).team == Team("red", note="ours")


async def test_a_key_with_a_new_name_in_the_file_loses_the_old_one(rooms, register):
    config = rooms.config()
    await rooms.keys.declare(replace(config, keys={"ann": Key("ann", "default", key_text())}))
    assert [one.key.name for one in await register.roll.keys()] == ["ann"]
    assert (await refusal(register.roll.key("alice")))[0] == "unknown_name"


async def test_records_of_an_older_version_count_as_the_files(rooms, register):
    kid = parse(key_text()).kid
    await rooms.raw.hdel(f"{{ag}}:k:{kid}", "origin", "made", "end", "limits", "note", "ips")
    record = await register.roll.key("alice")
    assert (record.origin, record.made, record.shown, record.key.limits) == ("config", None, f"ag_{kid}_…", ())
    assert (await refusal(register.revoke_key("alice")))[0] == "declared_in_file"


# -- the audit stream, and where limits stand


async def test_every_call_leaves_one_line_and_no_secret(rooms, register):
    start = len(await deeds(register))
    made = await register.make_key(KEY)
    await register.roll.keys()
    await register.roll.key("bob")
    await register.change_key("bob", lambda key: replace(key, limits=()), action="limit")
    again = await register.rotate_key("bob", overlap=DAY)
    await register.revoke_key("bob")
    await register.make_team(Team("red"))
    await register.change_team("red", lambda team: replace(team, note="x"))
    await register.roll.teams()
    await register.roll.team("red")
    await refusal(register.make_key(KEY))
    assert (await deeds(register))[start + 1 :] == [
        ("cli", "keys.create", "bob", "ok"),
        ("cli", "keys.list", "*", "ok"),
        ("cli", "keys.show", "bob", "ok"),
        ("cli", "keys.limit", "bob", "ok"),
        ("cli", "keys.rotate", "bob", "ok"),
        ("cli", "keys.revoke", "bob", "ok"),
        ("cli", "teams.create", "red", "ok"),
        ("cli", "teams.change", "red", "ok"),
        ("cli", "teams.list", "*", "ok"),
        ("cli", "teams.show", "red", "ok"),
        ("cli", "keys.create", "bob", "taken"),
    ]
    dump = await rooms.raw.dump("{ag}:audit")
    for text in (made.text, again.text):
        assert text[14:46].encode() not in dump
        assert digest(PEPPER, text).encode() not in dump


async def test_the_file_leaves_a_line_for_what_it_changes_and_none_for_the_rest(rooms, register):
    start = len(await deeds(register))
    await rooms.declare()
    await rooms.declare(note="new")
    await rooms.keys.declare(replace(rooms.config(), keys={}))
    assert (await deeds(register))[start + 1 :] == [
        ("config", "keys.declare", "alice", "ok"),
        ("config", "keys.revoke", "alice", "ok"),
    ]


async def test_the_audit_is_read_in_pages_from_its_end(register):
    for number in range(5):
        await refusal(register.roll.key(f"k{number}"))
    first = await register.roll.audit(2)
    assert [one.what for one in first] == ["k4", "k3"]
    assert [one.what for one in await register.roll.audit(2, before=first[-1].id)] == ["k2", "k1"]
    assert abs(first[0].at - time.time()) < 60


async def test_standings_tell_each_limit_in_its_window(rooms):
    limits = [Limit("usd", "day", 10), Limit("audio_seconds", "total", 9_000), Limit("concurrency", "", 3)]
    rooms.connection.now_ms = 86_400_000 * 20_000 + 1
    caller = await rooms.declare(key=limits)
    await rooms.admit("r1", usd=4, ms=100)
    await rooms.settle("r1", usd=3, ms=90)
    await rooms.admit("r2", usd=5, ms=7)
    before = await rooms.everything()
    team, key = await standings(rooms.connection, "default", kid=caller.kid)
    (nothing,) = await standings(rooms.connection, "none")
    assert [(one.limit.measure, one.used, one.reserved, one.resets) for one in key] == [
        ("concurrency", 1, 0, None),
        ("usd", 3, 5, 86_400.0 * 20_001),
        ("audio_seconds", 90, 7, None),
    ]
    assert {one.limit for one in key} == set(limits)
    assert team == nothing == []
    assert await rooms.everything() == before


# -- asked twice, because the answer was lost


async def test_every_change_may_be_asked_twice(rooms, register):
    run, twice = rooms.connection.run, []

    async def again(script, keys, args):
        first = await run(script, keys, args)
        if script in ("register", "amend", "rotate", "revoke", "declare", "declare_key", "mint"):
            before = {key: dump for key, dump in (await rooms.everything()).items() if key != b"{ag}:audit"}
            second = await run(script, keys, args)
            after = {key: dump for key, dump in (await rooms.everything()).items() if key != b"{ag}:audit"}
            twice.append(script)
            assert after == before, script
            assert second == first or (script, second) == ("declare_key", "changed")
        return first

    rooms.connection.run = again
    await register.make_key(KEY)
    await register.change_key("bob", lambda key: replace(key, note="x"))
    await register.rotate_key("bob", overlap=DAY)
    await register.revoke_key("bob")
    await Keys(rooms.connection, pepper=PEPPER).declare(
        replace(rooms.config(), keys={"made": Key("made", "default"), "eve": Key("eve", "default", key_text(7))})
    )
    assert set(twice) == {"register", "amend", "rotate", "revoke", "declare", "declare_key", "mint"}


@pytest.mark.parametrize("script", ["register", "amend", "rotate", "declare_key"])
@pytest.mark.parametrize("bad", ["", "seven", "[0, [1,"])
async def test_bad_numbers_change_nothing(rooms, register, script, bad):
    made = await register.make_key(KEY)
    scope, version = f"{{ag}}:k:{made.record.kid}", made.record.version
    asked = {
        "register": (["{ag}:audit", "{ag}:names", "{ag}:k:new"], ["cli", "a", "new", "new", "v", bad, "st", "x"]),
        "amend": (["{ag}:audit", scope], ["cli", "a", "bob", version, "v", bad, "st", "x"]),
        "rotate": (["{ag}:audit", scope], ["cli", "a", "bob", "v", "digest", "last", bad]),
        "declare_key": (
            [scope, "{ag}:names", "{ag}:declared", scope, "{ag}:audit"],
            [bad, "bob", "x", "x", "v", "st", "x"],
        ),
    }
    before = await rooms.everything()
    with pytest.raises(Refused):
        await rooms.connection.run(script, *asked[script])
    assert await rooms.everything() == before
