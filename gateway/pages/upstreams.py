"""How the upstreams do, for operators: state, last hour, limits; testing them, and taking them out of use."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.responses import Response

from gateway.checkup import Checked, check
from gateway.errors import refuse
from gateway.pages import words
from gateway.pages.attention import Where, where
from gateway.pages.figures import Recent, last_hour
from gateway.pages.visiting import Visit
from gateway.policy.limits import duration
from gateway.store.drains import Drain, Drains
from gateway.store.roll import Standing, unknown, upstream_standings
from gateway.upstreams.base import Verdict
from gateway.web.rows import StandingRow, standing_rows

HERE = "/upstreams"
# By the name of an upstream.
Standings = Mapping[str, Sequence[Standing]]
Drained = Mapping[str, Drain]
Results = Mapping[str, Checked]


@dataclass(frozen=True, slots=True)
class Hour:
    """An upstream's last hour: requests that it `served`, attempts there that `failed`, its `share` of all that were
    served, and how long they took, `p95` in ms.
    """

    served: int
    failed: int
    share: float
    p95: int | None

    @property
    def success(self) -> float | None:
        """The share of attempts that it served; None: there were none."""
        tried = self.served + self.failed
        return self.served / tried if tried else None


@dataclass(frozen=True, slots=True)
class Shown:
    """All that is shown of an upstream. `drain`: by whom and since when; `checked`: what a test has just found."""

    where: Where
    host: str
    models: Sequence[str]
    balance: str
    hour: Hour
    limits: Sequence[StandingRow]
    drain: Drain | None
    checked: Checked | None


async def get(visit: Visit) -> Response:
    """The page."""
    return await _page(visit, {})


async def post(visit: Visit) -> Response:
    """Test an upstream, drain it, or use it again. Raises Refused (400, 404, 503)."""
    site, called, asked = visit.site, visit.form.get("name", ""), visit.form.get("do", "")
    known = {one.name: one for one in site.config.market.upstreams}
    if asked == "test":
        if called not in known:
            raise unknown("upstream", called)
        return await _page(visit, {called: await check(known[called], clock=site.clock)})
    if asked == "drain":
        await _drains(visit).begin(called, known=known)
        return visit.on(
            HERE, f"Upstream {called} is drained: what is under way there ends by itself, nothing new goes."
        )
    if asked == "undrain":
        await _drains(visit).end(called, known=known)
        return visit.on(HERE, f"Requests may go to upstream {called} again.")
    raise refuse("bad_request", why="it asks for nothing that this page does")


def _drains(visit: Visit) -> Drains:
    return Drains(visit.site.connection, door=visit.site.register.roll.door, tell=visit.site.parts.health.drain)


async def _page(visit: Visit, checked: Results) -> Response:
    config = visit.site.config
    recent = await last_hour(visit)
    drained = await _drains(visit).read()
    standing = await upstream_standings(visit.site.connection, config.upstream_limits)
    return visit.page(
        "upstreams.html",
        title="Upstreams",
        shown=_shown(visit, recent, standing, drained, checked),
        gone=sorted(drained.keys() - {one.name for one in config.market.upstreams}),
        recent=recent,
    )


def _shown(visit: Visit, recent: Recent, standing: Standings, drained: Drained, checked: Results) -> list[Shown]:
    found = []
    for one in visit.site.config.market.upstreams:
        stands, name = where(visit, one), one.name
        found.append(
            Shown(
                stands,
                urlsplit(one.base_url).netloc,
                [model if sent in (model, "*") else f"{model} → {sent}" for model, sent in one.models.items()],
                _balance(stands),
                _hour(name, recent),
                standing_rows(standing.get(name, ())),
                drained.get(name),
                checked.get(name),
            )
        )
    return found


def _balance(found: Where) -> str:
    left = found.seen.balance
    if not found.one.balance:
        return "not asked"
    told = f", told {duration(found.seen.balance_age)} ago"
    if left.usd is not None:
        return words.money(left.usd) + told
    return f"our key has no limit{told}" if left.unlimited else f"not known{left.why and f': {left.why}'}"


def _hour(name: str, recent: Recent) -> Hour:
    """What the records say. That a caller asked for something wrong is no failure of an upstream."""
    served = [one.fields for one in recent.records if 0 < int(one.fields.get("status") or 0) < 400]
    here = sorted(int(fields.get("latency_ms") or 0) for fields in served if fields.get("upstream") == name)
    attempts = [row.split(":") for one in recent.records for row in (one.fields.get("failed") or "").split()]
    failed = sum(row[0] == name and row[1] != Verdict.CALLER for row in attempts)
    p95 = here[min(len(here) - 1, int(len(here) * 0.95))] if here else None
    return Hour(len(here), failed, len(here) / len(served) if served else 0.0, p95)
