"""Keys and teams in the store: declared from the configuration, read when they call."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.config.model import Key, Team
from gateway.errors import Refused
from gateway.policy.keys import digest, parse
from gateway.policy.limits import Limit
from tests.running import PEPPER, configured, key_text

MINTED = {"made": Key("made", "default")}


def texts(**numbers: int) -> dict[str, Key]:
    """Keys whose texts are known, by name."""
    return {name: Key(name, "default", key_text(number)) for name, number in numbers.items()}


def declared(rooms, keys, **more):
    return rooms.keys.declare(replace(rooms.config(), keys=keys, **more))


async def state_of(rooms, text: str) -> str | None:
    caller = await rooms.keys.find(parse(text).kid, fresh=True)
    return caller and caller.state


async def try_text(rooms, text: str) -> str:
    """What admission says to a caller with this key: ok, or the refusal's name."""
    caller = await rooms.keys.find(parse(text).kid, fresh=True)
    if caller is None:
        return "unknown"
    rooms.caller, rooms.presented = replace(caller, digest=digest(PEPPER, text)), parse(text)
    try:
        await rooms.admit(f"try {text}", peek=True)
    except Refused as refused:
        return refused.name
    return "ok"


async def test_a_declared_key_can_be_used_and_its_text_is_not_in_the_store(rooms):
    await rooms.declare(models=("whisper-*",), upstreams=("two", "one"), expires=4_000_000_000.5)
    assert await try_text(rooms, key_text()) == "ok"
    caller = await rooms.reread()
    assert (caller.name, caller.team, caller.state, caller.expires) == ("alice", "default", "active", 4_000_000_000.5)
    assert (caller.models, caller.upstreams, caller.team_upstreams) == ((("whisper-*",),), ("two", "one"), None)
    stored = repr(list((await rooms.everything()).values())).encode()
    assert key_text().encode() not in stored
    assert key_text()[14:46].encode() not in stored
    assert PEPPER not in stored


async def test_nobody_is_found_under_an_unknown_id(rooms):
    await rooms.declare()
    assert await rooms.keys.find("0123456789") is None
    assert await rooms.keys.find("0123456789", fresh=True) is None


async def test_declaring_the_same_again_changes_nothing(rooms):
    await rooms.declare(key=[Limit("usd", "day", 10)], team=[Limit("concurrency", "", 3)], models=("a", "b"))
    before = await rooms.everything()
    versions = rooms.caller.versions
    await rooms.declare(key=[Limit("usd", "day", 10)], team=[Limit("concurrency", "", 3)], models=("a", "b"))
    assert await rooms.everything() == before
    assert rooms.caller.versions == versions


@pytest.mark.parametrize(
    "change",
    [
        {"key": [Limit("usd", "day", 11)]},
        {"key": [Limit("usd", "hour", 10)]},
        {"models": ("a",)},
        {"models": ()},
        {"upstreams": ("one",)},
        {"expires": 4_000_000_000.0},
        {"revoked": True},
    ],
    ids=str,
)
async def test_a_key_s_version_tells_every_change_and_only_that(rooms, change):
    before = (await rooms.declare(key=[Limit("usd", "day", 10)])).versions
    changed = (await rooms.declare(**{"key": [Limit("usd", "day", 10)], **change})).versions
    assert changed[0] != before[0]
    assert changed[1] == before[1]
    assert (await rooms.declare(key=[Limit("usd", "day", 10)])).versions == before


async def test_changed_limits_take_effect_and_what_was_used_stays(rooms):
    await rooms.declare(key=[Limit("usd", "day", 10)])
    await rooms.admit("r1", usd=6)
    await rooms.settle("r1", usd=6)
    await rooms.admit("r2", usd=2)
    before = await rooms.numbers("alice")
    await rooms.declare(key=[Limit("usd", "day", 9)])
    assert await rooms.numbers("alice") == before
    with pytest.raises(Refused) as refused:
        await rooms.admit("r3", usd=2)
    assert (refused.value.words["limit"], refused.value.words["used"]) == ("0.000009", "0.000008")
    await rooms.admit("r3", usd=1)
    await rooms.declare()
    await rooms.admit("r4", usd=10**9)
    assert (await rooms.numbers("alice")).reserved == (10**9 + 3, 0, 0, 3)


async def test_a_lowered_limit_leaves_nothing_rather_than_less(rooms):
    await rooms.declare(key=[Limit("requests", "day", 9)])
    for number in range(3):
        await rooms.admit(f"r{number}")
    await rooms.declare(key=[Limit("requests", "day", 2)])
    assert (await rooms.admit("r1")).remaining == 0
    with pytest.raises(Refused) as refused:
        await rooms.admit("r4")
    assert refused.value.words["used"] == "3"


async def test_a_removed_key_stops_working_and_works_again_when_it_is_back(rooms):
    await declared(rooms, texts(alice=1, bob=2))
    caller = await rooms.reread()
    await rooms.admit("r1", usd=5)
    await rooms.settle("r1", usd=5)
    await declared(rooms, texts(bob=2))
    assert await state_of(rooms, key_text(1)) == "revoked"
    rooms.caller = caller
    with pytest.raises(Refused) as refused:
        await rooms.admit("r2")
    assert refused.value.name == "revoked_key"
    assert await try_text(rooms, key_text(2)) == "ok"
    await declared(rooms, texts(alice=1, bob=2))
    assert await try_text(rooms, key_text(1)) == "ok"
    assert (await rooms.reread()).versions == caller.versions
    assert (await rooms.numbers("alice")).used["total"] == (5, 0, 0, 1)


async def test_with_no_key_left_all_stop_working(rooms):
    await declared(rooms, texts(alice=1, bob=2))
    await declared(rooms, {})
    assert [await state_of(rooms, key_text(number)) for number in (1, 2)] == ["revoked", "revoked"]
    assert await rooms.raw.smembers("{ag}:declared") == set()


async def test_a_new_text_under_the_same_name_ends_the_old_one(rooms):
    await declared(rooms, texts(alice=1))
    await declared(rooms, texts(alice=9))
    assert await try_text(rooms, key_text(1)) == "revoked_key"
    assert await try_text(rooms, key_text(9)) == "ok"
    assert await rooms.totals.key_names() == {parse(key_text(9)).kid: "alice"}


async def test_names_may_change_places(rooms):
    await declared(rooms, texts(alice=1, bob=2))
    await declared(rooms, texts(alice=2, bob=1))
    assert [await try_text(rooms, key_text(number)) for number in (1, 2)] == ["ok", "ok"]
    assert await rooms.totals.key_names() == {parse(key_text(2)).kid: "alice", parse(key_text(1)).kid: "bob"}


async def test_a_key_without_a_text_is_made_once(rooms):
    (made,) = await declared(rooms, MINTED)
    assert made.name == "made"
    assert made.text not in repr(made)
    assert await try_text(rooms, made.text) == "ok"
    for _ in range(2):
        assert await declared(rooms, MINTED) == []
        assert await try_text(rooms, made.text) == "ok"
    await declared(rooms, texts(alice=1))
    assert await try_text(rooms, made.text) == "revoked_key"
    assert await declared(rooms, MINTED) == []
    assert await try_text(rooms, made.text) == "ok"


async def test_gateways_that_start_at_once_make_one_key_between_them(rooms, url, open_rooms):
    async with open_rooms(url) as b, open_rooms(url) as c:
        for number in range(10):
            keys = {f"made{number}": Key(f"made{number}", "default"), **texts(alice=1)}
            found = await asyncio.gather(*(declared(one, keys) for one in (rooms, b, c, rooms, b, c)))
            (made,) = [minted for each in found for minted in each]
            assert await try_text(rooms, made.text) == "ok"
            assert await try_text(rooms, key_text(1)) == "ok"
            assert await rooms.raw.scard("{ag}:declared") == 2


async def test_gateways_that_declare_the_same_at_once_agree(rooms, url, open_rooms):
    async with open_rooms(url) as b:
        await asyncio.gather(*(one.declare(key=[Limit("usd", "day", 10)]) for one in (rooms, b) for _ in range(5)))
    after_all = await rooms.everything()
    await rooms.declare(key=[Limit("usd", "day", 10)])
    assert await rooms.everything() == after_all


async def test_models_and_upstreams_of_key_and_team_both_count(rooms):
    team = Team("default", models=("whisper-*",), upstreams=("one",))
    keys = {"alice": Key("alice", "default", key_text(), models=("*-1",), upstreams=("one", "two"))}
    await declared(rooms, keys, teams={"default": team})
    caller = await rooms.reread()
    assert [caller.may_use_model(model) for model in ("whisper-1", "tts-1", "whisper-2")] == [True, False, False]
    assert [caller.may_use_upstream(name) for name in ("one", "two")] == [True, False]


async def test_a_key_may_move_to_another_team(rooms):
    teams = {"default": Team("default"), "other": Team("other", models=("none",))}
    await declared(rooms, texts(alice=1), teams=teams)
    before = await rooms.reread()
    await declared(rooms, {"alice": Key("alice", "other", key_text())}, teams=teams)
    after = await rooms.reread()
    assert (after.team, after.models) == ("other", (("none",),))
    assert after.versions[0] != before.versions[0]


async def test_what_is_remembered_is_not_read_again_until_it_is_declared_or_wanted_fresh(rooms, url, open_rooms):
    caller = await rooms.declare()
    async with open_rooms(url) as elsewhere:
        await elsewhere.declare(revoked=True)
    assert await rooms.keys.find(caller.kid) is caller
    fresh = await rooms.keys.find(caller.kid, fresh=True)
    assert fresh is not None
    assert fresh.state == "revoked"
    assert await rooms.keys.find(caller.kid) is fresh
    await rooms.keys.declare(rooms.config())
    again = await rooms.keys.find(caller.kid)
    assert again is not None
    assert again.state == "active"


async def test_another_pepper_makes_every_key_wrong(rooms):
    await rooms.declare()
    assert digest(b"another pepper of thirty-two byte", key_text()) != rooms.caller.digest
    rooms.caller = replace(rooms.caller, digest=digest(b"another pepper of thirty-two byte", key_text()))
    with pytest.raises(Refused) as refused:
        await rooms.admit("r1")
    assert refused.value.name == "bad_key"


class Died(Exception):
    """The process ends here."""


async def test_a_key_is_told_as_soon_as_it_is_made_even_if_a_later_step_fails(rooms):
    told = []

    def tell(minted):
        told.append(minted.text)
        raise Died

    config = configured(Path("unused"), keys={"bob": Key("bob", "default")})
    with pytest.raises(Died):
        await rooms.keys.declare(config, tell=tell)
    assert await rooms.keys.declare(config) == [], "it was made, and told"
    caller = await rooms.keys.find(parse(told[0]).kid, fresh=True)
    assert caller is not None
    assert (caller.name, caller.digest) == ("bob", rooms.keys.digest(told[0]))


async def test_a_name_whose_key_has_no_record_gets_a_new_one(rooms):
    """As an older version left it when it died between the name and the record."""
    await rooms.raw.hset("{ag}:names", "bob", "0123456789")
    (minted,) = await rooms.keys.declare(configured(Path("unused"), keys={"bob": Key("bob", "default")}))
    assert await rooms.keys.find(parse(minted.text).kid, fresh=True) is not None


async def test_so_many_holders_are_remembered_and_no_more(rooms, monkeypatch):
    monkeypatch.setattr("gateway.store.keys.REMEMBERED", 2)
    await declared(rooms, texts(alice=1, bob=2, carol=3))
    kids = [parse(key_text(number)).kid for number in (1, 2, 3)]
    first = [await rooms.keys.find(kid) for kid in kids]
    again = [await rooms.keys.find(kid) for kid in reversed(kids)]
    assert [one is two for one, two in zip(reversed(first), again, strict=True)] == [True, True, False]


@pytest.mark.parametrize("hours", [-48.0, 0.0, 48.0])
async def test_G_5_whether_a_key_has_expired_goes_by_the_stores_clock(rooms, hours):
    (began, _), shown = await rooms.connection.client.time(), parse(key_text())
    for ahead, name in ((3600, ""), (-3600, "expired_key")):
        await rooms.declare(expires=float(began + ahead))
        for fresh in (True, False):
            try:
                await rooms.keys.holder(shown, now=began + 3600 * hours, peer="", fresh=fresh)
                found = ""
            except Refused as refusal:
                found = refusal.name
            assert found == name
