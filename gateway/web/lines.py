"""The guard of a connection: what comes in on it is bounded, in bytes and in time, before anybody looks at it.

What is refused here is answered in its turn, as everything else is, and is the last that is answered. Whoever is still
sending then is listened to for a while, unheard: closed at once, the connection would be reset, and the answer lost.
"""

import asyncio
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle
from uvicorn.server import ServerState

from gateway.errors import Refused, refuse
from gateway.web.answers import Answer, Denial
from gateway.web.bounds import REST, Bounded
from gateway.web.desk import DESK, Desk
from gateway.web.patience import BODY, PAUSE, Late, Patience


class Guarded(Bounded):
    """A connection with its guard. `_now` is what is being answered."""

    __slots__ = ("_desk", "_now", "_patience")

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.count()
        self._desk: Desk = app_state[DESK]
        self._patience = Patience(self._desk.porter.timeouts, self.loop.time())
        self._now: RequestResponseCycle | Answer | None = None

    # -- what the event loop and the server call

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Somebody has come."""
        super().connection_made(transport)
        if (refusal := self._desk.porter.mind(self, self.loop)) is not None:
            self.deny(refusal)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        self._desk.porter.forget(self)
        super().connection_lost(exc)

    # -- what answers call

    def goes_on(self, answer: Answer) -> bool:
        """Whether what is left of this answer's request may pass by before the next one."""
        if not self._receives(answer) or self.stage is not BODY:
            return not self.deaf or bool(self.pipeline)
        size = next((value for name, value in self.headers if name == b"content-length"), b"0")
        return not answer.expects and int(size) - self.got <= REST

    def leave(self) -> None:
        """The last answer is out."""
        self.due = 0.0
        self.pipeline.clear()
        if self.stage is PAUSE:
            self.transport.close()
            return
        self.stop_listening()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.flow.resume_reading()

    # -- what the porter calls, see `Watched` and `Minded`

    @property
    def under_way(self) -> bool:
        """Whether something is being answered, or waits for that."""
        return self._now is not None and not self._now.response_complete

    @property
    def reading(self) -> bool:
        """Whether the caller may send."""
        return not self.flow.read_paused and not (isinstance(self._now, Answer) and self._now.expects)

    @property
    def unsent(self) -> int:
        """Bytes that wait for the caller to take them."""
        return self.transport.get_write_buffer_size()

    @property
    def taken(self) -> int:
        """Bytes that the caller has taken, or the kernel for him."""
        return self.put - self.unsent

    def make_room(self) -> bool:
        """Close it, if nobody would miss it."""
        free = self.stage is PAUSE and not (self.under_way or self.unsent or self.transport.is_closing())
        if free:
            self.transport.close()
        return free

    def look(self, now: float) -> None:
        """Is it late?"""
        late = self._patience.look(self, now)
        if late is Late.TAKING or (late in (Late.PAUSE, Late.LEAVING) and self.unsent):
            self.transport.abort()
        elif late in (Late.PAUSE, Late.LEAVING):
            self.transport.close()
        elif late is not None:
            self.spoil(refuse("slow", why=late.value))

    # -- refusals

    def deny(self, refusal: Refused, *, method: str = "") -> None:
        """Answer what came, in its turn, with a refusal; what comes behind it is not read."""
        self.stop_listening()
        self.turn_away(refusal, method=method, keep_alive=False)

    def turn_away(self, refusal: Refused, *, method: str, keep_alive: bool) -> None:
        """Answer a request, in its turn, with a refusal."""
        rid = self._desk.name(self._desk.clock())
        denial = Denial(self, refusal, rid=rid, method=method, keep_alive=keep_alive, expects=self.expect_100_continue)
        self.take_turn(denial)

    def spoil(self, refusal: Refused) -> None:
        """What is coming in is no request, or no longer one."""
        stage, now = self.stage, self._now
        if stage is BODY and self._receives(now):
            self.stop_listening()
            self.cut_short(refusal)
        elif isinstance(now, Answer) and now.halfway:
            self.transport.close()
        else:
            if stage is BODY:
                self.pipeline.popleft()
            self.deny(refusal)

    def take_turn(self, cycle: Answer) -> None:
        """Answer it, now or behind those that came before it; meanwhile nothing is read."""
        waits, self.cycle = self.under_way, cycle  # type: ignore[assignment]
        if waits:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))
        else:
            self._start_asgi_task(self.cycle, self.app)

    def cut_short(self, refusal: Refused) -> None:
        """End what is being answered, and refuse it if nothing of its answer is out."""
        raise NotImplementedError

    # -- inside

    def _receives(self, answer: object) -> bool:
        return self.cycle is answer
