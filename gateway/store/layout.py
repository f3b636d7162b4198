"""Whether this version, and a configuration, fit what a store was set up with.

LAYOUT is raised when keys of the store change their meaning, such that a gateway that does not know would read or write
something wrong. What only adds keys or fields does not raise it: then versions may serve side by side.
"""

from typing import cast

from gateway.config.model import Config, Key
from gateway.errors import SetupError
from gateway.policy.keys import parse
from gateway.store.connection import Connection

LAYOUT = 1
# Writes the number down where there is a lower one or none; returns the one that was there, "" for none.
_MARK = """
local found = redis.call('GET', KEYS[1])
if not found or tonumber(found) < tonumber(ARGV[1]) then redis.call('SET', KEYS[1], ARGV[1]) end
return found or ''
"""


async def check_layout(connection: Connection, *, mark: bool = False) -> None:
    """Raises SetupError where a newer version has laid the store out anew, Refused (503).

    `mark`: this version is going to serve, and older ones must not any more where it lays things out anew.
    """
    client, name = connection.client, connection.name("layout")
    async with connection.asking("names"):
        found = int(str((await client.eval(_MARK, 1, name, LAYOUT) if mark else await client.get(name)) or 0))
    if found > LAYOUT:
        raise SetupError(
            f"The store is in use by a newer audiogate (its layout is {found}, this version knows {LAYOUT}): "
            "install that version here as well, or use another store."
        )


async def check_shards(connection: Connection, config: Config) -> None:
    """Raises SetupError where the number of shards or the shard of a key would change, Refused (503)."""
    await _same_number(connection)
    if len(connection.shards) > 1:
        for shard in connection.shards:
            others = [key for key in config.keys.values() if connection.of(key.team) is not shard]
            await _stay(shard, others)


async def _same_number(connection: Connection) -> None:
    """It is written down at the first start: with another one nothing would be found."""
    count = len(connection.shards)
    async with connection.asking("names"):
        await connection.client.set(connection.name("shards"), count, nx=True)
        found = int(await connection.client.get(connection.name("shards")) or 0)
    if found != count:
        raise SetupError(
            f"The store was set up with store.shards: {found}, and that cannot be changed; write {found}, or use "
            "another store."
        )


async def _stay(shard: Connection, others: list[Key]) -> None:
    """None of these keys, whose teams are in other shards, may have been good in this one until now."""
    async with shard.asking("names"):
        names = cast("dict[str, str]", await shard.client.hgetall(shard.name("names")))
    kids = set(names.values())
    for key in others:
        kid = names.get(key.name, "") if key.text is None else parse(key.text).kid
        if kid not in kids:
            continue
        async with shard.asking("names"):
            state = await shard.client.hget(shard.name("k", kid), "st")
        if state == "active":
            raise SetupError(
                f"keys.{key.name}: its new team is in another shard of the store, where its counters would begin anew; "
                "declare a new key for that team, and remove this one."
            )
