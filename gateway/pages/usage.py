"""What was used: a chart and a table, broken down as one likes."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlencode

from starlette.responses import Response

from gateway.pages import words
from gateway.pages.asked import SHOWN, SPANS, Asked, asked, dimensions, period, times
from gateway.pages.breakdown import Breakdown, broken_down
from gateway.pages.charts import Chart, chart
from gateway.pages.figures import added
from gateway.pages.visiting import Visit
from gateway.policy.periods import TIMES
from gateway.policy.terms import plain
from gateway.store.totals import Line

MOST_ROWS = 300
NAMELESS: Mapping[str, str] = {"model": "other requests"}
AMOUNTS: Mapping[str, tuple[str, float, Callable[[float], str]]] = {
    "cost": ("usd", 1, words.micro),
    "requests": ("requests", 1, words.count),
    "audio": ("ms", 60_000, words.minutes),
    "characters": ("characters", 1, words.count),
}


@dataclass(frozen=True, slots=True)
class Field:
    """Something to choose: values and what they are called, and which is chosen."""

    name: str
    label: str
    options: Mapping[str, str]
    chosen: str


async def get(visit: Visit) -> Response:
    """The page. What does not fit in the question is told on it."""
    wanted = asked(visit)
    try:
        found = period(visit, wanted)
        names = times(found, wanted.unit)
    except ValueError as error:
        return _page(visit, wanted, Breakdown([], {}), why=words.sentence(str(error)), status=400)
    broken = await broken_down(visit, found, wanted)
    return await asyncio.to_thread(_page, visit, wanted, broken, told=str(found), at=names)  # it may be a lot


def _page(
    visit: Visit,
    wanted: Asked,
    broken: Breakdown,
    *,
    told: str = "",
    at: Sequence[str] = (),
    why: str = "",
    status: int = 200,
) -> Response:
    lines = broken.lines[::-1]  # the newest first
    return visit.page(
        "usage.html",
        status=status,
        title="Usage",
        asked=wanted,
        why=why,
        told=told,
        fields=_fields(visit, wanted, broken),
        query=urlencode(wanted.query),
        sums=added(lines),
        paid=_paid(lines),
        chart=None if why else _chart(wanted, lines, at),
        rows=[(one.by[0], _called(wanted.by, one.by[1]), added([one]), _paid([one])) for one in lines[:MOST_ROWS]],
        count=len(lines),
    )


def _fields(visit: Visit, wanted: Asked, broken: Breakdown) -> list[Field]:
    """What there is to choose: about the time, and then what else."""
    may = dimensions(visit)
    return [
        Field("period", "Time", SPANS, wanted.span),
        Field("per", "Per", {"": "automatic", **_same(TIMES)}, wanted.per),
        Field("by", "By", _same(may), wanted.by),
        Field("show", "Chart of", SHOWN, wanted.show),
        *(
            Field(name, f"Only {name}", {"": "all", **_same([*broken.choices.get(name, ()), value])}, value)
            for name, value in ((name, wanted.only.get(name, "")) for name in may)
        ),
    ]


def _same(values: Iterable[str]) -> dict[str, str]:
    return {value: plain(value) for value in values if value}


def _paid(lines: Sequence[Line]) -> int:
    """What upstreams are paid for it, in millionths of a US dollar."""
    return sum(line.sums.get("cost", 0) for line in lines)


def _chart(wanted: Asked, lines: Sequence[Line], at: Sequence[str]) -> Chart:
    metric, scale, say = AMOUNTS[wanted.show]
    labels = dict(zip(at, _short(at, wanted.unit), strict=True))
    amounts: dict[tuple[str, str], float] = {}
    for line in lines:
        place = labels[line.by[0]], _called(wanted.by, line.by[1])
        amounts[place] = amounts.get(place, 0) + line.sums.get(metric, 0) / scale
    title = f"{SHOWN[wanted.show]} by {wanted.by}, each {wanted.unit}"
    least = 1 if wanted.show in ("requests", "characters") else 0
    return chart(title, list(labels.values()), amounts, say=say, least=least)


def _short(at: Sequence[str], unit: str) -> list[str]:
    """The times as they stand below the bars: no more of them than it takes to tell them apart."""
    if unit == "hour":
        form = "%H:00" if len(at) <= 24 else "%m-%d %H:00"
    elif unit == "day" and len(at) < 365:
        form = "%m-%d"
    else:
        return list(at)
    return [datetime.fromisoformat(one).strftime(form) for one in at]


def _called(by: str, value: str) -> str:
    return plain(value) or NAMELESS.get(by, "none")
