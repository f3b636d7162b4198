"""Making a team; all of them are shown beside the keys."""

from starlette.responses import Response

from gateway.config.asked import team_asked
from gateway.errors import Refused
from gateway.pages import forms
from gateway.pages.keys import listed
from gateway.pages.visiting import Visit


async def get(visit: Visit) -> Response:
    """Where they are shown."""
    return visit.on("/keys")


async def post(visit: Visit) -> Response:
    """Make one."""
    name, config = visit.form.get("name", ""), visit.site.config
    try:
        await visit.site.register.make_team(team_asked(name, forms.asked(visit), upstreams=config.upstream_limits))
    except Refused as refusal:
        if refusal.row.status not in (400, 409):
            raise
        return await listed(visit, refusal=refusal, team_form=forms.sent(visit))
    return visit.on(f"/teams/{name}", f"The team {name} was made.")
