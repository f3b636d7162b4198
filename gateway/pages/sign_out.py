"""Signing out: the session is over, whoever still has the cookie."""

from starlette.responses import RedirectResponse, Response

from gateway.pages.look import SAFE
from gateway.pages.visiting import Visit
from gateway.pages.visitors import cookie_name, give_cookie


async def post(visit: Visit) -> Response:
    """End it."""
    await visit.site.sessions.end(visit.request.cookies.get(cookie_name(visit.request), ""))
    answer = RedirectResponse("/sign-in", 303, SAFE)
    give_cookie(answer, visit.request, "")
    return answer
