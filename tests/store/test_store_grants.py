"""Parts of an upstream's limit that shards draw: noted once, and drawn for the window that they are used in."""

import pytest

from gateway.errors import Refused
from gateway.metrics import Metrics
from gateway.policy.limits import Amounts, Limit
from gateway.store.limits import Offer
from gateway.store.shards import SIXTEEN
from tests.store.conftest import Timed
from tests.store.test_store_shards import TEAMS, Sharded, config, rid, sharded
from tests.wires import wired

BUDGET = 32_000
GRANTED = b"$2\r\nok\r\n"  # all that is answered when a grant was noted
USED = "return cmsgpack.unpack(redis.call('HGET', KEYS[1], 's'))[tonumber(ARGV[1])]"
MINUTE, TOTAL = 11, 27  # where scope.lua keeps the micro-USD used of these


async def test_a_grant_whose_answer_is_lost_is_noted_once(url: str) -> None:
    async with wired(url) as wire, sharded(wire.url) as gateway:
        await gateway.keys.declare(config(Limit("usd", "total", BUDGET)))
        served = refused = 0
        for number in range(4 * len(TEAMS)):
            eaten = wire.eaten
            wire.eats = lambda data, eaten=eaten: wire.eaten == eaten and data == GRANTED  # type: ignore[misc]
            try:
                await gateway.request(rid(number), TEAMS[number % len(TEAMS)], most=500, used=500)
            except Refused:
                refused += 1
            else:
                served += 500
        assert wire.eaten >= 16
        assert refused
        assert BUDGET * 0.8 <= served <= BUDGET
        client = gateway.connection.client
        used = [await client.eval(USED, 1, f"{tag}:u:one", TOTAL) for tag in SIXTEEN if await known(gateway, tag)]
        assert sum(map(int, used)) == served <= int(await client.eval(USED, 1, "{ag}:u:one", TOTAL)) <= BUDGET


async def known(gateway: Sharded, tag: str) -> bool:
    return bool(await gateway.connection.client.hexists(f"{tag}:u:one", "s"))


@pytest.mark.parametrize(("all_of_them", "shards"), [(500, -500), (-500, 500)])
async def test_nothing_is_drawn_for_a_window_in_which_it_is_not_used(url: str, all_of_them: int, shards: int) -> None:
    """The clocks of two nodes of a cluster differ by a second, at the end of a minute."""
    connection = Timed(url, Metrics(models=(), teams=()), timeout=5, shards=16)
    gateway, boundary = Sharded(connection), 1_700_000_040_000
    try:
        connection.now_ms = boundary
        await gateway.keys.declare(config(Limit("usd", "minute", 100_000)))
        connection.now_ms = boundary + all_of_them
        told(connection, boundary + shards)
        for number in range(5):
            with pytest.raises(Refused) as refused:
                await admitted(gateway, number)
            assert refused.value.name == "rate_limit", "grace must not let it go as if nobody had answered"
        assert int(await connection.client.eval(USED, 1, "{ag}:u:one", MINUTE)) == 0
        connection.now_ms = boundary + 3000
        told(connection, boundary + 3000)
        for number in range(5):
            assert await admitted(gateway, number) == "one"
    finally:
        await connection.close()


def told(connection: Timed, now_ms: int) -> None:
    """What the shards' clocks show."""
    for shard in connection.shards:
        assert isinstance(shard, Timed)
        shard.now_ms = now_ms


async def admitted(gateway: Sharded, number: int) -> str:
    caller, presented = await gateway.who(TEAMS[number])
    offers = [Offer("one", Amounts(usd=100))]
    return (await gateway.limits.admit(rid(number), caller, presented, offers=offers)).upstream
