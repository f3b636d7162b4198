"""/admin/: what was used, single requests and their export, for operators' programs. Each call is audited."""

from collections.abc import Callable, Mapping
from typing import Annotated

from fastapi import APIRouter, Path, Query
from fastapi.responses import Response

from gateway.errors import refuse
from gateway.policy.exports import BEGIN, CURSOR, Form, head_of, line_of, row_of
from gateway.policy.periods import BadPeriod, Period, read_period
from gateway.policy.terms import moment
from gateway.store.books import Books
from gateway.store.totals import COLUMNS, DIMENSIONS, KEPT
from gateway.web.guard import Guard, guarded
from gateway.web.records import Cursor, RequestList, UsageList, request_row, usage_rows

PAGE = 5000
MEDIA: Mapping[Form, str] = {"jsonl": "application/jsonl; charset=utf-8", "csv": "text/csv; charset=utf-8"}
WHY = {
    "behind": "it only moves forward, and it is at {} already",
    "beyond": "no record has it yet; everything up to {} is exported",
}
Shard = Annotated[int | None, Query(description="Which shard's, from 0 on, where store.shards is more than 1.")]
Only = Annotated[str, Query(description="Count nothing else; empty: all of them.")]


def router(books: Books, *, guard: Guard, clock: Callable[[], float]) -> APIRouter:
    """All of it, behind the operators' token. `clock` gives seconds since 1970."""
    routes = APIRouter(prefix="/admin", tags=["Admin"], route_class=guarded(guard))
    _usage(routes, books, clock)
    _requests(routes, books)
    _export(routes, books)
    return routes


def _usage(routes: APIRouter, books: Books, clock: Callable[[], float]) -> None:
    @routes.get(
        "/usage",
        operation_id="listUsage",
        summary="What was used, by hours, days or months and by team, key, model, upstream and route",
        response_model_exclude_unset=True,
    )
    async def usage(
        by: Annotated[str, Query(description=f"Columns to sum by, of {', '.join(COLUMNS)}.")] = "day,key,model",
        since: Annotated[str, Query(description="A day, an hour (2026-01-31T15), a month or a span (7d, 24h).")] = "7d",
        until: Annotated[str, Query(description="The last day, hour or month; empty: now.")] = "",
        *,
        team: Only = "",
        key: Only = "",
        model: Only = "",
        upstream: Only = "",
        route: Only = "",
    ) -> UsageList:
        columns = tuple(part.strip() for part in by.split(",") if part.strip())
        if unknown := sorted(set(columns) - set(COLUMNS)):
            raise refuse("invalid", param="by", why=f"{', '.join(unknown)} is none of {', '.join(COLUMNS)}")
        period = _period(since, until, now=clock(), hourly="hour" in columns)
        only = dict(zip(DIMENSIONS, (team, key, model, upstream, route), strict=True))
        lines = await books.used(period, columns, only)
        start, end = moment(period.start.timestamp()), moment(period.end.timestamp())
        return UsageList(object="list", since=start, until=end, data=usage_rows(lines, columns))


def _requests(routes: APIRouter, books: Books) -> None:
    @routes.get(
        "/requests",
        operation_id="listRequests",
        summary="The records of the last requests, the newest first",
        response_model_exclude_unset=True,
    )
    async def list_requests(
        limit: Annotated[int, Query(ge=1, le=1000, description="How many at most.")] = 20,
        before: Annotated[str, Query(pattern=f"^({CURSOR})?$", description="A cursor: the records before it.")] = "",
        *,
        key: Only = "",
        team: Only = "",
        errors: Annotated[bool, Query(description="Only those that failed.")] = False,
    ) -> RequestList:
        found, following = await books.requests(limit, before=before, key=key, team=team, errors=errors)
        return RequestList(object="list", data=[request_row(one) for one in found], next=following or None)

    @routes.get(
        "/requests/{id}",
        operation_id="showRequest",
        summary="The record of one request, and its correction if it was settled late",
        response_model_exclude_unset=True,
    )
    async def show_request(
        rid: Annotated[str, Path(alias="id", pattern="^req_[0-9a-f]{32}$", description="Its id.")],
    ) -> RequestList:
        found = await books.request(rid)
        return RequestList(object="list", data=[request_row(one) for one in found])


def _export(routes: APIRouter, books: Books) -> None:
    @routes.get(
        "/export",
        operation_id="exportRecords",
        summary="The records behind a cursor, the oldest first; the header x-audiogate-cursor tells where to go on",
        response_class=Response,
        responses={200: {"content": {"application/jsonl": {}, "text/csv": {}}}},
    )
    async def export(
        after: Annotated[str, Query(pattern=f"^({CURSOR})?$", description="A cursor: the records behind it.")] = "",
        limit: Annotated[int, Query(ge=1, le=PAGE, description="How many at most.")] = 1000,
        form: Annotated[Form, Query(alias="format", description="An object a line, or CSV with a head.")] = "jsonl",
        shard: Shard = None,
    ) -> Response:
        stream, cursor, left, body = books.history.stream(shard), after, limit, [head_of(form)]
        while left and (some := (await stream.page(cursor))[:left]):
            body += [line_of(row_of(one.cursor, one.fields), form) for one in some]
            cursor, left = some[-1].cursor, left - len(some)
        await books.roll.note("export.read", after or BEGIN)
        return Response(b"".join(body), media_type=MEDIA[form], headers={"x-audiogate-cursor": cursor or BEGIN})

    @routes.post("/export", operation_id="commitExport", summary="Everything up to this cursor is safe with me")
    async def commit(asked: Cursor, shard: Shard = None) -> Cursor:
        stand = await books.history.stream(shard).commit(asked.cursor)
        await books.roll.note("export.commit", asked.cursor, stand.result)
        if stand.result != "ok":
            raise refuse("invalid", param="cursor", why=WHY[stand.result].format(stand.cursor))
        return Cursor(cursor=stand.cursor)


def _period(since: str, until: str, *, now: float, hourly: bool) -> Period:
    try:
        return read_period(since, until, now=now, hourly=hourly, kept=KEPT)
    except BadPeriod as error:
        raise refuse("invalid", param=error.end, why=str(error)) from None
