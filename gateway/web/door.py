"""The protocol of a connection: uvicorn's, which serves audio requests by itself; all others go to the application."""

import asyncio
import urllib.parse
from collections.abc import Iterable
from typing import Any, NamedTuple, cast

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from gateway.audio.request import PREFIX
from gateway.call import Call
from gateway.errors import Refused
from gateway.web import head, peers
from gateway.web.answers import Denial
from gateway.web.audio import Asked, Visit
from gateway.web.bounds import Stop
from gateway.web.lines import Guarded


class Target(NamedTuple):
    """Where a request goes: its first line as it came, and what is in it."""

    asked: tuple[bytes, str, bytes]
    method: str = ""
    path: str = ""
    query: str = ""
    audio: bool = False
    wrong: Refused | None = None


NOWHERE = Target((b"", "", b""))


class Door(Guarded):
    """A connection: what comes in is answered in its order, and while a request waits for its turn nothing is read.

    `cycle` and `pipeline` are uvicorn's, for visits too: what is being received, and what waits.
    """

    __slots__ = ("_target",)

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._target = NOWHERE

    # -- what the parser calls

    def on_headers_complete(self) -> None:
        """The head of a request is here."""
        super().on_headers_complete()
        parser = self.parser
        target, version = self._find(), parser.get_http_version()
        fields = dict(self.headers)
        refusal = target.wrong or head.wrong_fields(version, self.headers, fields, upgrade=parser.should_upgrade())
        if refusal is not None:
            self.deny(refusal, method=target.method)
            raise Stop
        expects = self.expect_100_continue = head.expects(version, fields)
        if not target.audio:
            self._to_application()
            return
        keep_alive = version != "1.0" and parser.should_keep_alive()
        if (refusal := self._desk.shed()) is not None:
            self.turn_away(refusal, method=target.method, keep_alive=keep_alive)
            return
        asked = Asked(target.method, target.path, target.query, tuple(self.headers))  # no trailers come to it
        self.take_turn(Visit(self, asked, keep_alive=keep_alive, expects=expects))

    def on_body(self, body: bytes) -> None:
        """A piece of the body of what is being received."""
        self._barren = 0
        if isinstance(self.cycle, Visit):
            self.cycle.feed(body)
        elif not isinstance(self.cycle, Denial):
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The body is whole."""
        super().on_message_complete()
        if isinstance(self.cycle, Visit):
            self.cycle.end()
        elif not isinstance(self.cycle, Denial):
            HttpToolsProtocol.on_message_complete(self)

    # -- what the event loop and the server call

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone, and nobody waits for what was being answered."""
        now, self._now = self._now, None
        other = now if isinstance(now, RequestResponseCycle) else None
        self.cycle = cast("RequestResponseCycle", other)  # what waits behind it is never begun
        super().connection_lost(exc)
        if isinstance(now, Visit):
            now.hang_up()

    def on_response_complete(self) -> None:
        """An answer is out: the next request's turn."""
        self.server_state.total_requests += 1
        self.due = 0.0
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
            if self.pipeline and not self.transport.is_closing():
                self.flow.pause_reading()

    def cut_short(self, refusal: Refused) -> None:
        """End what is being answered, and refuse it if nothing of its answer is out."""
        now = self._now
        if now is None or now.response_complete:
            self.leave()
        elif isinstance(now, Visit):
            now.give_up(refusal)
        elif isinstance(now, RequestResponseCycle) and not now.response_started:
            now.disconnected = True
            now.message_event.set()
            self._now = None
            self.deny(refusal)
        else:
            self.transport.close()

    # -- inside

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._now = cycle
        if isinstance(cycle, Visit):
            task = cycle.start(self._call(cycle), self._desk.parts)
            task.add_done_callback(self.tasks.discard)
            self.tasks.add(task)
        elif isinstance(cycle, Denial):
            cycle.give()
        else:
            super()._start_asgi_task(cycle, app)

    def _find(self) -> Target:
        """Where it goes; to the same place as the request before, mostly."""
        asked = self.parser.get_method(), self.parser.get_http_version(), self.url
        if self._target.asked != asked:
            self._target = _target(*asked)
        return self._target

    def _to_application(self) -> None:
        """Let uvicorn serve it, as if the head had just come."""
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        HttpToolsProtocol.on_message_begin(self)
        self.url, self.expect_100_continue = url, expects
        self.headers.extend(headers)
        self._tell_peer()
        HttpToolsProtocol.on_headers_complete(self)
        if expects:  # whether its body will come is not known then
            self.cycle.keep_alive = False

    def _tell_peer(self) -> None:
        """Who asks, and by which scheme, is what a proxy says that is trusted."""
        told = [(name, value.decode("latin-1")) for name, value in self.headers if name.startswith(b"x-forwarded-")]
        peer, trusted = self.client[0] if self.client else "", self._desk.porter.trusted
        if told and peers.believed(peer, trusted):
            self.scope["client"] = (
                peers.caller(peer, [value for name, value in told if name[12:] == b"for"], trusted),
                0,
            )
            for name, value in told:
                if name == b"x-forwarded-proto" and value in ("http", "https"):
                    self.scope["scheme"] = value

    def _call(self, visit: Visit) -> Call:
        asked, began = visit.asked, self._desk.clock()
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in reversed(asked.headers)}
        size, peer = headers.get("content-length"), self.client[0] if self.client else ""
        if "x-forwarded-for" in headers and (trusted := self._desk.porter.trusted):
            peer = peers.caller(peer, _all(asked.headers, b"x-forwarded-for"), trusted)
        return Call(
            rid=self._desk.name(began),
            method=asked.method,
            path=asked.path,
            query=asked.query,
            headers=headers,
            authorization=_all(asked.headers, b"authorization"),
            peer=peer,
            size=int(size) if size is not None else None,
            read=visit.read,
            pour=visit.pour,
            began=began,
            started=self._desk.parts.clock(),
            stop=visit.stop,
        )


def _target(method: bytes, version: str, url: bytes) -> Target:
    asked, name = (method, version, url), method.decode("ascii")
    if (wrong := head.wrong_line(method, version, url)) is not None:
        return Target(asked, name, wrong=wrong)
    target = httptools.parse_url(url)
    path = target.path.decode("ascii")
    audio = _to_audio(path)  # what is wrong with such a path is its keeper's to say
    query = (target.query or b"").decode("latin-1")
    return Target(asked, name, path, query, audio, None if audio else head.wrong_path(path))


def _to_audio(path: str) -> bool:
    return path.startswith(PREFIX) or ("%" in path and urllib.parse.unquote(path).startswith(PREFIX))


def _all(fields: Iterable[tuple[bytes, bytes]], wanted: bytes) -> tuple[str, ...]:
    return tuple([value.decode("latin-1") for name, value in fields if name == wanted])
