"""Usage broken down: one look at the sums gives what is shown, and what there is to choose from."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass

from gateway.pages.asked import Asked, dimensions
from gateway.pages.visiting import Visit
from gateway.policy.periods import Period, named
from gateway.store.totals import Line, UsageRow

Choices = Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class Breakdown:
    """Sums by time and one dimension, in that order, and the values of each dimension that there are in that time."""

    lines: Sequence[Line]
    choices: Choices


async def broken_down(visit: Visit, period: Period, wanted: Asked) -> Breakdown:
    """What was used, as far as a visitor may see it. Raises Refused (503). That an operator looks is written down."""
    found: dict[tuple[str, str], dict[str, int]] = {}
    seen: dict[str, set[str]] = {}
    async for row, values in _rows(visit, period, seen):
        if all(values[name] == value.replace("|", "_") for name, value in wanted.only.items()):
            into = found.setdefault((named(row.at, wanted.unit), values[wanted.by]), {})
            for metric, amount in row.sums.items():
                into[metric] = into.get(metric, 0) + amount
    if visit.who.operator:
        await visit.site.books.roll.note("usage.show", "*")
    return Breakdown([Line(by, sums) for by, sums in sorted(found.items())], _choices(seen))


async def choices(visit: Visit, period: Period) -> Choices:
    """The values of each dimension alone. Raises Refused (503)."""
    seen: dict[str, set[str]] = {}
    async for _ in _rows(visit, period, seen):
        pass
    return _choices(seen)


async def _rows(
    visit: Visit, period: Period, seen: dict[str, set[str]]
) -> AsyncIterator[tuple[UsageRow, Mapping[str, str]]]:
    """The sums that a visitor may see, and what each dimension is called; `seen` learns of all of these."""
    totals, kid = visit.site.books.totals, visit.who.kid
    names = await totals.key_names() if visit.who.operator else {}
    seen |= {name: set() for name in dimensions(visit)}
    async for row in totals.read(period):
        if not kid or row.key == kid:
            values = {name: str(getattr(row, name)) for name in seen}
            if "key" in values:
                values["key"] = names.get(row.key, row.key)
            for name, value in values.items():
                seen[name].add(value)
            yield row, values


def _choices(seen: Mapping[str, set[str]]) -> Choices:
    """What cannot be printed cannot be chosen."""
    return {name: sorted(one for one in values if one and one.isprintable()) for name, values in seen.items()}
