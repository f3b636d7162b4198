"""The sums of what was used, as pages and commands read them."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import cast

from redis.exceptions import RedisError

from gateway.errors import refuse
from gateway.store.connection import Connection, name

DIMENSIONS = ("team", "key", "model", "upstream", "route")


@dataclass(frozen=True, slots=True)
class UsageRow:
    """Sums of one day for one combination of DIMENSIONS; `key` is the key's public id."""

    day: date
    team: str
    key: str
    model: str
    upstream: str
    route: str
    sums: Mapping[str, int]


class Totals:
    """Reads the sums."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def days(self, first: date, last: date) -> AsyncIterator[UsageRow]:
        """The sums of each day from `first` to `last`. Raises Refused (503)."""
        day = first
        while day <= last:
            try:
                fields = cast(
                    "dict[str, str]", await self._connection.client.hgetall(name("day", day.strftime("%Y%m%d")))
                )
            except RedisError as error:
                raise refuse("store_down", retry_after=1) from error
            rows: dict[tuple[str, ...], dict[str, int]] = {}
            for field_name, amount in fields.items():
                *parts, metric = field_name.split("|")
                rows.setdefault(tuple(parts), {})[metric] = int(amount)
            for parts_, sums in sorted(rows.items()):
                yield UsageRow(day, **dict(zip(DIMENSIONS, parts_, strict=True)), sums=sums)
            day += timedelta(days=1)

    async def key_names(self) -> dict[str, str]:
        """Names of keys by public id. Raises Refused (503)."""
        try:
            names = cast("dict[str, str]", await self._connection.client.hgetall(name("names")))
        except RedisError as error:
            raise refuse("store_down", retry_after=1) from error
        return {kid: key for key, kid in names.items()}
