"""/admin/upstreams: how the upstreams do, and taking one out of use, for operators' programs."""

from collections.abc import Callable
from typing import Annotated, Literal
from urllib.parse import urlsplit

from fastapi import APIRouter, Path
from pydantic import BaseModel, Field

from gateway.checkup import Checked, check
from gateway.parts import Parts
from gateway.store.connection import Connection
from gateway.store.drains import Drains
from gateway.store.roll import unknown
from gateway.upstreams.base import Upstream
from gateway.web.guard import Guard, guarded
from gateway.web.rows import WHEN, when

Called = Annotated[str, Path(alias="name", description="Its name.")]


class UpstreamRow(BaseModel):
    """An upstream, and how it does."""

    name: str
    kind: str
    host: str
    models: list[str] = Field(description="What callers may ask it for; these may be patterns.")
    priority: int = Field(description="Lower goes first.")
    weight: int = Field(description="Its share among those of the same priority.")
    state: Literal["up", "resting", "drained", "dry"] = Field(
        description="`drained`: operators have taken it out of use. `resting`: it failed lately, others go first. "
        "`dry`: our money there is used up, others go first."
    )
    resting_seconds: float = Field(description="Until it, or the last of its models, is asked like the others again.")
    resting_models: list[str] = Field(description="Its models that rest alone, by their names there.")
    under_way: int = Field(description="Requests that are there now.")
    pace: float | None = Field(
        description="Seconds of work per second of audio, as a moving average; null: nothing was seen yet."
    )
    ejections: int = Field(description="How often one of its models was laid to rest since the process began.")
    balance_usd: str | None = Field(description="US dollars left of our money there; null: not known, or no limit.")
    balance_unlimited: bool = Field(description="Our key there has no limit.")
    balance_age_seconds: float | None = Field(description="How long ago that was told.")
    drained_since: str | None = Field(description="Null: it is not drained. " + WHEN)


class UpstreamList(BaseModel):
    """All upstreams, in the order of the configuration."""

    object: Literal["list"] = "list"
    data: list[UpstreamRow]


class CheckedRow(BaseModel):
    """Whether an upstream is usable, as far as its list of models tells."""

    name: str
    ok: bool
    verdict: str = Field(description="One word, such as `fine`, `key`, `refused`: see docs/upstreams.md.")
    message: str = Field(description="What to do about it; empty: nothing.")
    ms: float | None = Field(description="Milliseconds until the answer began; null: it never did.")
    connect_ms: float | None = Field(description="Those of them until there was a connection.")


def router(parts: Parts, connection: Connection, *, guard: Guard, clock: Callable[[], float]) -> APIRouter:
    """All of it, behind the operators' token. `clock` gives seconds since 1970."""
    routes = APIRouter(prefix="/admin/upstreams", tags=["Admin"], route_class=guarded(guard))

    @routes.get(
        "",
        operation_id="listUpstreams",
        summary="How the upstreams do",
        description="As the worker that answers has seen them: with several workers or replicas each has its own view, "
        "and `under_way` are its own requests. Drains are those of all of them.",
    )
    async def list_upstreams() -> UpstreamList:
        return UpstreamList(data=[upstream_row(one, parts) for one in parts.market.upstreams])

    @routes.post(
        "/{name}/test",
        operation_id="testUpstream",
        summary="Ask it for its models, with our key: is it usable?",
        description="It costs nothing, and takes ten seconds at most.",
    )
    async def test(called: Called) -> CheckedRow:
        return checked_row(called, await check(_named(called, parts), clock=clock))

    _drains(routes, parts, Drains(connection, door="api", tell=parts.health.drain))
    return routes


def _drains(routes: APIRouter, parts: Parts, drains: Drains) -> None:
    @routes.post(
        "/{name}/drain",
        operation_id="drainUpstream",
        summary="Let no new request go there",
        description="It holds within two seconds for all workers and replicas, until it is ended, also over restarts. "
        "What is under way there ends by itself.",
    )
    async def drain(called: Called) -> UpstreamRow:
        await drains.begin(called, known=[one.name for one in parts.market.upstreams])
        return upstream_row(_named(called, parts), parts)

    @routes.post("/{name}/undrain", operation_id="undrainUpstream", summary="Let requests go there again")
    async def undrain(called: Called) -> UpstreamRow:
        await drains.end(called, known=[one.name for one in parts.market.upstreams])
        return upstream_row(_named(called, parts), parts)


def _named(called: str, parts: Parts) -> Upstream:
    found = next((one for one in parts.market.upstreams if one.name == called), None)
    if found is None:
        raise unknown("upstream", called)
    return found


def checked_row(name: str, found: Checked) -> CheckedRow:
    """What was found as it is told."""
    return CheckedRow(
        name=name,
        ok=found.ok,
        verdict=found.verdict,
        message=found.message,
        ms=found.ms,
        connect_ms=found.connect_ms,
    )


def upstream_row(one: Upstream, parts: Parts) -> UpstreamRow:
    """An upstream as it is told."""
    state = parts.health.state(one.name)
    left = state.balance
    return UpstreamRow(
        name=one.name,
        kind=one.kind.name,
        host=urlsplit(one.base_url).netloc,
        models=sorted(one.models),
        priority=one.priority,
        weight=one.weight,
        state=state.state,
        resting_seconds=round(state.rests, 1),
        resting_models=list(state.resting),
        under_way=state.under_way,
        pace=None if state.pace is None else round(state.pace, 4),
        ejections=state.ejections,
        balance_usd=None if left.usd is None else str(left.usd),
        balance_unlimited=left.unlimited,
        balance_age_seconds=round(state.balance_age, 1) if left.known else None,
        drained_since=when(state.drained),
    )
