"""Who did what: the audit stream, the newest first."""

import re

from starlette.responses import Response

from gateway.errors import refuse
from gateway.pages.visiting import Visit
from gateway.web.rows import deed_row

AT_ONCE = 100


async def get(visit: Visit) -> Response:
    """The page. Raises Refused (400, 503)."""
    before = visit.asked("before")
    if not re.fullmatch(r"([0-9]{1,20}(-[0-9]{1,20})?)?", before):
        raise refuse("invalid", param="before", why="expected the id of a line of the audit log")
    deeds = await visit.site.register.roll.audit(AT_ONCE + 1, before=before)
    rows = [deed_row(one) for one in deeds[:AT_ONCE]]
    more = rows[-1].id if len(deeds) > AT_ONCE else ""
    return visit.page("audit.html", title="Audit log", deeds=rows, more=more, before=before)
