"""Admission: who is let in, what is reserved for it, and what a refusal says."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from gateway.config.model import Team
from gateway.errors import Refused
from gateway.policy.limits import Amounts, Limit
from gateway.store.limits import LEASE_MS, Admission, Offer, Stale

PLACES = {"usd": "usd", "audio_seconds": "ms", "characters": "characters"}
LEAP_NIGHT = datetime(2024, 2, 29, 23, 17, 42, 250_000, UTC)
TO_MIDNIGHT = 42 * 60 + 17.75
WAITS = {"minute": 17.75, "hour": TO_MIDNIGHT, "day": TO_MIDNIGHT, "month": TO_MIDNIGHT, "total": None}


def limit(text: str, amount: int) -> Limit:
    """`usd/day` and an amount in store units."""
    measure, _, per = text.partition("/")
    return Limit(measure, per, amount)


def told(admission: Admission) -> tuple[str, int, int, int]:
    """What the caller is told of its requests."""
    return admission.upstream, admission.limit, admission.remaining, admission.reset_ms


async def refusal(asked) -> Refused:
    with pytest.raises(Refused) as refused:
        await asked
    return refused.value


async def test_an_unknown_key_is_refused_and_leaves_nothing(rooms):
    caller = await rooms.declare()
    rooms.caller = replace(caller, kid="0123456789")
    before = await rooms.everything()
    assert (await refusal(rooms.admit("r1"))).name == "bad_key"
    assert await rooms.everything() == before


async def test_a_right_id_with_a_wrong_secret_is_refused(rooms):
    caller = await rooms.declare()
    before = await rooms.everything()
    for digest in ("", "0" * 64, caller.digest[:-1], caller.digest.upper()):
        rooms.caller = replace(caller, digest=digest)
        assert (await refusal(rooms.admit("r1"))).name == "bad_key"
    assert await rooms.everything() == before


@pytest.mark.parametrize("peek", [False, True])
async def test_a_revoked_key_is_refused_to_those_who_remember_it_as_active(rooms, peek):
    remembered = await rooms.declare()
    await rooms.declare(revoked=True)
    before = await rooms.everything()
    rooms.caller = remembered
    assert (await refusal(rooms.admit("r1", peek=peek))).name == "revoked_key"
    assert await rooms.everything() == before


async def test_a_key_is_good_until_its_last_millisecond(rooms):
    await rooms.declare(expires=1_750_000_000.0)
    rooms.connection.now_ms = 1_750_000_000_000 - 1
    assert (await rooms.admit("r1")).upstream == "one"
    rooms.connection.now_ms += 1
    before = await rooms.everything()
    assert (await refusal(rooms.admit("r2"))).name == "expired_key"
    assert await rooms.everything() == before


@pytest.mark.parametrize("place", [0, 1], ids=["key", "team"])
async def test_a_record_read_before_it_changed_is_stale(rooms, place):
    caller = await rooms.declare()
    versions = list(caller.versions)
    versions[place] = "older"
    rooms.caller = replace(caller, versions=(versions[0], versions[1]))
    before = await rooms.everything()
    with pytest.raises(Stale):
        await rooms.admit("r1")
    assert await rooms.everything() == before


async def test_a_change_of_the_team_alone_makes_its_keys_stale(rooms):
    before = await rooms.declare()
    config = rooms.config()
    await rooms.keys.declare(replace(config, teams={"default": Team("default", models=("tts-*",))}))
    rooms.caller = before
    with pytest.raises(Stale):
        await rooms.admit("r1")
    assert (await rooms.reread()).models == (("tts-*",),)
    await rooms.admit("r1")


@pytest.mark.parametrize("scope", ["key", "team", "upstream"])
@pytest.mark.parametrize("per", list(WAITS))
@pytest.mark.parametrize("measure", list(PLACES))
async def test_an_amount_fits_to_the_unit_and_not_beyond(rooms, scope, measure, per):
    rooms.connection.now_ms = int(LEAP_NIGHT.timestamp() * 1000)
    await rooms.declare(**{scope: [Limit(measure, per, 10)]})
    await rooms.admit("r1", **{PLACES[measure]: 6})
    before = await rooms.everything()
    refused = await refusal(rooms.admit("r2", **{PLACES[measure]: 5}))
    assert await rooms.everything() == before
    assert refused.name == ("rate_limit" if per in ("minute", "hour") else "quota")
    assert refused.words["scope"] == {"key": "key alice", "team": "team default", "upstream": "upstream one"}[scope]
    shown = {"usd": ("0.00001", "0.000006", "0.000005"), "audio_seconds": ("0.01", "0.006", "0.005")}
    expected = shown.get(measure, ("10", "6", "5"))
    assert (refused.words["limit"], refused.words["used"], refused.words["asked"]) == expected
    assert str(refused.words["what"]).endswith(" in all" if per == "total" else f" per {per}")
    assert refused.retry_after == WAITS[per]
    await rooms.admit("r3", **{PLACES[measure]: 4})
    assert (await refusal(rooms.admit("r4", **{PLACES[measure]: 1}))).name == refused.name
    await rooms.admit("r5")


@pytest.mark.parametrize("scope", ["key", "team", "upstream"])
@pytest.mark.parametrize("per", ["day", "month", "total"])
async def test_requests_are_counted(rooms, scope, per):
    rooms.connection.now_ms = int(LEAP_NIGHT.timestamp() * 1000)
    await rooms.declare(**{scope: [Limit("requests", per, 2)]})
    await rooms.admit("r1")
    await rooms.admit("r2")
    assert (await refusal(rooms.admit("r3"))).retry_after == WAITS[per]
    await rooms.settle("r1", requests=0)
    await rooms.admit("r3")
    await rooms.settle("r2")
    assert (await refusal(rooms.admit("r4"))).retry_after == WAITS[per], "what was used counts like what is reserved"


@pytest.mark.parametrize("scope", ["key", "team", "upstream"])
@pytest.mark.parametrize(("per", "wait"), [("minute", 30.0), ("hour", 1800.0)])
async def test_requests_per_minute_and_hour_flow(rooms, scope, per, wait):
    rooms.connection.now_ms = int(LEAP_NIGHT.timestamp() * 1000)
    await rooms.declare(**{scope: [Limit("requests", per, 2)]})
    await rooms.admit("r1")
    await rooms.admit("r2")
    before = await rooms.everything()
    refused = await refusal(rooms.admit("r3"))
    assert await rooms.everything() == before
    assert (refused.name, refused.retry_after) == ("rate_limit", wait), "no window has to end: half of it is one of two"
    assert (refused.words["limit"], refused.words["used"], refused.words["asked"]) == ("2", "2", "1")
    await rooms.settle("r1", requests=0)
    assert (await refusal(rooms.admit("r3"))).retry_after == wait, "it came, whatever became of it"
    rooms.connection.now_ms += int(wait * 1000)
    await rooms.admit("r3")
    assert (await refusal(rooms.admit("r4"))).retry_after == wait


@pytest.mark.parametrize("scope", ["key", "team", "upstream"])
async def test_no_more_than_so_many_at_once(rooms, scope):
    await rooms.declare(**{scope: [Limit("concurrency", "", 2)]})
    await rooms.admit("r1")
    await rooms.admit("r2")
    before = await rooms.everything()
    refused = await refusal(rooms.admit("r3"))
    assert await rooms.everything() == before
    assert (refused.name, refused.retry_after, refused.words["what"]) == ("rate_limit", 1.0, "requests at once")
    assert (refused.words["limit"], refused.words["used"]) == ("2", "2")
    await rooms.settle("r1", requests=0)
    await rooms.admit("r3")
    assert (await rooms.numbers(dict(key="alice", team="default", upstream="one")[scope])).flying == 2


async def test_the_first_candidate_with_room_wins_at_its_own_price(rooms):
    await rooms.declare(key=[limit("usd/day", 100)], upstream=[limit("requests/day", 1)])
    await rooms.admit("r0", usd=1)
    offers = [Offer("one", Amounts(usd=1)), Offer("two", Amounts(usd=100)), Offer("three", Amounts(usd=99, ms=7))]
    assert (await rooms.admit("r1", offers=offers)).upstream == "three"
    assert (await rooms.numbers("one")).reserved == (1, 0, 0, 1)
    assert (await rooms.numbers("two")).reserved == (0, 0, 0, 0)
    assert (await rooms.numbers("three")).reserved == (99, 7, 0, 1)
    for scope in ("alice", "default"):
        found = await rooms.numbers(scope)
        assert (found.reserved, found.flying) == ((100, 7, 0, 2), 2)


async def test_when_all_are_full_the_one_that_gives_way_first_is_named(rooms):
    rooms.connection.now_ms = int(LEAP_NIGHT.timestamp() * 1000)
    full = {"one": "total", "two": "month", "three": "minute"}
    limits = {name: (Limit("requests", per, 1),) for name, per in full.items()}
    await rooms.keys.declare(replace(rooms.config(), upstream_limits=limits))
    await rooms.reread()
    for name in full:
        await rooms.admit(f"fill {name}", name)
    before = await rooms.everything()
    waits = {"three": 60.0, "two": WAITS["month"]}
    for names, named in [(("one", "two", "three"), "three"), (("three", "two"), "three"), (("one", "two"), "two")]:
        refused = await refusal(rooms.admit("r1", *names))
        assert refused.name == {"three": "rate_limit", "two": "quota"}[named]
        assert (refused.words["scope"], refused.retry_after) == (f"upstream {named}", waits[named])
    assert (await refusal(rooms.admit("r1", "one"))).retry_after is None
    assert await rooms.everything() == before


async def test_the_same_request_asked_again_reserves_once(rooms):
    rooms.connection.now_ms = int(LEAP_NIGHT.timestamp() * 1000)
    await rooms.declare(key=[limit("requests/day", 5), limit("usd/day", 10)])
    first = await rooms.admit("r1", "one", "two", usd=10)
    before = await rooms.everything()
    assert [await rooms.admit("r1", "one", "two", usd=10) for _ in range(3)] == [first] * 3
    assert await rooms.everything() == before
    assert told(first) == ("one", 5, 4, 2_537_750)
    await asyncio.gather(*(rooms.admit("r2", usd=0) for _ in range(20)))
    found = await rooms.numbers("alice")
    assert (found.flying, found.reserved) == (2, (10, 0, 0, 2))


async def test_a_peek_reserves_nothing_and_is_refused_like_a_request(rooms):
    await rooms.declare(key=[limit("usd/day", 10)])
    before = await rooms.everything()
    assert (await rooms.admit("r1", peek=True, usd=10)).upstream == "one"
    assert (await refusal(rooms.admit("r1", peek=True, usd=11))).name == "over_limit"
    assert await rooms.everything() == before
    await rooms.admit("r1", usd=1)
    before = await rooms.everything()
    assert (await refusal(rooms.admit("r2", peek=True, usd=10))).name == "quota"
    assert await rooms.everything() == before


async def test_a_request_that_is_more_than_a_limit_is_not_told_to_wait(rooms):
    await rooms.declare(key=[limit("characters/minute", 10)])
    refused = await refusal(rooms.admit("r1", characters=11))
    assert (refused.name, refused.retry_after) == ("over_limit", None)


async def test_what_is_left_is_told_of_the_tightest_limit_on_requests(rooms):
    rooms.connection.now_ms = int(LEAP_NIGHT.timestamp() * 1000)
    await rooms.declare(
        key=[limit("usd/day", 100), limit("requests/minute", 5), limit("requests/total", 9)],
        team=[limit("requests/hour", 4)],
        upstream=[limit("requests/minute", 3)],
    )
    quarter = 900_000
    assert told(await rooms.admit("peek", peek=True)) == ("one", 4, 4, 0)
    assert told(await rooms.admit("r1")) == ("one", 4, 3, quarter), "one of four an hour comes back in a quarter"
    assert await rooms.settle("r1")
    assert told(await rooms.admit("r2")) == ("one", 4, 2, 2 * quarter)
    rooms.connection.now_ms += quarter + 1
    assert told(await rooms.admit("peek", peek=True)) == ("one", 4, 3, quarter - 1)
    rooms.connection.now_ms += quarter
    assert told(await rooms.admit("peek", peek=True)) == ("one", 4, 4, 0), "it is full, though r2 is still reserved"
    await rooms.declare(key=[limit("requests/total", 9)])
    assert told(await rooms.admit("peek", peek=True)) == ("one", 9, 7, -1)
    await rooms.declare()
    assert told(await rooms.admit("peek", peek=True)) == ("one", -1, -1, -1)


async def test_the_window_of_which_the_team_has_least_left_is_told(rooms):
    await rooms.declare(key=[limit("usd/day", 100)])
    admission = await rooms.admit("r0")
    assert (admission.team_window, admission.team_remaining) == ("", 1.0)
    await rooms.declare(team=[limit("requests/month", 8), limit("usd/day", 1000), limit("characters/total", 10)])
    admission = await rooms.admit("r1", usd=250)
    assert (admission.team_window, admission.team_remaining) == ("month", 0.75), "r0 counts as well, ties go by order"
    admission = await rooms.admit("r2", usd=100, characters=10)
    assert (admission.team_window, admission.team_remaining) == ("total", 0.0)
    await rooms.settle("r1", usd=750)
    await rooms.settle("r2", requests=0, usd=0)
    admission = await rooms.admit("peek", peek=True, usd=250)
    assert (admission.team_window, admission.team_remaining) == ("day", 0.25)


async def test_a_reservation_is_leased_from_the_server_s_clock(rooms):
    await rooms.declare()
    rooms.connection.now_ms = int(LEAP_NIGHT.timestamp() * 1000)
    await rooms.admit("r1")
    assert await rooms.raw.zrange("{ag}:leases", 0, -1, withscores=True) == [
        (b"r1", rooms.connection.now_ms + LEASE_MS)
    ]
    assert await rooms.raw.hkeys("{ag}:held") == [b"r1"]


NO_AMOUNTS = [-1, -0.5, 0.5, 1.5, 2**53, 2**63, 1e308, float("nan"), float("inf"), float("-inf")]


@pytest.mark.parametrize("bad", NO_AMOUNTS)
@pytest.mark.parametrize("field", ["usd", "ms", "characters"])
async def test_Q_14_what_is_no_amount_is_refused_before_anything_is_written(rooms, field, bad):
    await rooms.declare()
    await rooms.admit("r1", usd=10)
    good, wrong = Amounts(usd=1), Amounts(**{field: bad})
    before = await rooms.everything()
    for offers in ([Offer("two", wrong)], [Offer("two", good), Offer("three", wrong)]):
        assert (await refusal(rooms.admit("r2", offers=offers))).name == "store_down"
        assert (await refusal(rooms.switch("r1", "one", offers=offers))).name == "store_down"
    spent = rooms.limits.switch("r1", rooms.caller, held="one", offers=[Offer("two", good)], spent=wrong)
    assert (await refusal(spent)).name == "store_down"
    assert await rooms.everything() == before


async def test_the_largest_amount_is_kept_to_the_unit(rooms):
    await rooms.declare()
    most = 2**53 - 1
    await rooms.admit("r1", usd=most, ms=most)
    assert (await rooms.numbers("alice")).reserved == (most, most, 0, 1)
    await rooms.settle("r1", usd=most, ms=0, sums={"usd": most})
    assert (await rooms.numbers("alice")).used["total"] == (most, 0, 0, 1)
    assert list((await rooms.raw.hgetall("{ag}:day:20231114")).values()) == [str(most).encode()]
