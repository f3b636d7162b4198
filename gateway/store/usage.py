"""What was used: each request settled once."""

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass

from gateway.errors import refuse
from gateway.policy.limits import NOTHING, Amounts
from gateway.store.connection import Connection
from gateway.store.hours import hour_and_day

SETTLED_TTL = 24 * 3600
HOURS_TTL = 90 * 24 * 3600
DAYS_TTL = 400 * 24 * 3600
LOOKS = 5


@dataclass(frozen=True, slots=True)
class Spent:
    """What an attempt that failed cost all the same, at this upstream."""

    upstream: str
    amounts: Amounts


@dataclass(frozen=True, slots=True)
class Settlement:
    """A request's end, for the store.

    `used` is charged to the limits of key and team, `cost` to those of the upstream, and what failed attempts cost to
    those of theirs. `sums` (name to amount) are added to the usage of the hour and day in which the request began
    (`began`, seconds since 1970); `record` is kept as it is.
    """

    rid: str
    kid: str
    team: str
    model: str
    upstream: str
    route: str
    began: float
    used: Amounts
    cost: Amounts
    sums: Mapping[str, int]
    record: Mapping[str, str]
    failed: tuple[Spent, ...] = ()


def written(one: Settlement) -> list[str | int]:
    """Sums and record of a settlement, as the scripts read them."""
    sums = [(one.upstream, metric, amount) for metric, amount in one.sums.items() if amount]
    sums += [(spent.upstream, "cost", spent.amounts.usd) for spent in one.failed]
    args: list[str | int] = [len(sums)]
    for upstream, metric, amount in sums:
        parts = (one.team, one.kid, one.model, upstream, one.route, metric)
        args += ["|".join(part.replace("|", "_") for part in parts), amount]
    for field_name, value in one.record.items():
        args += [field_name, value]
    return args


class Usage:
    """Settled requests."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def settle(self, one: Settlement) -> bool:
        """Charge and record a request; False if that was done before. Raises Refused (503): ask again.

        The reservation is released where it is held, even if that is not the upstream that `one` names.
        """
        shard = self._connection.of(one.team)
        scopes, at = [shard.name("k", one.kid), shard.name("t", one.team)], one.upstream
        for _ in range(LOOKS):
            answer = await shard.run("settle", *_asked(shard, one, scopes, at))
            assert isinstance(answer, list)
            if answer[0] != "elsewhere":
                return bool(answer[0] == "settled")
            at, *scopes = map(str, answer[1:])
        raise refuse("store_down", retry_after=1)  # it moves while we look: later


def _asked(shard: Connection, one: Settlement, scopes: Sequence[str], at: str) -> tuple[list[str], list[str | int]]:
    """Keys and arguments of `settle.lua` for a request that is reserved `at` this upstream, on these two scopes."""
    hour, day = hour_and_day(one.began)
    cost, failed = one.cost, list(one.failed)
    if at != one.upstream:  # what was reserved is released there, what was paid is charged where it was
        cost, failed = NOTHING, [*failed, Spent(one.upstream, one.cost)]
    keys = [
        *scopes,
        shard.name("u", at),
        shard.name("leases"),
        shard.name("held"),
        shard.name("done", hour),
        shard.name("hour", hour),
        shard.name("day", day),
        shard.name("usage"),
        shard.name("expired", hour),
        *(shard.name("u", spent.upstream) for spent in failed),
    ]
    args: list[str | int] = [one.rid, at, *astuple(one.used), *astuple(cost), SETTLED_TTL, HOURS_TTL, DAYS_TTL]
    args += [amount for spent in failed for amount in astuple(spent.amounts)]
    return keys, [*args, *written(one)]
