"""What was used: each request settled once."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from gateway.policy.limits import Amounts
from gateway.store.connection import Connection, name
from gateway.store.limits import upstream_key

SETTLED_TTL = 24 * 3600
HOURS_TTL = 90 * 24 * 3600
DAYS_TTL = 400 * 24 * 3600


@dataclass(frozen=True, slots=True)
class Settlement:
    """A request's end, for the store.

    `used` is charged to the limits of key, team and upstream; `sums` (name to amount) are added to the usage of the
    hour and day in which the request began (`began`, seconds since 1970); `record` is kept as it is.
    """

    rid: str
    kid: str
    team: str
    model: str
    upstream: str
    route: str
    began: float
    used: Amounts
    sums: Mapping[str, int]
    record: Mapping[str, str]


def hour_and_day(began: float) -> tuple[str, str]:
    """The names of the hour and the day in which a request began (seconds since 1970, UTC)."""
    moment = datetime.fromtimestamp(began, UTC)
    return moment.strftime("%Y%m%d%H"), moment.strftime("%Y%m%d")


def written(one: Settlement) -> list[str | int]:
    """Prefix, sums and record of a settlement, as the scripts read them."""
    parts = (one.team, one.kid, one.model, one.upstream, one.route)
    sums = {metric: amount for metric, amount in one.sums.items() if amount}
    args: list[str | int] = ["".join(part.replace("|", "_") + "|" for part in parts), len(sums)]
    for metric, amount in sums.items():
        args += [metric, amount]
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
        hour, day = hour_and_day(one.began)
        keys = [
            name("k", one.kid),
            name("t", one.team),
            upstream_key(one.upstream),
            name("leases"),
            name("held"),
            name("done", hour),
            name("hour", hour),
            name("day", day),
            name("usage"),
            name("expired", hour),
        ]
        used = (one.used.usd, one.used.ms, one.used.characters, one.used.requests)
        args: list[str | int] = [one.rid, one.upstream, *used, SETTLED_TTL, HOURS_TTL, DAYS_TTL, *written(one)]
        answer = await self._connection.run("settle", keys, args)
        assert isinstance(answer, list)
        if answer[0] == "elsewhere":
            keys[2], args[1] = upstream_key(str(answer[1])), str(answer[1])
            answer = await self._connection.run("settle", keys, args)
            assert isinstance(answer, list)
        return bool(answer[0] == "settled")
