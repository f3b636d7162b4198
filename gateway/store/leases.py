"""Leases: what keeps a running request's reservation alive, and what becomes of one whose gateway died."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gateway.policy.ids import began
from gateway.policy.keys import Caller
from gateway.policy.limits import NOTHING, Amounts
from gateway.policy.metering import Expiry
from gateway.store.connection import Connection
from gateway.store.hours import hour_and_day
from gateway.store.limits import LEASE_MS
from gateway.store.usage import DAYS_TTL, HOURS_TTL, Settlement, flat, written

AT_ONCE = 100  # reservations that one round of reaping looks at


@dataclass(frozen=True, slots=True)
class Expired:
    """A reservation whose lease has run out, as it stands in the store."""

    rid: str
    kid: str
    team: str
    upstream: str
    held: Amounts
    model: str
    route: str


class Leases:
    """What `renew.lua`, `expired.lua` and `reap.lua` do."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def renew(self, running: Mapping[str, Caller]) -> dict[str, str]:
        """Extend the leases of running requests (request id to caller).

        Returns the state of each one's key: "active", or why it should end ("revoked", "expired", "gone"); "lost"
        where the reservation is no longer there. Raises Refused (503).
        """
        found: dict[str, str] = {}
        by_shard: dict[Connection, list[str]] = {}
        for rid, caller in running.items():
            by_shard.setdefault(self._connection.of(caller.team), []).append(rid)
        for shard, rids in by_shard.items():
            keys = [shard.name("leases"), *(shard.name("k", running[rid].kid) for rid in rids)]
            answer = await shard.run("renew", keys, [LEASE_MS, *rids])
            assert isinstance(answer, list)
            found |= zip(rids, map(str, answer), strict=True)
        return found

    async def reap(self, policy: Expiry) -> list[Expired]:
        """End reservations whose lease has run out, by `policy`; returns those it ended. Raises Refused (503)."""
        ended: list[Expired] = []
        for shard in self._connection.shards:
            rows = await shard.run("expired", [shard.name("leases"), shard.name("held")], [AT_ONCE])
            assert isinstance(rows, list)
            ended += [one for one in map(_expired, rows) if await self._end(shard, one, policy)]
        return ended

    async def _end(self, shard: Connection, one: Expired, policy: Expiry) -> bool:
        settlement = _settlement(one, policy)
        hour, day = hour_and_day(settlement.began)
        names: list[tuple[str, ...]] = [
            ("leases",),
            ("held",),
            ("usage",),
            ("k", one.kid),
            ("t", one.team),
            ("u", one.upstream),
        ]
        names += [("expired", hour), ("hour", hour), ("day", day)]
        keys = [shard.name(*parts) for parts in names]
        args: list[str | int] = [one.rid, one.upstream, policy, HOURS_TTL, HOURS_TTL, DAYS_TTL, written(settlement)]
        return bool(await shard.run("reap", keys, args))


def _expired(row: Sequence[object]) -> Expired:
    rid, key, team, upstream, usd, ms, characters, requests, model, route = map(str, row)
    held = Amounts(int(usd), int(ms), int(characters), int(requests))
    return Expired(rid, key.rpartition(":")[2], team.rpartition(":")[2], upstream, held, model, route)


def _settlement(one: Expired, policy: Expiry) -> Settlement:
    """The record of a request that nobody came back for."""
    used = one.held if policy == "charge" else NOTHING
    start = began(one.rid)
    record = {
        "id": one.rid,
        "at": f"{start:.3f}",
        "route": one.route,
        "error": "unsettled" if policy == "mark" else "expired",
        "key": one.kid,
        "team": one.team,
        "model": one.model,
        "upstream": one.upstream,
        "audio_ms": str(used.ms),
        "characters": str(used.characters),
        "source": "estimate" if policy == "charge" else "none",
        "cost_micro_usd": str(used.usd),
        "upstream_micro_usd": str(used.usd),
        "reserved_micro_usd": str(one.held.usd),
    }
    sums = {"requests": 1, "errors": 1, "usd": used.usd, "cost": used.usd, "ms": used.ms, "characters": used.characters}
    return Settlement(
        rid=one.rid,
        kid=one.kid,
        team=one.team,
        model=one.model,
        upstream=one.upstream,
        route=one.route,
        began=start,
        used=used,
        cost=used,
        sums=sums,
        record=flat(json.dumps(record)),
    )
