"""Who looks at a page: signing in, knowing them again, and telling what they ask for from what others make them ask.

The cookie is Strict, so that no other site's link or form carries it; forms carry a text of their session besides, and
what a browser says about where a request comes from has to fit.
"""

import hashlib
import hmac
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from gateway.errors import Refused, refuse
from gateway.pages.site import Site
from gateway.policy.keys import Caller, parse
from gateway.store.sessions import SECONDS, Session
from gateway.web.guard import peer_of

COOKIE = "audiogate"


@dataclass(frozen=True, slots=True)
class Visitor:
    """Somebody signed in: the holder of a key, or an operator (`caller` None). `token` stands in their forms."""

    token: str
    caller: Caller | None = None

    @property
    def operator(self) -> bool:
        """Whether they may see and change everything."""
        return self.caller is None

    @property
    def kid(self) -> str:
        """The key that they may see alone, "" for all."""
        return "" if self.caller is None else self.caller.kid

    @property
    def name(self) -> str:
        """What they are called."""
        return "operator" if self.caller is None else self.caller.name

    def mark(self, text: str) -> str:
        """What tells in an address that the text beside it is ours, said in this session."""
        return hmac.new(self.token.encode(), text.encode(), "sha256").hexdigest()[:16]


async def sign_in(site: Site, request: Request, text: str) -> str:
    """Begin a session for whoever shows the operators' token or a key; the cookie's text. The one before is over.

    Raises Refused: 401, 429 after too many wrong ones from that address, 503.
    """
    site.guard.patient(request)
    try:
        session = await _session(site, request, text)
    except Refused as refusal:
        if refusal.row.status == 401:
            site.guard.wrong(request)
        raise
    before = request.cookies.get(cookie_name(request), "")
    if before:
        await site.sessions.end(before)
    return await site.sessions.begin(session)


async def _session(site: Site, request: Request, text: str) -> Session:
    """Of holders it is not written down, like all that they see of themselves: they could fill the audit stream."""
    if site.guard.knows(text):
        await site.register.roll.note("pages.sign_in", "operator")
        return Session("", _proof(site.config.server.admin_token))
    caller = await site.parts.keys.holder(parse(text), now=site.clock(), peer=peer_of(request), fresh=True)
    return Session(caller.kid, caller.digest)


async def visitor(site: Site, request: Request) -> Visitor | None:
    """Who looks, None if nobody is signed in (any more): the key may be revoked, the token another one by now."""
    text = request.cookies.get(cookie_name(request), "")
    session = await site.sessions.find(text) if text else None
    if session is None:
        return None
    token = hashlib.sha256(b"form " + text.encode()).hexdigest()
    if not session.kid:
        operator = site.config.server.admin_token
        return Visitor(token) if operator and hmac.compare_digest(session.proof, _proof(operator)) else None
    caller = await site.parts.keys.find(session.kid, fresh=True)
    if caller is None or not _good(caller, session, peer=peer_of(request)):
        return None
    return Visitor(token, caller)


def sent_by(visitor: Visitor | None, request: Request, token: str) -> None:
    """Whether a form comes from a page of ours. Raises Refused (403)."""
    said = request.headers.get("sec-fetch-site", "same-origin")
    origin = request.headers.get("origin")
    ours = origin is None or origin.partition("://")[2] == request.headers.get("host")
    if said not in ("same-origin", "none") or not ours:
        raise refuse("other_site")
    if visitor is not None and not hmac.compare_digest(visitor.token.encode(), token.encode()):
        raise refuse("other_site")


def give_cookie(answer: Response, request: Request, text: str) -> None:
    """Let the browser show it from now on; "" takes it away."""
    secure = request.url.scheme == "https"
    answer.set_cookie(
        cookie_name(request), text, max_age=SECONDS if text else 0, secure=secure, httponly=True, samesite="strict"
    )


def cookie_name(request: Request) -> str:
    """Over TLS a name that no other host of the domain can set."""
    return f"__Host-{COOKIE}" if request.url.scheme == "https" else COOKIE


def _good(caller: Caller, session: Session, *, peer: str) -> bool:
    """Whether it has expired is in its state, by the store's clock."""
    shown = session.proof in (caller.digest, caller.previous) and bool(session.proof)
    return shown and caller.state == "active" and caller.may_call_from(peer)


def _proof(token: str) -> str:
    return hashlib.sha256(b"operator " + token.encode()).hexdigest()
