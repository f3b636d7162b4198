"""The sums of what was used, as pages and commands read them."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import cast

from gateway.errors import refuse
from gateway.policy.periods import TIMES, Period, Unit, named
from gateway.store.connection import Connection
from gateway.store.usage import DAYS_TTL, HOURS_TTL

DIMENSIONS = ("team", "key", "model", "upstream", "route")
COLUMNS = (*TIMES, *DIMENSIONS)
KEPT: Mapping[Unit, int] = {"hour": HOURS_TTL, "day": DAYS_TTL}
METRICS = frozenset({"requests", "errors", "usd", "cost", "ms", "characters", "input_tokens", "output_tokens"})
AT_ONCE = 50  # hours or days that one round trip asks for
_KEYS: Mapping[Unit, str] = {"hour": "%Y%m%d%H", "day": "%Y%m%d"}


@dataclass(frozen=True, slots=True)
class UsageRow:
    """Sums of one hour or day, by when it began, for one combination of DIMENSIONS; `key` is the key's public id."""

    at: datetime
    team: str
    key: str
    model: str
    upstream: str
    route: str
    sums: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Line:
    """Sums of one combination of the columns asked for: by name of METRICS, in store units; what is missing is 0."""

    by: tuple[str, ...]
    sums: Mapping[str, int]


class Totals:
    """Reads the sums."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def summed(self, period: Period, by: Sequence[str], only: Mapping[str, str]) -> list[Line]:
        """What was used in a period, added up `by` some of COLUMNS and sorted by them.

        `only` says which values of DIMENSIONS count; keys go by name, or by id. Raises Refused: 503, 404 for a key
        that there never was.
        """
        names = await self.key_names()
        wanted = [(column, _stored(column, value, names)) for column, value in only.items()]
        found: dict[tuple[str, ...], dict[str, int]] = {}
        async for row in self.read(period):
            if all(getattr(row, column) in values for column, values in wanted):
                into = found.setdefault(tuple(_cell(row, column, names) for column in by), {})
                for metric, amount in row.sums.items():
                    into[metric] = into.get(metric, 0) + amount
        key = only.get("key", "")
        if not found and key and key not in names and key not in names.values():
            raise refuse("unknown_name", kind="key", called=key)
        return [Line(values, sums) for values, sums in sorted(found.items())]

    async def days(self, first: date, last: date) -> AsyncIterator[UsageRow]:
        """The sums of each day from `first` to `last`. Raises Refused (503)."""
        start, end = (datetime.combine(day, time(), UTC) for day in (first, last + timedelta(days=1)))
        async for row in self.read(Period("day", start, end)):
            yield row

    async def read(self, period: Period) -> AsyncIterator[UsageRow]:
        """The sums of each hour or day of a period. Raises Refused (503)."""
        units = list(period.units())
        for start in range(0, len(units), AT_ONCE):
            some = units[start : start + AT_ONCE]
            for shard in self._connection.shards:
                pipe = shard.client.pipeline(transaction=False)
                for at in some:
                    pipe.hgetall(shard.name(period.unit, at.strftime(_KEYS[period.unit])))
                async with shard.asking("totals"):
                    found = cast("list[dict[str, str]]", await pipe.execute())
                for at, fields in zip(some, found, strict=True):
                    await asyncio.sleep(0)  # a day of many keys takes a while: requests get their turn
                    for row in _rows(at, fields):
                        yield row

    async def key_names(self) -> dict[str, str]:
        """Names of keys by public id. Raises Refused (503)."""
        found: dict[str, str] = {}
        for shard in self._connection.shards:
            async with shard.asking("totals"):
                names = cast("dict[str, str]", await shard.client.hgetall(shard.name("names")))
            found |= {kid: key for key, kid in names.items()}
        return found


def _rows(at: datetime, fields: Mapping[str, str]) -> Iterator[UsageRow]:
    rows: dict[tuple[str, ...], dict[str, int]] = {}
    for field, amount in fields.items():
        *parts, metric = field.split("|")
        if metric in METRICS:
            rows.setdefault(tuple(parts), {})[metric] = int(amount)
    for parts_, sums in sorted(rows.items()):
        yield UsageRow(at, **dict(zip(DIMENSIONS, parts_, strict=True)), sums=sums)


def _stored(column: str, value: str, names: Mapping[str, str]) -> set[str]:
    """What the store has in a column where people say `value`."""
    kids = {kid for kid, called in names.items() if called == value} if column == "key" else set()
    return kids or {value.replace("|", "_")}


def _cell(row: UsageRow, column: str, names: Mapping[str, str]) -> str:
    if column in TIMES:
        return named(row.at, column)
    value = str(getattr(row, column))
    return names.get(value, value) if column == "key" else value
