"""The keys and teams that there are, where their limits stand, and who did what: all that is read and never changed.

Each call is written down in the audit stream, too; `door` says through which door it came.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar, cast

from gateway.errors import Refused, refuse
from gateway.policy import exports
from gateway.policy.limits import MEASURES, PERIODS, Limit
from gateway.store.connection import Connection
from gateway.store.records import KEY_FIELDS, TEAM_FIELDS, KeyRecord, TeamRecord, read_key, read_team

AT_ONCE = 500
_MEASURES = tuple(MEASURES)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Standing:
    """A limit and how far it is used: store units; `resets` in seconds since 1970, None if it never does.

    Of a rate, `used` is what is missing in its bucket and `resets` when that is full again.
    """

    limit: Limit
    used: int
    reserved: int
    resets: float | None


@dataclass(frozen=True, slots=True)
class Deed:
    """A line of the audit stream. `at` is in seconds since 1970 by the store's clock, `id` the line's place."""

    id: str
    at: float
    door: str
    action: str
    what: str
    result: str


class Roll:
    """Reads the records. Every function raises Refused (503) when the store is away."""

    def __init__(self, connection: Connection, *, door: str) -> None:
        self._connection = connection
        self.door = door

    async def keys(self) -> list[KeyRecord]:
        """All keys, revoked ones too, by name."""
        read: list[KeyRecord | None] = []
        for shard in self._connection.shards:
            kids = await _hash(shard, "names")
            found = await _records(shard, [shard.name("k", kid) for kid in kids.values()], KEY_FIELDS)
            read += [read_key(kid, facts, now=now) for kid, (facts, now) in zip(kids.values(), found, strict=True)]
        await self.note("keys.list", "*")
        return sorted((one for one in read if one is not None), key=lambda one: one.key.name)

    async def key(self, called: str) -> KeyRecord:
        """The key of this name. Raises Refused (404)."""
        return await self._noted("keys.show", called, await self.find_key(called))

    async def teams(self) -> list[TeamRecord]:
        """All teams by name."""
        read: list[TeamRecord | None] = []
        for shard in self._connection.shards:
            names = await _hash(shard, "teams")
            found = await _records(shard, [shard.name("t", team) for team in names], TEAM_FIELDS)
            read += [read_team(team, facts) for team, (facts, _) in zip(names, found, strict=True)]
        await self.note("teams.list", "*")
        return sorted((one for one in read if one is not None), key=lambda one: one.team.name)

    async def team(self, called: str) -> TeamRecord:
        """The team of this name. Raises Refused (404)."""
        return await self._noted("teams.show", called, await self.find_team(called))

    async def audit(self, count: int, *, before: str = "") -> list[Deed]:
        """The last lines of the audit stream, the newest first; `before` is the id of a line: those before it."""
        rows: list[tuple[str, dict[str, str]]] = []
        for shard in self._connection.shards:
            async with shard.asking("audit"):
                found = await shard.client.xrevrange(shard.name("audit"), max=exports.before(before), count=count)
            rows += cast("list[tuple[str, dict[str, str]]]", found)
        rows.sort(key=lambda row: tuple(map(int, row[0].split("-"))), reverse=True)
        await self.note("audit.list", "*")
        return [Deed(at, int(at.partition("-")[0]) / 1000, **fields) for at, fields in rows[:count]]

    async def key_standing(self, record: KeyRecord) -> list[Standing]:
        """How the limits of a key stand; not written down."""
        return (await standings(self._connection, record.key.team, kid=record.kid))[1]

    async def team_standing(self, team: str) -> list[Standing]:
        """The same for a team."""
        return (await standings(self._connection, team))[0]

    async def find_key(self, called: str) -> KeyRecord | None:
        """The key of this name, None if there is none; not written down. One that is good goes first."""
        read: list[KeyRecord] = []
        for shard in self._connection.shards:
            async with shard.asking("names"):
                kid = cast("str | None", await shard.client.hget(shard.name("names"), called))
            if kid is not None:
                ((facts, now),) = await _records(shard, [shard.name("k", kid)], KEY_FIELDS)
                read += [one for one in (read_key(kid, facts, now=now),) if one is not None]
        return min(read, key=lambda one: one.state != "active", default=None)

    async def find_team(self, called: str) -> TeamRecord | None:
        """The same for a team."""
        shard = self._connection.of(called)
        ((facts, _),) = await _records(shard, [shard.name("t", called)], TEAM_FIELDS)
        return read_team(called, facts)

    async def note(self, action: str, what: str, result: str = "ok") -> None:
        """Write a line of the audit stream."""
        shard = self._connection.shards[0]
        await shard.run("audit", [shard.name("audit")], [self.door, action, what, result])

    async def _noted(self, action: str, called: str, found: T | None) -> T:
        await self.note(action, called, "none" if found is None else "ok")
        if found is None:
            raise unknown(action.partition(".")[0].removesuffix("s"), called)
        return found


async def standings(connection: Connection, team: str, *, kid: str = "") -> list[list[Standing]]:
    """How the limits of a team and, if it is named, of a key of it stand. Raises Refused (503)."""
    shard = connection.of(team)
    scope = shard.name("t", team)
    keys = [scope, scope, *([shard.name("k", kid), scope] if kid else [])]
    answer = await shard.run("standing", keys, [])
    assert isinstance(answer, list)
    now = int(answer[0])
    return [[_standing(row, now) for row in rows] for rows in answer[1:]]


async def upstream_standings(
    connection: Connection, limits: Mapping[str, Sequence[Limit]]
) -> dict[str, list[Standing]]:
    """How the limits of upstreams stand, by name, in all shards together. Raises Refused (503)."""
    names = [name for name, found in limits.items() if found]
    stand: dict[tuple[str, str, str], list[Standing]] = {}
    for shard in connection.shards if names else ():
        keys = [shard.name("u", name) for name in names for _ in range(2)]
        answer = await shard.run("standing", keys, [])
        assert isinstance(answer, list)
        for name, rows in zip(names, answer[1:], strict=True):
            for one in (_standing(row, int(answer[0])) for row in rows):
                stand.setdefault((name, one.limit.measure, one.limit.per), []).append(one)
    return {
        name: [_together(limit, stand.get((name, limit.measure, limit.per), [])) for limit in found]
        for name, found in limits.items()
    }


def _together(limit: Limit, parts: Sequence[Standing]) -> Standing:
    used, reserved = sum(one.used for one in parts), sum(one.reserved for one in parts)
    return Standing(limit, used, reserved, max((one.resets for one in parts if one.resets is not None), default=None))


async def _hash(shard: Connection, what: str) -> dict[str, str]:
    async with shard.asking("names"):
        return cast("dict[str, str]", await shard.client.hgetall(shard.name(what)))


async def _records(
    shard: Connection, scopes: Sequence[str], fields: Sequence[str]
) -> list[tuple[Mapping[str, str | None], float]]:
    """The facts of each record, and the store's time in seconds since 1970."""
    found: list[tuple[Mapping[str, str | None], float]] = []
    for start in range(0, len(scopes), AT_ONCE):
        pipe = shard.client.pipeline(transaction=False)
        for scope in scopes[start : start + AT_ONCE]:
            pipe.hmget(scope, fields)
        pipe.time()
        async with shard.asking("names"):
            *rows, clock = await pipe.execute()
        found += [(dict(zip(fields, row, strict=True)), float(clock[0])) for row in rows]
    return found


def unknown(kind: str, called: str) -> Refused:
    """The refusal for a name that nothing has."""
    return refuse("unknown_name", kind=kind, called=called)


def _standing(row: Sequence[int], now_ms: int) -> Standing:
    measure, window, limit, used, reserved, wait, burst = row
    return Standing(
        Limit(_MEASURES[measure - 1], PERIODS[window - 1] if window else "", limit, 0 if burst == limit else burst),
        used=used,
        reserved=reserved,
        resets=(now_ms + wait) / 1000 if wait >= 0 else None,
    )
