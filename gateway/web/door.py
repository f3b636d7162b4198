"""The protocol of a connection: uvicorn's, which serves audio requests by itself; all others go to the application."""

import asyncio
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.config import Config
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from gateway.audio.request import PREFIX
from gateway.call import Call
from gateway.errors import Refused
from gateway.parts import Parts
from gateway.web.audio import Asked, Visit

DESK = "audiogate.desk"


@dataclass(frozen=True, slots=True)
class Desk:
    """What the application hands to its doors, as DESK in the state of its lifespan scope.

    `clock` gives seconds since 1970, `name` the id of a request that begins then. `shed` tells whether one that comes
    now has to be refused, and how.
    """

    parts: Parts
    clock: Callable[[], float]
    name: Callable[[float], str]
    shed: Callable[[], Refused | None]


class Door(HttpToolsProtocol):
    """A connection: what comes in is answered in its order, and while a request waits for its turn nothing is read.

    `cycle` and `pipeline` are uvicorn's, for visits too: what is being received, and what waits. `_now` is what is
    being answered.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._desk: Desk = app_state[DESK]
        self._now: RequestResponseCycle | Visit | None = None

    # -- what the parser calls

    def on_headers_complete(self) -> None:
        """The head of a request is here. What is wrong with its target is uvicorn's to say."""
        target = httptools.parse_url(self.url)
        path = target.path.decode("ascii")
        if not _to_audio(path) or self._crowded():
            super().on_headers_complete()
            return
        parser = self.parser
        query = (target.query or b"").decode("latin-1")
        visit = Visit(
            self,
            Asked(parser.get_method().decode("ascii"), path, query, tuple(self.headers)),  # no trailers come to it
            keep_alive=parser.get_http_version() != "1.0" and parser.should_keep_alive(),
            expects=self.expect_100_continue,
        )
        self.cycle = cast("RequestResponseCycle", visit)
        if self._now is None or self._now.response_complete:
            self._start_asgi_task(self.cycle, self.app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))

    def on_body(self, body: bytes) -> None:
        """A piece of the body of what is being received."""
        if isinstance(self.cycle, Visit):
            self.cycle.feed(body)
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The body is whole."""
        if isinstance(self.cycle, Visit):
            self.cycle.end()
        else:
            super().on_message_complete()

    # -- what the event loop and the server call

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone, and nobody waits for what was being answered."""
        now, self._now = self._now, None
        visited = isinstance(now, Visit)
        self.cycle = cast("RequestResponseCycle", None if visited else now)  # what waits behind it is never begun
        super().connection_lost(exc)
        if isinstance(now, Visit):
            now.hang_up()

    def on_response_complete(self) -> None:
        """An answer is out: the next request's turn."""
        super().on_response_complete()
        if self.pipeline and not self.transport.is_closing():
            self.flow.pause_reading()

    def send_400_response(self, msg: str) -> None:
        """What came is no request. Said in the middle of an answer it would be taken for a part of that."""
        if isinstance(self._now, Visit) and self._now.halfway:
            self.transport.close()
        else:
            super().send_400_response(msg)

    # -- inside

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._now = cycle
        if isinstance(cycle, Visit):
            task = cycle.start(self._call(cycle), self._desk.parts)
            task.add_done_callback(self.tasks.discard)
            self.tasks.add(task)
        else:
            super()._start_asgi_task(cycle, app)

    def _call(self, visit: Visit) -> Call:
        asked, began = visit.asked, self._desk.clock()
        pairs = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in asked.headers]
        headers = dict(reversed(pairs))
        size = headers.get("content-length")
        return Call(
            rid=self._desk.name(began),
            method=asked.method,
            path=asked.path,
            query=asked.query,
            headers=headers,
            authorization=tuple([value for name, value in pairs if name == "authorization"]),
            peer=self._peer(pairs) if "x-forwarded-for" in headers else self.client[0] if self.client else "",
            size=int(size) if size is not None else None,
            read=visit.read,
            pour=visit.pour,
            began=began,
            started=self._desk.parts.clock(),
            stop=visit.stop,
        )

    def _peer(self, pairs: list[tuple[str, str]]) -> str:
        """The caller's address, by what uvicorn makes of the addresses that a trusted proxy tells."""
        peer = self.client[0] if self.client else None
        if isinstance(self.app, ProxyHeadersMiddleware) and peer in self.app.trusted_hosts:
            told = ", ".join(value for name, value in pairs if name == "x-forwarded-for")
            peer = self.app.trusted_hosts.get_trusted_client_address(told)[0] or peer
        return peer or ""

    def _crowded(self) -> bool:
        most = self.limit_concurrency
        return most is not None and max(len(self.connections), len(self.tasks)) >= most


def _to_audio(path: str) -> bool:
    return path.startswith(PREFIX) or ("%" in path and urllib.parse.unquote(path).startswith(PREFIX))
