"""One audio request on a connection: its body comes in piece by piece, `proxy.serve`, its answer goes out."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from gateway.call import Call
from gateway.errors import Refused, refuse
from gateway.parts import Parts
from gateway.repeats import serve
from gateway.web.answers import Answer, Line

log = logging.getLogger("audiogate")
AHEAD = 64 * 1024  # bytes of a body that may wait for their reader before the connection is read on


class Asked(NamedTuple):
    """The head of a request: path and query as they came, header names in lower case."""

    method: str
    path: str
    query: str
    headers: tuple[tuple[bytes, bytes], ...]


class Visit(Answer):
    """One audio request. `line` is its connection."""

    def __init__(self, line: Line, asked: Asked, *, keep_alive: bool, expects: bool) -> None:
        super().__init__(line, keep_alive=keep_alive, expects=expects)
        self.asked = asked
        self._pieces: deque[bytes] = deque()
        self._waiting = 0  # bytes of the body that nobody has taken yet
        self._ended = self._gone = self._begun = False
        self._call: Call | None = None
        self._refusal: Refused | None = None  # what to say instead, while nothing was answered
        self._news: asyncio.Future[None] | None = None  # for who reads
        self._pour: tuple[Callable[[bytes], None], Callable[[], None]] | None = None  # who takes the rest
        self._task: asyncio.Task[None] | None = None

    # -- what the connection calls

    def start(self, call: Call, parts: Parts) -> "asyncio.Task[None]":
        """Serve it."""
        self._call = call
        self._task = self._line.loop.create_task(self._serve(call, parts), name=call.rid)
        return self._task

    def feed(self, data: bytes) -> None:
        """A piece of the body."""
        if self.response_complete:
            return  # a body that was refused passes by unread
        self._waiting += len(data)
        if self._waiting > AHEAD:
            self._line.flow.pause_reading()
        if self._pour is None:
            self._pieces.append(data)
            self._wake()
            return
        self._pour[0](data)
        if self._waiting > AHEAD:  # it is taken, but the others come first
            self._waiting = 0
            self._line.loop.call_soon(self._read_on)

    def end(self) -> None:
        """The body is whole."""
        self._ended = True
        self._read_on()  # else nobody would notice that the caller hangs up
        if self._pour is not None:
            self._pour[0](b"")
        self._wake()

    def hang_up(self) -> None:
        """The caller has gone."""
        if self._pour is not None and not self._ended:
            self._pour[1]()
        self._gone = True
        self._wake()
        self._cancel()

    def give_up(self, refusal: Refused) -> None:
        """End it before its time; the caller is told why, if nothing was answered yet."""
        if self._refusal is not None or self.response_complete:
            return
        self._refusal, call = refusal, self._call
        self._cancel()
        if call is not None:
            call.why = refusal
            if not self._begun:  # nor will it, then
                self.say(refusal, rid=call.rid, method=call.method)

    # -- what the call's keeper calls

    async def read(self) -> bytes:
        """The next piece of the body, b"" at its end. Raises Refused("client_gone") when the caller goes away."""
        self._ask_for_it()
        while not self._pieces or self._gone or self.response_complete:
            if self._gone or self.response_complete:
                raise refuse("client_gone")
            if self._ended:
                return b""
            self._news = self._line.loop.create_future()
            await self._news
        piece = self._pieces.popleft()
        self._waiting -= len(piece)
        if self._waiting <= AHEAD:
            self._read_on()
        return piece

    def pour(self, take: Callable[[bytes], None], gone: Callable[[], None]) -> None:
        """The rest of the body goes to `take` as it comes, b"" at its end; `gone` is called if the caller goes away."""
        if self._gone:
            gone()
            return
        self._ask_for_it()
        self._pour = take, gone
        self._waiting = 0
        while self._pieces:
            take(self._pieces.popleft())
        if self._ended:
            take(b"")
        self._read_on()

    def stop(self) -> None:
        """Its key is no longer good."""
        self.give_up(refuse("revoked_key", shown="yours"))

    # -- inside

    def _ask_for_it(self) -> None:
        if self.expects and not self._line.transport.is_closing():
            self.expects = False
            self._line.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _read_on(self) -> None:
        if not self._line.pipeline and not self._line.transport.is_closing():
            self._line.flow.resume_reading()

    def _wake(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)

    def _cancel(self) -> None:
        if self._task is not None and not self.response_complete:
            self._task.cancel()

    async def _serve(self, call: Call, parts: Parts) -> None:
        self._begun = True
        try:
            await self.relay(await serve(call, parts), rid=call.rid, method=call.method)
        except Refused as refusal:
            await self._refuse(self._refusal or refusal, call)
        except asyncio.CancelledError:
            if not self._gone and self._refusal is None:  # the server itself ends it
                self.keep_alive = False
                await self._refuse(refuse("not_ready", why="it stops"), call)
                raise
            if self._refusal is not None:
                await self._refuse(self._refusal, call)
        except Exception:
            log.exception("request %s failed", call.rid)
            await self._refuse(refuse("internal"), call)
        finally:
            # An answer that was begun and is not whole stays so: nobody may take it for whole.
            if not self.response_complete:
                self._line.transport.close()
            self._pieces.clear()

    async def _refuse(self, refusal: Refused, call: Call) -> None:
        if self._started or self._gone:
            return
        if self._line.flow.write_paused:
            await self._line.flow.drain()
        self.say(refusal, rid=call.rid, method=call.method)
