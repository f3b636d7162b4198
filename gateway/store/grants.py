"""How shards draw from the limits of upstreams, which belong to all of them.

A quota is granted to a shard in parts, as it needs them: what was granted in all never exceeds the limit, and what a
shard does not use is lost at the end of the window. Rates and requests at once are divided evenly.
"""

import secrets
from collections.abc import Sequence
from dataclasses import replace

from gateway.policy.limits import RATES, Limit
from gateway.store.connection import Connection

Denials = Sequence[Sequence[object]]


def divided(limits: Sequence[Limit], parts: int) -> list[Limit]:
    """The limits of an upstream in one of so many shards: a part of what is a rate or a number of requests at once."""

    def part(limit: Limit) -> Limit:
        if limit.per and (limit.measure, limit.per) not in RATES:
            return limit
        return replace(limit, amount=max(1, limit.amount // parts), burst=limit.burst and max(1, limit.burst // parts))

    return [part(limit) for limit in limits]


class Grants:
    """What `lease.lua` and `grant.lua` do."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def fill(self, shard: Connection, denials: Denials) -> bool:
        """Draw what was missing in a shard where `admit.lua` or `switch.lua` denied; whether to ask them again.

        Raises Refused (503): then a part may be lost, never more.
        """
        again = False
        for row in denials:
            upstream, measure, window, missing, id_ = str(row[1]), *(int(str(row[place])) for place in (2, 3, 8, 9))
            if missing <= 0:
                continue
            quota, parts = (measure, window, id_), 2 * len(self._connection.shards)
            whole = self._connection.name("u", upstream)
            amount = await self._connection.run("lease", [whole], [parts, *quota, missing])
            assert isinstance(amount, list)
            await shard.run("grant", [shard.name("u", upstream)], [secrets.token_hex(8), *quota, *amount])
            again = True
        return again
