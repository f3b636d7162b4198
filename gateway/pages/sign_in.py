"""Signing in with the operators' token or with a key."""

from starlette.responses import RedirectResponse, Response

from gateway.errors import Refused
from gateway.pages.look import SAFE
from gateway.pages.visiting import HOME, Visit
from gateway.pages.visitors import give_cookie, sign_in


async def get(visit: Visit) -> Response:
    """The page to do so."""
    if visit.visitor is not None:
        return RedirectResponse(HOME, 303, SAFE)
    return _page(visit, "")


async def post(visit: Visit) -> Response:
    """Begin a session, and on to where they wanted to go."""
    try:
        text = await sign_in(visit.site, visit.request, visit.form.get("secret", ""))
    except Refused as refusal:
        if refusal.row.status not in (401, 429):
            raise
        found = _page(visit, _why(refusal), status=refusal.row.status)
        if refusal.retry_after is not None:
            found.headers["retry-after"] = str(max(1, round(refusal.retry_after)))
        return found
    answer = RedirectResponse(_here(visit.form.get("to", "")), 303, SAFE)
    give_cookie(answer, visit.request, text)
    return answer


def _page(visit: Visit, why: str, *, status: int = 200) -> Response:
    to = visit.form.get("to", visit.asked("to"))
    return visit.page("sign_in.html", status=status, title="Sign in", why=why, to=_here(to))


def _why(refusal: Refused) -> str:
    if refusal.name in ("bad_key", "no_key"):
        return "This is neither the operators' token nor a key of this gateway."
    return refusal.message


def _here(to: str) -> str:
    """A page of ours, whatever somebody put into the link."""
    ours = to.startswith("/") and not to.startswith("//") and "\\" not in to
    return to if ours and to.isprintable() else HOME
