"""Where there is no page."""

from starlette.responses import Response

from gateway.errors import refuse
from gateway.pages.visiting import Visit


async def get(visit: Visit) -> Response:
    """Says so. Raises Refused (404)."""
    raise refuse("no_route", method="GET", path=visit.request.url.path)
