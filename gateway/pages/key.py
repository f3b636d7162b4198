"""One key: what it is, how far its limits are used, and what can be done with it."""

from starlette.responses import Response

from gateway.config.asked import key_asked
from gateway.errors import Refused, refuse
from gateway.pages import forms
from gateway.pages.forms import Filled
from gateway.pages.secret import shown_once
from gateway.pages.visiting import Visit
from gateway.policy.terms import read_span
from gateway.web.rows import key_row, standing_rows, team_row

FIELDS = ("team", "models", "upstreams", "limits", "ips", "expires", "exact", "note")


async def get(visit: Visit) -> Response:
    """The page. Raises Refused (404)."""
    return await _page(visit)


async def post(visit: Visit) -> Response:
    """Change, rotate or revoke it. Raises Refused (404, 409)."""
    action, register = visit.form.get("action", ""), visit.site.register
    if action == "rotate":
        made = await register.rotate_key(visit.name, overlap=_overlap(visit.form.get("overlap", "")))
        return shown_once(visit, made, f"The key {visit.name} has a new text")
    if action == "revoke":
        if visit.form.get("sure") != "yes":
            raise refuse("invalid", param="sure", why="tick that you mean it: a revoked key stays so")
        await register.revoke_key(visit.name)
        return visit.on(f"/keys/{visit.name}", f"The key {visit.name} is revoked.")
    try:
        key = key_asked(visit.name, forms.asked(visit), upstreams=visit.site.config.upstream_limits)
        await register.change_key(visit.name, forms.onto(key, FIELDS))
    except Refused as refusal:
        if refusal.row.status != 400:
            raise
        return await _page(visit, refusal=refusal, form=forms.sent(visit))
    return visit.on(f"/keys/{visit.name}", f"The key {visit.name} was changed; it counts from the next request on.")


async def _page(visit: Visit, *, refusal: Refused | None = None, form: Filled | None = None) -> Response:
    roll = visit.site.register.roll
    record = await roll.key(visit.name)
    own, team = await roll.key_standing(record), await roll.team_standing(record.key.team)
    return visit.page(
        "key.html",
        status=200 if refusal is None else refusal.row.status,
        title=record.key.name,
        key=key_row(record),
        standing=standing_rows(own),
        team_standing=standing_rows(team),
        teams=[team_row(one) for one in await roll.teams()],
        refusal=refusal,
        form=form or forms.filled(record.key),
        upstreams=list(visit.site.config.upstream_limits),
        file=visit.site.config.file,
    )


def _overlap(text: str) -> int:
    try:
        return read_span(text or "24h")
    except ValueError as error:
        raise refuse("invalid", param="overlap", why=str(error)) from None
