"""Sixteen shards: teams apart, and an upstream's limits, which all of them draw from, never exceeded."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from redis.crc import key_slot

from gateway.config.model import Config, Key, Team
from gateway.errors import Refused, SetupError
from gateway.metrics import Metrics
from gateway.policy.keys import Caller, Presented, parse
from gateway.policy.limits import Amounts, Limit
from gateway.store.connection import Connection
from gateway.store.keys import Keys
from gateway.store.leases import Leases
from gateway.store.limits import Limits, Offer
from gateway.store.register import Register
from gateway.store.shards import SIXTEEN, place
from gateway.store.usage import Settlement, Usage
from tests.running import PEPPER, configured, key_text
from tests.servers import ENGINES, clustered

TEAMS = [f"team-{number}" for number in range(48)]


def config(*limits: Limit, team: Sequence[Limit] = ()) -> Config:
    """48 teams with a key each; `limits` are those of the upstream `one`."""
    return configured(
        Path("unused"),
        keys={name: Key(name, name, key_text(number)) for number, name in enumerate(TEAMS, 1)},
        teams={name: Team(name, limits=tuple(team)) for name in TEAMS},
        upstream_limits={"one": limits, "two": ()},
    )


class Sharded:
    """The rooms of one gateway on a store of 16 shards."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.keys = Keys(connection, pepper=PEPPER)
        self.limits, self.usage, self.leases = Limits(connection), Usage(connection), Leases(connection)

    async def who(self, team: str) -> tuple[Caller, Presented]:
        presented = parse(key_text(TEAMS.index(team) + 1))
        caller = await self.keys.find(presented.kid)
        assert caller is not None
        return caller, presented

    async def request(self, rid: str, team: str, *, most: int, used: int, upstreams: Sequence[str] = ("one",)) -> str:
        caller, presented = await self.who(team)
        offers = [Offer(name, Amounts(usd=most)) for name in upstreams]
        admission = await self.limits.admit(rid, caller, presented, offers=offers)
        amounts = Amounts(usd=used)
        sums = {"requests": 1, "usd": used}
        record = json.dumps(["id", rid])
        one = Settlement(
            rid, caller.kid, team, "m", admission.upstream, "speech", 1.7e9, amounts, amounts, sums, record
        )
        assert await self.usage.settle(one)
        return admission.upstream


@asynccontextmanager
async def sharded(url: str, count: int = 16) -> AsyncIterator[Sharded]:
    connection = Connection(url, Metrics(models=(), teams=()), timeout=5, shards=count)
    try:
        yield Sharded(connection)
    finally:
        await connection.close()


def rid(number: int) -> str:
    return f"req_{number:032x}"


def test_the_slots_of_the_tags_lie_evenly_apart() -> None:
    slots = [key_slot(tag.strip("{}").encode()) for tag in SIXTEEN]
    assert [slot // 1024 for slot in slots] == list(range(16))
    assert all(abs(slot % 1024 - 512) < 100 for slot in slots)
    assert len({place(team, 16) for team in TEAMS}) > 12, "teams are spread"


async def test_a_quota_that_all_shards_draw_from_is_never_exceeded_and_nearly_used_up(url: str) -> None:
    budget = 5_000_000
    done: Counter[str] = Counter()

    async def one(gateway: Sharded, number: int) -> None:
        team = TEAMS[int(len(TEAMS) * ((number * 0.618) % 1) ** 3)]  # uneven load
        with suppress(Refused):
            await gateway.request(rid(number), team, most=1000, used=1000)
            done["usd"] += 1000
            return
        done["refused"] += 1

    async with sharded(url) as first, sharded(url) as second:
        await first.keys.declare(config(Limit("usd", "day", budget)))
        for start in range(0, 6000, 50):
            await asyncio.gather(*(one((first, second)[n % 2], n) for n in range(start, start + 50)))
        assert done["refused"] >= 1000
        assert budget * 0.9 <= done["usd"] <= budget
        client = first.connection.client
        text = "return cmsgpack.unpack(redis.call('HGET', KEYS[1], 's'))[19]"
        granted = int(await client.eval(text, 1, "{ag}:u:one"))
        used = [await client.eval(text, 1, f"{tag}:u:one") for tag in SIXTEEN if await client.exists(f"{tag}:u:one")]
        assert sum(map(int, used)) == done["usd"] <= granted <= budget


async def test_what_was_underestimated_is_drawn_later(url: str) -> None:
    async with sharded(url) as gateway:
        await gateway.keys.declare(config(Limit("usd", "total", 10_000)))
        await gateway.request(rid(1), TEAMS[0], most=1000, used=4000)
        for number in range(2, 8):
            await gateway.request(rid(number), TEAMS[0], most=1000, used=1000)
        with pytest.raises(Refused):  # 10,000 are used by now
            await gateway.request(rid(8), TEAMS[0], most=1000, used=1000)


async def test_rates_and_requests_at_once_are_divided(url: str) -> None:
    async with sharded(url) as gateway:
        await gateway.keys.declare(config(Limit("requests", "minute", 32), Limit("concurrency", "", 16)))
        caller, presented = await gateway.who(TEAMS[0])
        offers = [Offer("one", Amounts())]
        await gateway.limits.admit(rid(1), caller, presented, offers=offers)
        with pytest.raises(Refused) as refused:
            await gateway.limits.admit(rid(2), caller, presented, offers=offers)
        assert refused.value.words["what"] == "requests at once"


async def test_a_shard_without_a_part_goes_on_to_the_next_upstream(url: str) -> None:
    async with sharded(url) as gateway:
        await gateway.keys.declare(config(Limit("usd", "total", 1000)))
        assert await gateway.request(rid(1), TEAMS[0], most=1000, used=1000, upstreams=("one", "two")) == "one"
        assert await gateway.request(rid(2), TEAMS[1], most=1000, used=1000, upstreams=("one", "two")) == "two"


async def test_keys_and_teams_are_found_in_all_shards(url: str) -> None:
    async with sharded(url) as gateway:
        await gateway.keys.declare(config(team=[Limit("usd", "total", 5000)]))
        await gateway.keys.declare(config(team=[Limit("usd", "total", 5000)]))
        register = Register(gateway.connection, config(), pepper=PEPPER, door="cli")
        assert len(await register.roll.keys()) == len(await register.roll.teams()) == 48
        made = await register.make_team(Team("made"))
        assert made.team.name == "made"
        key = await register.make_key(Key("bob", "made"))
        assert key.record.key.team == "made"
        with pytest.raises(Refused, match="taken"):
            await register.make_key(Key("bob", TEAMS[0]))
        other = next(team for team in TEAMS if place(team, 16) != place("made", 16))
        with pytest.raises(Refused, match="another shard"):
            await register.change_key("bob", lambda one: Key("bob", other))
        assert (await register.revoke_key("bob")).state == "revoked"
        await gateway.request(rid(1), TEAMS[3], most=1000, used=700)
        (standing,) = await register.roll.team_standing(TEAMS[3])
        assert (standing.used, standing.limit.amount) == (700, 5000)
        deeds = await register.roll.audit(1000)
        assert [deed.id for deed in deeds] == sorted((d.id for d in deeds), key=_order, reverse=True)
        assert {"keys.create", "teams.create", "keys.revoke", "teams.declare"} <= {deed.action for deed in deeds}


def _order(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split("-")))


async def test_a_key_cannot_go_to_another_shard_with_its_budget(url: str) -> None:
    other = next(team for team in TEAMS if place(team, 16) != place(TEAMS[0], 16))
    async with sharded(url) as gateway:
        await gateway.keys.declare(config())
        for text in (key_text(1), None):
            keys = {**config().keys, TEAMS[0]: Key(TEAMS[0], other, text)}
            with pytest.raises(SetupError, match="another shard"):
                await gateway.keys.declare(Config(**{**_fields(config()), "keys": keys}))
        without = {name: key for name, key in config().keys.items() if name != TEAMS[0]}
        await gateway.keys.declare(Config(**{**_fields(config()), "keys": without}))
        await gateway.keys.declare(Config(**{**_fields(config()), "keys": {**without, "new": Key("new", other)}}))
        caller, _ = await gateway.who(TEAMS[0])
        assert caller.state == "revoked"


def _fields(one: Config) -> dict[str, object]:
    return {name: getattr(one, name) for name in Config.__slots__}


async def test_the_dead_are_reaped_and_the_living_renewed_in_every_shard(url: str) -> None:
    async with sharded(url) as gateway:
        await gateway.keys.declare(config())
        running = {}
        for number, team in enumerate(TEAMS[:12]):
            caller, presented = await gateway.who(team)
            await gateway.limits.admit(rid(number), caller, presented, offers=[Offer("one", Amounts(usd=5))])
            running[rid(number)] = caller
        assert set((await gateway.leases.renew(running)).values()) == {"active"}
        for shard in gateway.connection.shards:
            for name in await shard.client.zrange(shard.name("leases"), 0, -1):
                await shard.client.zadd(shard.name("leases"), {name: 1})
        assert {one.rid for one in await gateway.leases.reap("charge")} == set(running)
        assert await gateway.leases.reap("charge") == []


async def test_the_number_of_shards_cannot_be_changed(url: str) -> None:
    async with sharded(url) as gateway, sharded(url, 1) as other:
        await gateway.keys.declare(config())
        with pytest.raises(SetupError, match="shards: 16"):
            await other.keys.declare(config())


async def test_R_10_on_three_nodes_of_a_cluster_every_shard_is_served_by_its_own() -> None:
    async with clustered(ENGINES[0]) as cluster, sharded(cluster.url) as gateway:
        await gateway.keys.declare(config(Limit("usd", "day", 40_000)))
        done: Counter[str] = Counter()

        async def one(number: int) -> None:
            with suppress(Refused):
                await gateway.request(rid(number), TEAMS[number % 48], most=100, used=100)
                done["usd"] += 100

        for start in range(0, 480, 24):
            await asyncio.gather(*(one(number) for number in range(start, start + 24)))
        assert 30_000 <= done["usd"] <= 40_000
        served = [await node.ask("DBSIZE") for node in cluster.masters]
        assert all(isinstance(count, int) and count > 20 for count in served), served
        charged = 0
        for shard in gateway.connection.shards:
            for _, fields in await shard.client.xrange(shard.name("usage")):
                charged += fields["id"].startswith("req_")
        assert charged * 100 == done["usd"]
        assert len((await gateway.connection.run_id()).split()) == 16
        assert len(set((await gateway.connection.run_id()).split())) == 3
