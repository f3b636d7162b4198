"""One stream of records: read in order behind a cursor, committed, trimmed. A store has one, or one in each shard.

The id of an entry is the cursor to go on from. The store gives them in rising order even when its clock steps back,
and what is written later always has the larger one, so nothing slips in behind a cursor.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast

from gateway.config.model import Usage
from gateway.errors import refuse
from gateway.policy import exports
from gateway.policy.exports import BEGIN, place
from gateway.store.connection import Connection

AT_ONCE = 200  # records that one call to the store reads or counts
MOST_LET_GO = 100_000  # records that one call lets go
MOST_STEPS = 500
WARN_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class Record:
    """The record of a request: its cursor and its fields as they were written."""

    cursor: str
    fields: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Stand:
    """What came of a commit, and the cursor that holds now: all up to it is exported."""

    result: Literal["ok", "behind", "beyond"]
    cursor: str


@dataclass(frozen=True, slots=True)
class Trimmed:
    """What a stream holds: records, those of them that are not exported, and whether it is time to warn of that."""

    records: int
    unexported: int
    warn: bool


class Stream:
    """The records of a shard. Every function raises Refused (503) when the store is away."""

    def __init__(self, shard: Connection, usage: Usage) -> None:
        self._shard, self._usage = shard, usage

    async def page(self, after: str, *, whole: bool = True) -> list[Record]:
        """The next records behind a cursor, AT_ONCE at most, none at the end; "" is the beginning.

        Raises Refused (400) if some behind the cursor are gone, unless it need not be `whole`.
        """
        pipe = self._shard.client.pipeline(transaction=False)
        pipe.xrange(self._shard.name("usage"), f"({after}" if after else "-", "+", count=AT_ONCE)
        pipe.hget(self._shard.name("exported"), "gone")  # last: what went before they were read is told
        async with self._shard.asking("records"):
            found, gone = await pipe.execute()
        if whole and after and place(after) < place(str(gone or BEGIN)):
            raise refuse(
                "invalid",
                param="after",
                why=f"records behind {after} are gone: usage.trim let go of all up to {gone}; go on from there",
            )
        return _records(found)

    async def back(self, before: str) -> list[Record]:
        """The last records before a cursor, AT_ONCE at most, the newest first; "" is the end."""
        end, name = exports.before(before), self._shard.name("usage")
        async with self._shard.asking("records"):
            return _records(await self._shard.client.xrevrange(name, end, "-", count=AT_ONCE))

    async def cursor(self) -> str:
        """Up to where records are exported, "" if none are."""
        async with self._shard.asking("records"):
            found = await self._shard.client.hget(self._shard.name("exported"), "cursor")
        return str(found or "")

    async def commit(self, cursor: str) -> Stand:
        """Note that all records up to a cursor are exported. Nothing is noted unless the result is "ok"."""
        keys = [self._shard.name("usage"), self._shard.name("exported")]
        found = await self._shard.run("commit", keys, [cursor])
        assert isinstance(found, list)
        return Stand(cast("Literal['ok', 'behind', 'beyond']", str(found[0])), str(found[1]))

    async def trim(self) -> Trimmed:
        """Let go of what is old enough, and count what is left."""
        keep = -1 if self._usage.keep is None else self._usage.keep * 1000
        told = [keep, self._usage.trim, self._usage.alarm, WARN_SECONDS, AT_ONCE, MOST_LET_GO]
        keys = [self._shard.name(part) for part in ("usage", "exported", "warned")]
        for _ in range(MOST_STEPS):
            found = await self._shard.run("trim", keys, told)
            assert isinstance(found, list)
            records, unexported, more, warn = map(int, found)
            if not more:
                break
        return Trimmed(records, unexported, warn=bool(warn))


def _records(found: object) -> list[Record]:
    return [Record(cursor, fields) for cursor, fields in cast("list[tuple[str, dict[str, str]]]", found)]
