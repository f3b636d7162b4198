"""The table of the page on usage, all of it, as CSV."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta

from starlette.responses import Response

from gateway.errors import refuse
from gateway.pages.asked import asked, period
from gateway.pages.breakdown import broken_down
from gateway.pages.look import SAFE
from gateway.pages.visiting import Visit
from gateway.policy.exports import cells, guarded
from gateway.store.totals import Line
from gateway.web.records import amounts

COLUMNS = ("requests", "errors", "audio_seconds", "characters", "input_tokens", "output_tokens", "cost_usd")
PAID = "upstream_cost_usd"  # what operators pay is their business


async def get(visit: Visit) -> Response:
    """The file; money is decimal text, audio is in seconds. Raises Refused: 400, 503."""
    wanted = asked(visit)
    try:
        found = period(visit, wanted)
    except ValueError as error:
        raise refuse("bad_request", why=str(error)) from None
    lines = (await broken_down(visit, found, wanted)).lines
    columns = (*COLUMNS, PAID) if visit.who.operator else COLUMNS
    days = f"{found.start:%Y-%m-%d}-to-{found.end - timedelta(hours=1):%Y-%m-%d}"
    headers = {"content-disposition": f'attachment; filename="audiogate-usage-{days}-by-{wanted.by}.csv"'}
    content = await asyncio.to_thread(_content, (wanted.unit, wanted.by), columns, lines)  # there may be many
    return Response(content, media_type="text/csv; charset=utf-8", headers={**SAFE, **headers})


def _content(by: Sequence[str], columns: Sequence[str], lines: Sequence[Line]) -> bytes:
    rows = [cells([*by, *columns])]
    for line in lines:
        sums = amounts(line.sums)
        rows.append(cells([*map(guarded, line.by), *(sums[column] for column in columns)]))
    return b"".join(rows)
