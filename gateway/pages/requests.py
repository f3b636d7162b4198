"""The last requests, the newest first, and the way to one of them by its id."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

from starlette.responses import Response

from gateway.audio.request import ROUTES
from gateway.pages import words
from gateway.pages.asked import dimensions
from gateway.pages.breakdown import choices
from gateway.pages.visiting import Visit
from gateway.policy.exports import CURSOR, row_of
from gateway.policy.periods import Period
from gateway.policy.terms import plain
from gateway.store.stream import Record

ID = re.compile("req_[0-9a-f]{32}")
PAGE = 50
MOST_LOOKED_AT = 20_000
OFFERED = timedelta(days=30)  # what was used in this time is offered to filter by
NO_ID = "This is no id of a request: that is req_ and 32 hexadecimal digits, as the header x-request-id told it."
NO_PLACE = "This is no place in the list; these are the newest requests."


@dataclass(frozen=True, slots=True)
class Row:
    """A request in the list: fields of its record, as they are shown."""

    time: str
    id: str
    key: str
    what: str
    model: str
    upstream: str
    status: str
    tone: str
    took: str
    used: str
    cost: str
    error: str
    corrects: bool


async def get(visit: Visit) -> Response:
    """The page, or on to the request whose id was asked for."""
    text, before = visit.asked("id").strip(), visit.asked("before")
    if found := ID.search(text.lower()):
        return visit.on(f"/requests/{found[0]}")
    astray = bool(before) and not re.fullmatch(CURSOR, before)
    return await _page(visit, NO_ID if text else NO_PLACE if astray else "", before="" if astray else before)


async def _page(visit: Visit, why: str, *, before: str) -> Response:
    books, kid, errors = visit.site.books, visit.who.kid, bool(visit.asked("errors"))
    only = {name: plain(visit.asked(name).strip()) for name in dimensions(visit)}
    found, following = await books.requests(
        PAGE + 1, before=before, errors=errors, kid=kid, most=MOST_LOOKED_AT, **only
    )
    if len(found) > PAGE:
        found, following = found[:PAGE], found[PAGE - 1].cursor
    names = await books.totals.key_names() if visit.who.operator else {}
    today = datetime.fromtimestamp(visit.site.clock(), UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    offered = await choices(visit, Period("day", today - OFFERED, today + timedelta(days=1)))
    asked = {name: value for name, value in (*only.items(), ("errors", "1" if errors else "")) if value}
    return visit.page(
        "requests.html",
        status=400 if why else 200,
        title="Requests",
        why=why,
        only=only,
        errors=errors,
        offered={**offered, "route": ROUTES},
        rows=[_row(one, names) for one in found],
        newest=f"/requests?{urlencode(asked)}" if before else "",
        older=f"/requests?{urlencode({**asked, 'before': following})}" if following else "",
        stopped=bool(following) and len(found) < PAGE,
        most=MOST_LOOKED_AT,
    )


def _row(record: Record, names: Mapping[str, str]) -> Row:
    one, row = record.fields, row_of(record.cursor, record.fields)
    status, kid = whole(row, "status"), one.get("key", "")
    return Row(
        time=str(row["time"]),
        id=one.get("id", ""),
        key=one.get("key_name", "") or names.get(kid, kid),
        what=one.get("route", ""),
        model=one.get("model", ""),
        upstream=one.get("upstream", ""),
        status=str(status or "none"),
        tone=words.tone(status),
        took=words.span(whole(row, "latency_ms")) if "latency_ms" in row else "–",
        used=words.used(whole(row, "audio_ms"), whole(row, "characters")),
        cost=words.exact(whole(row, "cost_micro_usd")),
        error=one.get("error", ""),
        corrects="takes_back" in row,
    )


def whole(row: Mapping[str, str | int], field: str) -> int:
    """A number of a record, 0 where it has none."""
    found = row.get(field, 0)
    return found if isinstance(found, int) else 0
