"""One audio request on a connection: its body comes in piece by piece, `proxy.serve`, its answer goes out."""

import asyncio
import json
import logging
import re
from collections import deque
from collections.abc import Callable, Iterable
from typing import NamedTuple

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from gateway.call import Call
from gateway.client import BrokenOff
from gateway.errors import Refused, refuse
from gateway.parts import Parts, Reply
from gateway.proxy import serve
from gateway.web.errors import rendered

log = logging.getLogger("audiogate")
AHEAD = 64 * 1024  # bytes of a body that may wait for their reader before the connection is read on
EVENT_ENDS = (b"\n\n", b"\r\n\r\n", b"\r\r")
BODILESS = (204, 304)
LAST_CHUNK = b"0\r\n\r\n"
_CONTROL = re.compile("[\x00-\x08\x0a-\x1f\x7f]")


class Asked(NamedTuple):
    """The head of a request: path and query as they came, header names in lower case."""

    method: str
    path: str
    query: str
    headers: tuple[tuple[bytes, bytes], ...]


class Visit:
    """One audio request. `line` is its connection; `expects`: its body is sent once it was asked for (100-continue).

    `response_complete` and `keep_alive` are what uvicorn asks of whatever it serves.
    """

    def __init__(self, line: HttpToolsProtocol, asked: Asked, *, keep_alive: bool, expects: bool) -> None:
        self.response_complete = False
        self.keep_alive = keep_alive
        self.asked = asked
        self._line, self._expects = line, expects
        self._pieces: deque[bytes] = deque()
        self._waiting = 0  # bytes of the body that nobody has taken yet
        self._ended = self._gone = self._started = False
        self._refusal: Refused | None = None  # what to say instead, while nothing was answered
        self._news: asyncio.Future[None] | None = None  # for who reads
        self._pour: tuple[Callable[[bytes], None], Callable[[], None]] | None = None  # who takes the rest
        self._task: asyncio.Task[None] | None = None

    @property
    def halfway(self) -> bool:
        """Whether its answer was begun and is not whole."""
        return self._started and not self.response_complete

    # -- what the connection calls

    def start(self, call: Call, parts: Parts) -> "asyncio.Task[None]":
        """Serve it."""
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
        self._refusal = refuse("revoked_key", shown="yours")
        self._cancel()

    # -- inside

    def _ask_for_it(self) -> None:
        if self._expects and not self._line.transport.is_closing():
            self._expects = False
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
        try:
            await self._relay(await serve(call, parts), call)
        except Refused as refusal:
            await self._refuse(refusal, call)
        except asyncio.CancelledError:
            if not self._gone and self._refusal is None:  # the server itself ends it
                self.keep_alive = False
                await self._refuse(refuse("internal"), call)
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

    async def _relay(self, reply: Reply, call: Call) -> None:
        headers = dict(reply.headers)
        bodiless = call.method == "HEAD" or reply.status in BODILESS
        chunked = "content-length" not in headers and not bodiless
        flow, write, tail = self._line.flow, self._line.transport.write, b"\n\n"
        try:
            if flow.write_paused:
                await flow.drain()
            write(self._head(reply.status, reply.headers, call, chunked=chunked))
            while pieces := await reply.read():
                tail = b"".join([piece[-4:] for piece in (tail, *pieces[-4:])])[-4:]
                if flow.write_paused:
                    await flow.drain()
                if chunked:
                    self._line.transport.writelines((b"%x\r\n" % sum(map(len, pieces)), *pieces, b"\r\n"))
                elif not bodiless:
                    self._line.transport.writelines(pieces)
        except BrokenOff:
            error = refuse("upstream_failed")
            reply.close(error=error)
            events = headers.get("content-type", "").startswith("text/event-stream")
            if not (chunked and events and tail.endswith(EVENT_ENDS)):
                return
            event = b"data: " + json.dumps(error.envelope()).encode() + b"\n\n"
            write(b"%x\r\n%s\r\n" % (len(event), event))
        except BaseException as error:
            reply.close(error=error)
            raise
        else:
            reply.close()
        self._complete(LAST_CHUNK if chunked else b"")

    async def _refuse(self, refusal: Refused, call: Call) -> None:
        if self._started or self._gone:
            return
        if self._line.flow.write_paused:
            await self._line.flow.drain()
        status, headers, body = rendered(refusal)
        head = self._head(status, headers, call, chunked=False)
        self._line.transport.write(head if call.method == "HEAD" else head + body)
        self._complete()

    def _head(self, status: int, headers: Iterable[tuple[str, str]], call: Call, *, chunked: bool) -> bytes:
        if _CONTROL.search("".join([value for _, value in headers])):
            raise ValueError("a header that would break the answer in two")
        self._started, self._expects = True, False
        lines = "".join([f"{name}: {value}\r\n" for name, value in headers])
        close = "" if self.keep_alive else "connection: close\r\n"
        # In chunks for HTTP/1.0 as well: whoever cannot read them cannot take half an answer for a whole one either.
        coding = "transfer-encoding: chunked\r\n" if chunked else ""
        text = f"{lines}openai-version: 2020-10-01\r\nx-request-id: {call.rid}\r\n{close}{coding}\r\n"
        always = [b"%b: %b\r\n" % pair for pair in self._line.server_state.default_headers]
        # An upstream's odd bytes go out as they came.
        return b"".join((STATUS_LINE[status], *always, text.encode("utf-8", "surrogateescape")))

    def _complete(self, last: bytes = b"") -> None:
        if last:
            self._line.transport.write(last)
        self.response_complete = True
        self._pieces.clear()
        if not self.keep_alive:
            self._line.transport.close()
        self._line.on_response_complete()
