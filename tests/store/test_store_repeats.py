"""Claims of Idempotency-Keys in the store: who has one, what becomes of it, and how long it is kept."""

import asyncio

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from gateway.errors import Refused
from gateway.store import repeats as room
from gateway.store.repeats import KEPT_SECONDS, MOST_ASKED, Found, Mine, Repeats
from tests.store.conftest import BEGAN, refused

LEASE = 660.0
ANSWER = (200, (("content-type", "audio/mpeg"),), bytes(range(256)))


class Claims:
    """Claims of alice under the name `n1`. `requests` share it."""

    def __init__(self, rooms) -> None:
        self.rooms, self.repeats = rooms, Repeats(rooms.connection)

    def mine(self, rid: str, name: str = "n1") -> Mine:
        return Mine(self.repeats.place(self.rooms.caller, name), rid, f"token-of-{rid}")

    async def claim(self, rid: str, name: str = "n1") -> Found:
        return await self.repeats.claim(self.mine(rid, name), lease=LEASE)

    async def body(self) -> bytes | None:
        return await self.repeats.body(self.mine("r").place)

    async def keep(self, rid: str = "r1", name: str = "n1", answer=ANSWER) -> bool:
        return await self.repeats.keep(self.mine(rid, name), answer, print_="print")

    def later(self, seconds: float) -> None:
        self.rooms.connection.now_ms += int(seconds * 1000)


@pytest.fixture
async def claims(rooms) -> Claims:
    await rooms.declare()
    rooms.connection.now_ms = int(BEGAN * 1000)
    return Claims(rooms)


async def test_the_first_one_has_it_and_others_wait(claims):
    assert await claims.claim("r1") == Found("mine", "token-of-r1")
    assert await claims.claim("r2") == Found("under_way")
    assert await claims.claim("r1") == Found("mine", "token-of-r1"), "asking twice is free"
    assert (await claims.claim("r3", "n2")).state == "mine"


async def test_of_many_at_once_one_has_it(claims):
    found = await asyncio.gather(*(claims.claim(f"r{number}") for number in range(50)))
    assert sorted(one.state for one in found) == ["mine"] + ["under_way"] * 49


async def test_what_was_not_served_is_free_again(claims):
    await claims.claim("r1")
    before = await claims.rooms.everything()
    await claims.repeats.free(claims.mine("r2"))
    assert await claims.rooms.everything() == before, "it is not theirs"
    await claims.repeats.free(claims.mine("r1"))
    assert not any(b":once:" in name for name in await claims.rooms.everything())
    assert (await claims.claim("r2")).state == "mine"


async def test_an_answer_is_kept_with_all_its_bytes(claims):
    await claims.claim("r1")
    assert await claims.keep()
    assert await claims.keep(), "asking twice is free"
    found = await claims.claim("r2")
    assert found == Found("kept", "token-of-r1", "print", "r1", "", 200, ANSWER[1], found.size)
    assert found.size >= 256
    assert await claims.body() == ANSWER[2]
    await claims.repeats.free(claims.mine("r1"))
    await claims.repeats.lose(claims.mine("r1"), "broken", print_="")
    assert (await claims.claim("r3")).state == "kept", "what is kept stays"


async def test_what_is_lost_is_never_claimed_again(claims):
    await claims.claim("r1")
    await claims.repeats.lose(claims.mine("r1"), "broken", print_="print")
    assert await claims.claim("r2") == Found("lost", "token-of-r1", "print", "r1", "broken")
    claims.later(KEPT_SECONDS - 1)
    assert (await claims.claim("r3")).state == "lost"


async def test_a_gateway_that_died_may_have_served_it(claims):
    await claims.claim("r1")
    claims.later(LEASE - 1)
    assert (await claims.claim("r2")).state == "under_way"
    claims.later(1)
    assert await claims.claim("r2") == Found("lost", "token-of-r1", "", "r1", "gone")
    assert await claims.keep(), "it was only taken for dead"
    assert (await claims.claim("r3")).state == "kept"


async def test_a_claim_that_the_store_has_lost_is_written_anew(claims):
    await claims.claim("r1")
    for name in await claims.rooms.raw.keys("{ag}:once:*"):
        await claims.rooms.raw.unlink(name)
    assert await claims.keep()
    assert (await claims.claim("r2")).token == "token-of-r1"


async def test_an_answer_is_given_so_often_and_no_more(claims):
    await claims.claim("r1")
    await claims.keep()
    for _ in range(MOST_ASKED):
        assert (await claims.claim("r2")).state == "kept"
    assert (await claims.claim("r2")).why == "asked"
    assert await claims.body() is None
    assert (await claims.claim("r2")).state == "lost"


@pytest.mark.parametrize("bound", ["KEY_BYTES", "ALL_BYTES"])
async def test_what_is_kept_has_a_bound_and_makes_room_after_a_day(claims, monkeypatch, bound):
    monkeypatch.setattr(room, bound, 1000)
    answer = (200, (), b"x" * 400)
    for number, kept in enumerate((True, True, False)):
        await claims.claim(f"r{number}", f"n{number}")
        assert await claims.keep(f"r{number}", f"n{number}", answer) == kept
    assert (await claims.claim("r9", "n2")).why == "full"
    claims.later(KEPT_SECONDS + 3600)
    await claims.claim("r4", "n4")
    assert await claims.keep("r4", "n4", answer)


async def test_everything_expires(claims):
    await claims.claim("r1")
    await claims.claim("r2", "n2")
    await claims.keep()
    found = {name: expires for name, (_, expires) in (await claims.rooms.everything()).items()}
    ours = {name: expires for name, expires in found.items() if b":once:" in name or b":kept" in name}
    assert len(ours) == 4
    assert all(expires > 0 for expires in ours.values())
    assert all(b"n1" not in name for name in ours), "what callers make up is in no name"


async def test_keys_have_claims_of_their_own(claims, monkeypatch):
    await claims.claim("r1")
    other = claims.repeats.place(claims.rooms.caller, "n1")
    bob = Mine(type(other)(other.shard, "bobs", other.name), "r2", "token")
    assert (await claims.repeats.claim(bob, lease=LEASE)).state == "mine"


@pytest.mark.parametrize("script", ["claim", "finish"])
@pytest.mark.parametrize("bad", ["", "seven", "1.5", "-1"])
async def test_a_bad_number_changes_nothing(claims, script, bad):
    await claims.claim("r1")
    keys = [claims.mine("r1").place.key, "{ag}:kept:kid", "{ag}:kept"]
    told = {
        "claim": (keys[:1], ["r1", "t", bad, 1, 1]),
        "finish": (keys, ["r1", "t", "kept", 1, "", "", 200, "[]", "body", bad, 1]),
    }
    before = await claims.rooms.everything()
    assert await refused(claims.rooms, script, *told[script])
    assert await claims.rooms.everything() == before


async def test_the_store_is_away(claims, monkeypatch):
    async def away(*args):
        raise RedisConnectionError("away")

    monkeypatch.setattr(claims.rooms.connection, "_evaluate", away)
    monkeypatch.setattr(claims.rooms.connection.client, "hget", away)
    with pytest.raises(Refused, match="store_down"):
        await claims.claim("r1")
    with pytest.raises(Refused, match="store_down"):
        await claims.keep()
    with pytest.raises(Refused, match="store_down"):
        await claims.body()
