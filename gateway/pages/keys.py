"""All teams and keys, and the forms that make new ones."""

from starlette.responses import Response

from gateway.config.asked import key_asked
from gateway.errors import Refused
from gateway.pages import forms
from gateway.pages.forms import Filled
from gateway.pages.secret import shown_once
from gateway.pages.visiting import Visit
from gateway.web.rows import key_row, team_row


async def get(visit: Visit) -> Response:
    """The page."""
    return await listed(visit)


async def post(visit: Visit) -> Response:
    """Make a key; the answer shows its text."""
    name, config = visit.form.get("name", ""), visit.site.config
    try:
        key = key_asked(name, forms.asked(visit), upstreams=config.upstream_limits)
        made = await visit.site.register.make_key(key)
    except Refused as refusal:
        if refusal.row.status not in (400, 409):
            raise
        return await listed(visit, refusal=refusal, key_form=forms.sent(visit))
    return shown_once(visit, made, f"The key {made.record.key.name} was made")


async def listed(
    visit: Visit, *, refusal: Refused | None = None, key_form: Filled | None = None, team_form: Filled | None = None
) -> Response:
    """The page, with a form as it was sent where something about it was wrong."""
    roll = visit.site.register.roll
    keys, teams = await roll.keys(), await roll.teams()
    return visit.page(
        "keys.html",
        status=200 if refusal is None else refusal.row.status,
        title="Teams & keys",
        keys=[key_row(one) for one in keys],
        teams=[team_row(one) for one in teams],
        refusal=refusal,
        wrong="key" if key_form else "team" if team_form else "",
        key_form=key_form or forms.empty(team=visit.asked("team", "default")),
        team_form=team_form or forms.empty(timezone="UTC"),
        upstreams=list(visit.site.config.upstream_limits),
    )
