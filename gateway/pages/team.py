"""One team: how far its limits are used, its keys, and how it is changed."""

from starlette.responses import Response

from gateway.config.asked import team_asked
from gateway.errors import Refused
from gateway.pages import forms
from gateway.pages.forms import Filled
from gateway.pages.visiting import Visit
from gateway.web.rows import key_row, standing_rows, team_row

FIELDS = ("models", "upstreams", "limits", "timezone", "note")


async def get(visit: Visit) -> Response:
    """The page. Raises Refused (404)."""
    return await _page(visit)


async def post(visit: Visit) -> Response:
    """Change it. Raises Refused (404, 409)."""
    try:
        team = team_asked(visit.name, forms.asked(visit), upstreams=visit.site.config.upstream_limits)
        await visit.site.register.change_team(visit.name, forms.onto(team, FIELDS))
    except Refused as refusal:
        if refusal.row.status != 400:
            raise
        return await _page(visit, refusal=refusal, form=forms.sent(visit))
    return visit.on(f"/teams/{visit.name}", f"The team {visit.name} was changed; it counts from the next request on.")


async def _page(visit: Visit, *, refusal: Refused | None = None, form: Filled | None = None) -> Response:
    roll = visit.site.register.roll
    record = await roll.team(visit.name)
    standing, keys = await roll.team_standing(visit.name), await roll.keys()
    return visit.page(
        "team.html",
        status=200 if refusal is None else refusal.row.status,
        title=record.team.name,
        team=team_row(record),
        standing=standing_rows(standing),
        keys=[key_row(one) for one in keys if one.key.team == visit.name],
        refusal=refusal,
        form=form or forms.filled(record.team),
        upstreams=list(visit.site.config.upstream_limits),
        file=visit.site.config.file,
    )
