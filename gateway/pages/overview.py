"""The first page: today and the last hour, where the upstreams stand, and what needs somebody's attention."""

from collections.abc import Sequence

from starlette.responses import Response

from gateway.pages import attention, words
from gateway.pages.charts import chart
from gateway.pages.figures import added, last_hour, last_hours, of, today, used
from gateway.pages.visiting import Visit
from gateway.store.roll import Standing, standings
from gateway.store.totals import Line
from gateway.web.rows import standing_rows

HOURS = 24
KEYS_SHOWN = 5


async def get(visit: Visit) -> Response:
    """The page. Raises Refused (503)."""
    site, who = visit.site, visit.who
    period = last_hours(site.clock(), HOURS)
    lines = await used(visit, period, ("hour", "key", "team", "model"))
    recent, standing = await last_hour(visit), await _standing(visit)
    day = today(site.clock())
    hours = [at.strftime("%H:00") for at in period.units()]
    asked = chart("Requests, last 24 hours", hours, _by_model(lines, "requests"), say=words.count, least=1)
    return visit.page(
        "overview.html",
        title="Overview",
        day=day,
        today=added([line for line in lines if line.by[0].startswith(day)]),
        hour=recent,
        chart=asked,
        spend=chart("Cost, last 24 hours", hours, _by_model(lines, "usd"), say=words.micro, like=asked.series),
        keys=_most(lines, 1) if who.operator else [],
        standing=standing,
        attention=await attention.found(visit, recent, standing),
        upstreams=attention.upstreams(visit) if who.operator else [],
    )


async def _standing(visit: Visit) -> dict[str, list[object]]:
    """The limits of a holder's key and team, by what they are called."""
    caller = visit.who.caller
    if caller is None:
        return {}
    found: Sequence[Sequence[Standing]] = await standings(visit.site.connection, caller.team, kid=caller.kid)
    return {
        f"Key {caller.name}": list(standing_rows(found[1])),
        f"Team {caller.team} (all its keys)": list(standing_rows(found[0])),
    }


def _by_model(lines: Sequence[Line], metric: str) -> dict[tuple[str, str], float]:
    """Sums by hour and model."""
    amounts: dict[tuple[str, str], float] = {}
    for line in lines:
        place = line.by[0][11:16], line.by[3] or "other requests"
        amounts[place] = amounts.get(place, 0) + line.sums.get(metric, 0)
    return amounts


def _most(lines: Sequence[Line], column: int) -> list[tuple[str, object]]:
    """Who used most in this time, by cost and then by requests."""
    names = {line.by[column] for line in lines}
    sums = [(name, of([line.sums for line in lines if line.by[column] == name])) for name in names]
    sums.sort(key=lambda pair: (-pair[1].usd, -pair[1].requests, pair[0]))
    return list(sums[:KEYS_SHOWN])
