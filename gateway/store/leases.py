"""Leases: what keeps a running request's reservation alive, and what becomes of one whose gateway died."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from gateway.policy.ids import began
from gateway.policy.limits import Amounts
from gateway.store.connection import Connection, name
from gateway.store.limits import LEASE_MS, upstream_key
from gateway.store.usage import DAYS_TTL, HOURS_TTL, SETTLED_TTL, Settlement, hour_and_day, written

Policy = Literal["charge", "refund"]
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

    async def renew(self, running: Mapping[str, str]) -> dict[str, str]:
        """Extend the leases of running requests (request id to key id).

        Returns the state of each one's key: "active", or why it should end ("revoked", "expired", "gone"); "lost"
        where the reservation is no longer there. Raises Refused (503).
        """
        if not running:
            return {}
        keys = [name("leases"), *(name("k", kid) for kid in running.values())]
        answer = await self._connection.run("renew", keys, [LEASE_MS, *running])
        assert isinstance(answer, list)
        return dict(zip(running, map(str, answer), strict=True))

    async def reap(self, policy: Policy) -> list[Expired]:
        """End reservations whose lease has run out, by `policy`; returns those it ended. Raises Refused (503)."""
        rows = await self._connection.run("expired", [name("leases"), name("held")], [AT_ONCE])
        assert isinstance(rows, list)
        return [one for one in map(_expired, rows) if await self._end(one, policy)]

    async def _end(self, one: Expired, policy: Policy) -> bool:
        settlement = _settlement(one, policy)
        hour, day = hour_and_day(settlement.began)
        keys = [
            name("k", one.kid),
            name("t", one.team),
            upstream_key(one.upstream),
            name("leases"),
            name("held"),
            name("expired", hour),
            name("hour", hour),
            name("day", day),
            name("usage"),
        ]
        args = [one.rid, one.upstream, policy, SETTLED_TTL, HOURS_TTL, DAYS_TTL, *written(settlement)]
        return bool(await self._connection.run("reap", keys, args))


def _expired(row: Sequence[object]) -> Expired:
    rid, key, team, upstream, usd, ms, characters, requests, model, route = map(str, row)
    held = Amounts(int(usd), int(ms), int(characters), int(requests))
    return Expired(rid, key.rpartition(":")[2], team.rpartition(":")[2], upstream, held, model, route)


def _settlement(one: Expired, policy: Policy) -> Settlement:
    """The record of a request that nobody came back for."""
    used = one.held if policy == "charge" else Amounts(requests=0)
    start = began(one.rid)
    record = {
        "id": one.rid,
        "at": f"{start:.3f}",
        "route": one.route,
        "error": "expired",
        "key": one.kid,
        "team": one.team,
        "model": one.model,
        "upstream": one.upstream,
        "audio_ms": str(used.ms),
        "characters": str(used.characters),
        "source": "estimate" if policy == "charge" else "none",
        "cost_micro_usd": str(used.usd),
    }
    sums = {"requests": 1, "errors": 1, "usd": used.usd, "ms": used.ms, "characters": used.characters}
    return Settlement(
        rid=one.rid,
        kid=one.kid,
        team=one.team,
        model=one.model,
        upstream=one.upstream,
        route=one.route,
        began=start,
        used=used,
        sums=sums,
        record=record,
    )
