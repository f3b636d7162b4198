"""The table of all pages, and the doors to them."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Literal

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.pages.site import Site

Who = Literal["anybody", "holders", "operators"]
Answer = Callable[[Request, Exception], Awaitable[Response]]
Methods = Sequence[Literal["GET", "POST"]]


@dataclass(frozen=True, slots=True)
class Place:
    """A page: its path, the room that makes it, who may see it, and its name in the list of pages, "" if not there.

    A room has functions `get` and `post`, as far as `methods` say. "holders": operators too.
    """

    path: str
    room: str
    who: Who = "holders"
    name: str = ""
    methods: Methods = ("GET",)


PLACES = (
    Place("/", "overview", name="Overview"),
    Place("/usage", "usage", name="Usage"),
    Place("/usage.csv", "usage_file"),
    Place("/requests", "requests", name="Requests"),
    Place("/requests/{id}", "request"),
    Place("/keys", "keys", "operators", name="Teams & keys", methods=("GET", "POST")),
    Place("/keys/{name}", "key", "operators", methods=("GET", "POST")),
    Place("/teams", "teams", "operators", methods=("GET", "POST")),
    Place("/teams/{name}", "team", "operators", methods=("GET", "POST")),
    Place("/upstreams", "upstreams", "operators", name="Upstreams", methods=("GET", "POST")),
    Place("/playground", "playground", name="Playground"),
    Place("/connect", "connect", name="Connect"),
    Place("/config", "settings", "operators", name="Configuration"),
    Place("/audit", "audit", "operators", name="Audit log"),
    Place("/sign-in", "sign_in", "anybody", methods=("GET", "POST")),
    Place("/sign-out", "sign_out", methods=("POST",)),
    Place("/assets/{file}", "assets", "anybody"),
    Place("/favicon.ico", "assets", "anybody"),
)


def routes(site: Site) -> list[Route]:
    """The doors to all pages."""
    return [
        Route(place.path, _door(place, site), methods=list(place.methods), include_in_schema=False) for place in PLACES
    ]


LOST = Place("/lost", "lost", "anybody")
PROGRAMS = ("/v1", "/admin", "/metrics")


def lost(site: Site, otherwise: Answer) -> Answer:
    """What is answered where there is nothing: a page to who reads it in a browser, `otherwise` to programs."""
    door = _door(LOST, site)

    async def answer(request: Request, error: Exception) -> Response:
        read = request.method == "GET" and "text/html" in request.headers.get("accept", "")
        if read and not request.url.path.startswith(PROGRAMS):
            return await door(request)
        return await otherwise(request, error)

    return answer


def _door(place: Place, site: Site) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        visiting = await asyncio.to_thread(import_module, "gateway.pages.visiting")
        found: Response = await visiting.answer(place, site, request)
        return found

    return answer
