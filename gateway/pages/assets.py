"""Style, script and icon, for browsers."""

from starlette.responses import Response

from gateway.errors import refuse
from gateway.pages.shelf import content, names
from gateway.pages.visiting import Visit

TYPES = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8", "svg": "image/svg+xml"}
KEPT = "public, max-age=31536000, immutable"
ICON = "icon.svg"


async def get(visit: Visit) -> Response:
    """One of them. Raises Refused (404)."""
    file = str(visit.request.path_params.get("file", ICON))
    if file not in names():
        raise refuse("no_route", method="GET", path=visit.request.url.path)
    kept = KEPT if visit.request.url.query else "no-cache"
    return Response(content(file), media_type=TYPES[file.rpartition(".")[2]], headers={"cache-control": kept})
