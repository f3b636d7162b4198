"""What needs somebody's attention, in sentences that name the remedy."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from gateway.health import UpstreamState
from gateway.pages import words
from gateway.pages.figures import Recent
from gateway.pages.visiting import Visit
from gateway.policy.limits import duration
from gateway.store.roll import standings
from gateway.upstreams.base import Upstream
from gateway.web.rows import StandingRow, standing_rows

NEARLY = 0.8
FAILING, FEW = 0.05, 20
SOON = 7 * 86_400.0
LOW = Decimal(5)  # US dollars at an upstream, as in config/alerts.yml
# By the state of an upstream (`Health.state`) that is not as it should be.
REMEDIES: Mapping[str, str] = {
    "drained": "Upstream {name} is drained: no new request goes there until it is used again.",
    "resting": "Upstream {name} failed lately and rests ({more}): others go first. Test it to see why.",
    "dry": "The wallet at upstream {name} is dry: top it up, or drain the upstream.",
    "up": "At upstream {name} {more}: top it up.",
}
MOST_TEAMS = 50  # whose limits are looked at for this

Tone = Literal["warn", "bad"]


@dataclass(frozen=True, slots=True)
class Notice:
    """A sentence, how bad it is, and the page to go to."""

    tone: Tone
    text: str
    path: str


@dataclass(frozen=True, slots=True)
class Where:
    """An upstream as this process sees it: its `state` in words, and `more` to say about it."""

    one: Upstream
    seen: UpstreamState
    state: str
    tone: Literal["good", "warn", "bad"]
    more: str = ""


async def found(visit: Visit, recent: Recent, standing: Mapping[str, Sequence[StandingRow]]) -> list[Notice]:
    """All of it, the worst first. Raises Refused (503)."""
    notices = [*_failing(recent)]
    if visit.who.operator:
        notices += [*_upstreams(visit), *(Notice("warn", note + ".", "/config") for note in visit.site.config.notes)]
        limited = [one.team.name for one in await visit.site.register.roll.teams() if one.team.limits]
        for team in limited[:MOST_TEAMS]:
            (rows,) = await standings(visit.site.connection, team)
            notices += _limits(f"Team {team}", standing_rows(rows), f"/teams/{team}")
    else:
        caller = visit.who.caller
        for name, limits in standing.items():
            notices += _limits(name, limits, "/usage")
        if caller is not None and caller.expires is not None and caller.expires < visit.site.clock() + SOON:
            notices.append(Notice("warn", "Your key expires within a week: ask for a new one.", "/connect"))
    return sorted(notices, key=lambda notice: notice.tone != "bad")


def upstreams(visit: Visit) -> list[Where]:
    """Where each upstream stands."""
    return [where(visit, one) for one in visit.site.config.market.upstreams]


def where(visit: Visit, one: Upstream) -> Where:
    """Where it stands."""
    seen, left = visit.site.parts.health.state(one.name), ""
    if seen.rests:
        left = f"{', '.join(seen.resting) or 'all of it'} for another {duration(seen.rests)}"
    if seen.state == "drained":
        return Where(one, seen, "drained", "warn")
    if seen.state == "resting":
        return Where(one, seen, "resting", "bad", left)
    if seen.state == "dry":
        return Where(one, seen, "wallet dry", "bad", "our money there is used up")
    if seen.balance.usd is not None and seen.balance.usd < LOW:
        return Where(one, seen, "in use", "warn", f"only {words.money(seen.balance.usd)} of our money are left there")
    return Where(one, seen, "in use", "good")


def _failing(recent: Recent) -> list[Notice]:
    if recent.sums.failing < FAILING or recent.sums.requests < FEW:
        return []
    share = words.percent(recent.sums.failing)
    return [Notice("bad", f"{share} of the last hour's requests failed: see which, and why.", "/requests?errors=1")]


def _upstreams(visit: Visit) -> list[Notice]:
    notices: list[Notice] = []
    for one in upstreams(visit):
        if one.tone != "good":
            text = REMEDIES[one.seen.state].format(name=one.one.name, more=one.more)
            notices.append(Notice(one.tone, text, f"/upstreams#{one.one.name}"))
    return notices


def _limits(name: str, limits: Sequence[StandingRow], path: str) -> list[Notice]:
    notices = []
    for one in limits:
        used, limit = float(one.used) + float(one.reserved), float(one.limit)
        if one.measure == "concurrency" or one.per == "minute" or used < limit * NEARLY:
            continue
        full = used >= limit
        what = f"{words.MEASURES[one.measure]}{f' per {one.per}' if one.per else ''}"
        amounts = f"{words.measured(one.used, one.measure)} of {words.measured(one.limit, one.measure)}"
        notices.append(Notice("bad" if full else "warn", f"{name} has used {amounts} ({what}).", path))
    return notices
