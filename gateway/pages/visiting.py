"""One visit to a page: who it is, whether they may, what they sent, and the page's room."""

import asyncio
import hmac
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from urllib.parse import parse_qsl, quote, urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from gateway.errors import Refused, refuse
from gateway.pages.look import SAFE, rendered
from gateway.pages.places import PLACES, Place
from gateway.pages.site import Site
from gateway.pages.visitors import Visitor, sent_by, visitor

log = logging.getLogger("audiogate")
MOST_BYTES = 65_536
MOST_FIELDS = 500
HOME = "/"


@dataclass(slots=True)
class Visit:
    """What a page's room is given. `form` is what was sent, "" where a field is missing; its lists are in `lists`."""

    site: Site
    request: Request
    place: Place
    visitor: Visitor | None
    form: Mapping[str, str] = field(default_factory=dict)
    lists: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def who(self) -> Visitor:
        """Who looks, at a page that is not for anybody."""
        assert self.visitor is not None
        return self.visitor

    @property
    def name(self) -> str:
        """The name, or the id, in the path."""
        found = self.request.path_params
        return str(found.get("name", found.get("id", "")))

    def asked(self, name: str, default: str = "") -> str:
        """What stands in the query under a name."""
        return self.request.query_params.get(name, default)

    @property
    def said(self) -> str:
        """What was done, as the address says it: what we said in this session, and nobody else put into a link."""
        text, mark = self.asked("said"), self.asked("mark").encode()
        ours = self.visitor is not None and hmac.compare_digest(self.visitor.mark(text).encode(), mark)
        return text if ours else ""

    def page(self, template: str, *, status: int = 200, **facts: object) -> Response:
        """A page in the frame of all pages."""
        shown = [one for one in PLACES if one.name and self.visitor is not None and may(self.visitor, one)]
        here = next((one.path for one in shown if one.path == "/" + self.place.path.split("/")[1]), "")
        frame = {"places": shown, "here": here, "who": self.visitor, "said": self.said, "site": self.site}
        return rendered(template, {**frame, **facts}, status=status)

    def on(self, path: str, said: str = "") -> Response:
        """On to another page, which shows what was done; so that a reload does nothing twice."""
        query = "?" + urlencode({"said": said, "mark": self.who.mark(said)}) if said else ""
        return RedirectResponse(quote(path) + query, 303, SAFE)


async def answer(place: Place, site: Site, request: Request) -> Response:
    """What a visit is answered; refusals are pages, too."""
    visit = Visit(site, request, place, None)
    try:
        visit.visitor = await visitor(site, request) if place.room != "assets" else None
        if place.who != "anybody" and visit.visitor is None:
            return _to_sign_in(visit)
        if visit.visitor is not None and not may(visit.visitor, place):
            raise refuse("operators_only")
        if request.method == "POST":
            await _read(visit)
            signing_in = place.who == "anybody"
            sent_by(None if signing_in else visit.visitor, request, visit.form.get("token", ""))
        room = await asyncio.to_thread(import_module, f"gateway.pages.{place.room}")
        async with site.guard.turn(visit.visitor.kid if visit.visitor is not None else ""):
            found: Response = await (room.post if request.method == "POST" else room.get)(visit)
    except Refused as refusal:
        return _refused(visit, refusal)
    except Exception:
        log.exception("the page %s failed", place.path)
        return _refused(visit, refuse("internal"))
    return found


def may(visitor: Visitor, place: Place) -> bool:
    """Whether they may see a page."""
    return visitor.operator or place.who != "operators"


async def _read(visit: Visit) -> None:
    body = b""
    async for piece in visit.request.stream():
        body += piece
        if len(body) > MOST_BYTES:
            raise refuse("too_large", limit=MOST_BYTES, got=len(body))
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MOST_FIELDS)
    except ValueError as error:
        raise refuse("bad_request", why="the form cannot be read") from error
    visit.form = {name: value.strip() for name, value in reversed(pairs)}
    visit.lists = {name: [value.strip() for other, value in pairs if other == name] for name, _ in pairs}


def _to_sign_in(visit: Visit) -> Response:
    path = visit.request.url.path
    if visit.request.url.query:
        path += "?" + visit.request.url.query
    query = "" if path == HOME else "?" + urlencode({"to": path})
    return RedirectResponse("/sign-in" + query, 303, SAFE)


def _refused(visit: Visit, refusal: Refused) -> Response:
    template = "away.html" if refusal.name == "store_down" else "refused.html"
    found = visit.page(template, status=refusal.row.status, refusal=refusal, title="That did not work")
    if refusal.retry_after is not None:
        found.headers["retry-after"] = str(max(1, round(refusal.retry_after)))
    return found
