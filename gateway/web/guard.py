"""The doors to /admin/ and /metrics: who has not shown the right token is read nothing of, who has is read little."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any
from weakref import WeakValueDictionary

from fastapi import Request
from fastapi.responses import Response
from fastapi.routing import APIRoute
from starlette.types import Message

from gateway.errors import Refused, refuse
from gateway.policy.addresses import loopback
from gateway.policy.keys import check_admin
from gateway.policy.limits import duration
from gateway.policy.throttle import Throttle

MOST_BYTES = 65_536
AT_ONCE, MOST_WAITING = 2, 20  # visits of one key's holder to pages
# What every answer but those of audio carries: it is data, no page, and is shown to nobody else.
SAFE = (
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
)
FORWARDED = ("x-forwarded-for", "forwarded", "x-real-ip", "x-forwarded-host", "x-forwarded-proto", "via")


class _Turn:
    """The visits of one key's holder: how many there are, and whose turn it is."""

    def __init__(self) -> None:
        self.visits, self.next = 0, asyncio.Semaphore(AT_ONCE)


class Guard:
    """Tokens, who showed wrong ones, and whose visits take turns. `clock` gives monotonic seconds."""

    def __init__(self, *, admin_token: str, metrics_token: str, clock: Callable[[], float]) -> None:
        self._admin, self._metrics, self._clock = admin_token, metrics_token, clock
        self._throttle = Throttle()
        self._turns: WeakValueDictionary[str, _Turn] = WeakValueDictionary()  # as long as there are visits

    def operator(self, request: Request) -> None:
        """Refused unless the operators' token is shown: 401, or 429 after too many wrong ones."""
        self._check(request, [self._admin], "bad_admin_token")

    def counter(self, request: Request) -> None:
        """Refused, as above, unless this very machine asks, or who shows the token for it.

        What a proxy on this machine passes on comes from elsewhere.
        """
        here = request.client is not None and loopback(request.client.host)
        if not here or any(name in request.headers for name in FORWARDED):
            self._check(request, [self._metrics, self._admin], "bad_metrics_token")

    def knows(self, text: str) -> bool:
        """Whether this is the operators' token."""
        return _right([f"Bearer {text}"], self._admin)

    def patient(self, request: Request) -> None:
        """Refused (429) after too many wrong tokens from there."""
        if wait := self._throttle.wait(peer_of(request), self._clock()):
            raise refuse("too_many_tries", retry_after=wait, wait=duration(wait))

    def wrong(self, request: Request) -> None:
        """A wrong token came from there."""
        self._throttle.failed(peer_of(request), self._clock())

    @asynccontextmanager
    async def turn(self, kid: str) -> AsyncIterator[None]:
        """Around a visit to a page, which may look at a lot: of a key's holder AT_ONCE are under way, others wait.

        Operators ("") never do. Raises Refused (503) where MOST_WAITING wait already.
        """
        if not kid:
            yield
            return
        turn = self._turns.get(kid) or self._turns.setdefault(kid, _Turn())
        if turn.visits >= AT_ONCE + MOST_WAITING:
            raise refuse("overloaded", retry_after=1, wait="1s")
        turn.visits += 1
        try:
            async with turn.next:
                yield
        finally:
            turn.visits -= 1

    def _check(self, request: Request, tokens: Sequence[str], name: str) -> None:
        self.patient(request)
        shown = request.headers.getlist("authorization")
        if not any([_right(shown, token) for token in tokens]):  # each of them: which one is right takes no time
            if shown:
                self.wrong(request)
            raise refuse(name)


def guarded(guard: Guard) -> type[APIRoute]:
    """Routes of operators. Refused: what `guard` refuses, 413 for a body of more than MOST_BYTES."""

    class Guarded(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            answer = super().get_route_handler()

            async def checked(request: Request) -> Response:
                guard.operator(request)
                return await answer(Request(request.scope, _replay(await _body(request))))

            return checked

    return Guarded


def peer_of(request: Request) -> str:
    """The address that a request comes from, "" if nobody knows it."""
    return request.client.host if request.client is not None else ""


def _right(shown: Sequence[str], token: str) -> bool:
    try:
        check_admin(shown, token)
    except Refused:
        return False
    return True


async def _body(request: Request) -> bytes:
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > MOST_BYTES:
            raise refuse("too_large", limit=MOST_BYTES, got=len(body))
    return body


def _replay(body: bytes) -> Callable[[], Coroutine[Any, Any, Message]]:
    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive
