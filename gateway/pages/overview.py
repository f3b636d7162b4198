"""The first page: today and the last hour, where the upstreams stand, and what needs somebody's attention."""

from collections.abc import Mapping, Sequence

from starlette.responses import Response

from gateway.pages import attention, words
from gateway.pages.charts import chart
from gateway.pages.figures import Sums, added, last_hour, last_hours, of, today, used
from gateway.pages.visiting import Visit
from gateway.store.roll import standings
from gateway.store.totals import Line
from gateway.web.rows import StandingRow, standing_rows

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
        keys=_most(lines) if who.operator else [],
        standing=standing,
        attention=await attention.found(visit, recent, standing),
        upstreams=attention.upstreams(visit) if who.operator else [],
    )


async def _standing(visit: Visit) -> dict[str, list[StandingRow]]:
    """The limits of a holder's key and team, by what they are called."""
    caller = visit.who.caller
    if caller is None:
        return {}
    team, key = await standings(visit.site.connection, caller.team, kid=caller.kid)
    return {
        f"Key {caller.name}": standing_rows(key),
        f"Team {caller.team} (all its keys)": standing_rows(team),
    }


def _by_model(lines: Sequence[Line], metric: str) -> dict[tuple[str, str], float]:
    """Sums by hour and model."""
    amounts: dict[tuple[str, str], float] = {}
    for line in lines:
        place = line.by[0][11:16], line.by[3] or "other requests"
        amounts[place] = amounts.get(place, 0) + line.sums.get(metric, 0)
    return amounts


def _most(lines: Sequence[Line]) -> list[tuple[str, Sums]]:
    """The keys that used most in this time, by cost and then by requests."""
    by_key: dict[str, list[Mapping[str, int]]] = {}
    for line in lines:
        by_key.setdefault(line.by[1], []).append(line.sums)
    sums = [(key, of(some)) for key, some in by_key.items()]
    return sorted(sums, key=lambda pair: (-pair[1].usd, -pair[1].requests, pair[0]))[:KEYS_SHOWN]
