"""Upstreams that operators have taken out of use: no new request goes there, on any gateway of this store.

It is kept until it is ended, whatever is restarted meanwhile. Each gateway reads it once a second.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import cast

from gateway.errors import Refused
from gateway.store.connection import Connection
from gateway.store.durable import on_disk
from gateway.store.roll import Roll, unknown


@dataclass(frozen=True, slots=True)
class Drain:
    """Since when an upstream is drained, in seconds since 1970 by the store's clock, and through which door."""

    at: float
    door: str


class Drains:
    """Reads and changes it; `door` is written down. Every function raises Refused (503) when the store is away.

    `tell` hears what `follow` and each change find: by name, since when. While the store is away it hears nothing, so
    what was known last holds.
    """

    def __init__(
        self, connection: Connection, *, door: str, tell: Callable[[Mapping[str, float]], None] = lambda _: None
    ) -> None:
        self._shard = connection.shards[0]
        self._roll = Roll(connection, door=door)
        self._tell = tell

    async def read(self) -> Mapping[str, Drain]:
        """All that are drained, also those that the configuration does not name (any more)."""
        async with self._shard.asking("drained"):
            found = cast("dict[str, str]", await self._shard.client.hgetall(self._shard.name("drained")))
        words = {name: text.partition(" ") for name, text in found.items()}
        return {name: Drain(int(at) / 1000, door) for name, (at, _, door) in words.items()}

    async def follow(self) -> None:
        """Tell what is drained now."""
        self._tell({name: one.at for name, one in (await self.read()).items()})

    async def begin(self, called: str, *, known: Collection[str]) -> None:
        """Drain an upstream; one that is drained stays so since then. Raises Refused (404) where none is `known` so."""
        if called not in known:
            raise await self._unknown("upstreams.drain", called)
        await self._change("upstreams.drain", called, "out")

    async def end(self, called: str, *, known: Collection[str]) -> None:
        """Use it again. Raises Refused (404) where none is `known` so and none is drained."""
        if called not in known and called not in await self.read():
            raise await self._unknown("upstreams.undrain", called)
        await self._change("upstreams.undrain", called, "back")

    async def _change(self, action: str, called: str, where: str) -> None:
        keys = [self._shard.name("audit"), self._shard.name("drained")]
        await self._shard.run("drain", keys, [self._roll.door, action, called, where])
        await on_disk(self._shard)
        await self.follow()

    async def _unknown(self, action: str, called: str) -> Refused:
        await self._roll.note(action, called, "none")
        return unknown("upstream", called)
