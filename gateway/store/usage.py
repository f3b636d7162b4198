"""What was used: each request settled once."""

from collections.abc import Mapping
from dataclasses import astuple, dataclass
from datetime import UTC, datetime

from gateway.policy.limits import Amounts
from gateway.store.connection import Connection

SETTLED_TTL = 24 * 3600
HOURS_TTL = 90 * 24 * 3600
DAYS_TTL = 400 * 24 * 3600


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


def hour_and_day(began: float) -> tuple[str, str]:
    """The names of the hour and the day in which a request began (seconds since 1970, UTC)."""
    moment = datetime.fromtimestamp(began, UTC)
    return moment.strftime("%Y%m%d%H"), moment.strftime("%Y%m%d")


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
        hour, day = hour_and_day(one.began)
        keys = [
            shard.name("k", one.kid),
            shard.name("t", one.team),
            shard.name("u", one.upstream),
            shard.name("leases"),
            shard.name("held"),
            shard.name("done", hour),
            shard.name("hour", hour),
            shard.name("day", day),
            shard.name("usage"),
            shard.name("expired", hour),
            *(shard.name("u", spent.upstream) for spent in one.failed),
        ]
        failed = [amount for spent in one.failed for amount in astuple(spent.amounts)]
        args: list[str | int] = [one.rid, one.upstream, *astuple(one.used), *astuple(one.cost)]
        args += [SETTLED_TTL, HOURS_TTL, DAYS_TTL, *failed, *written(one)]
        answer = await shard.run("settle", keys, args)
        assert isinstance(answer, list)
        if answer[0] == "elsewhere":
            keys[2], args[1] = shard.name("u", str(answer[1])), str(answer[1])
            answer = await shard.run("settle", keys, args)
            assert isinstance(answer, list)
        return bool(answer[0] == "settled")
