"""One exchange with an upstream on a connection of its own: a request goes out, its answer comes in."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from math import inf
from typing import Protocol

from gateway.relay.connection import Connection
from gateway.relay.failures import BrokenOff, Unreachable
from gateway.relay.pool import Pool
from gateway.relay.requests import LAST_CHUNK, chunk
from gateway.upstreams.base import Upstream
from gateway.upstreams.going import Outgoing

TURN = 512 * 1024  # bytes
AT_ONCE = 64 * 1024  # bytes of a body that is sent before its answer is looked for


class Sending(Protocol):
    """A body on its way: its pieces, and whether the upstream has all of them, as far as can be known."""

    done: bool

    @property
    def at_hand(self) -> bool:
        """Whether all of it is here: to take it waits for nobody."""

    async def read(self, take: Callable[[bytes], bool]) -> bytes:
        """The next piece, b"" at the end. While it waits, pieces that come may be given to `take` instead.

        That says whether it took one; one that it did not take comes from `read`, as all those behind.
        """


class Exchange:
    """An answer that is arriving. `took`: seconds that the upstream worked until it began, once it had the request.

    `idle`: seconds that it may be silent. `ended` is called when it is done with.
    """

    def __init__(self, connection: Connection, pool: Pool, sending: Sending | None, upstream: Upstream) -> None:
        self.status = 0
        self.headers: Mapping[str, str] = {}
        self.faulty = False  # the request's body could not be had
        self.took = 0.0
        self.ended: Callable[[], None] = lambda: None
        self._connection, self._pool, self._sending = connection, pool, sending
        self.idle, self._patience = upstream.idle_timeout, 0.0
        self._since = 0.0  # by the clock of the event loop: from then on the upstream had the whole request
        self._sender: asyncio.Task[None] | None = None
        self._ahead = b""
        self._closed = False

    async def begin(self, request: Outgoing, start: bytes) -> None:
        """Send the request, whose head is `start`; done when the answer's is here. Raises Unreachable, TimedOut."""
        self._patience = request.patience
        self._connection.begin(bodiless=request.method == "HEAD", patience=self.idle)
        self._connection.write(start)
        if self._sending is None:
            self._await_answer()
        elif self._sending.at_hand and request.length is not None and request.length <= AT_ONCE:
            await self._send(self._sending, request.length)
        else:
            self._sender = asyncio.get_running_loop().create_task(self._send(self._sending, request.length))
        try:
            found = await self._connection.head()
        except Unreachable:
            if self._sending is not None and self._connection.reset:
                self._sending.done = False  # it hung up on bytes that it had not read
            raise
        self.status, self.headers = found.status, found.headers
        if self._since:
            self.took = asyncio.get_running_loop().time() - self._since

    async def read(self) -> list[bytes]:
        """What has come of the body, in its pieces, none at its end. Raises TimedOut, BrokenOff."""
        ahead, self._ahead = self._ahead, b""
        return [ahead] if ahead else await self._connection.read(self.idle)

    async def peek(self, size: int) -> bytes:
        """The first `size` bytes of the body, or all of it; `read` gives them again. Raises TimedOut, BrokenOff."""
        while len(self._ahead) < size and (data := await self._connection.read(self.idle)):
            self._ahead += b"".join(data)
        return self._ahead

    async def start(self, limit: int, *, seconds: float | None = None) -> bytes:
        """Up to about `limit` bytes of the body, as far as they come in time. Raises TimedOut, BrokenOff."""
        body = b""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while len(body) < limit and (data := await self.read()):
                    body += b"".join(data)
        return body

    def close(self) -> None:
        """Done with it; safe to call twice. The connection is kept only when both bodies have ended."""
        if self._closed:
            return
        self._closed = True
        if self._sender is not None:
            self._sender.cancel()
        self._pool.give_back(self._connection, whole=self._sending is None or self._sending.done)
        self.ended()

    async def _send(self, sending: Sending, length: int | None) -> None:
        """The body. What goes wrong with it ends the exchange: nobody may take it for whole."""
        connection = self._connection
        try:
            await self._write(sending, length)
        except asyncio.CancelledError:  # by `close`, or by the keeper of the body
            self.faulty = True
            connection.fail(Unreachable("the body was called off"))
            raise
        except Exception as error:
            self.faulty = True
            connection.fail((BrokenOff if connection.answered else Unreachable)(str(error)))

    def _await_answer(self) -> None:
        self._since = asyncio.get_running_loop().time()
        self._connection.expect(self._patience)

    @property
    def _wanted(self) -> bool:
        return not self._connection.lost and (not self._connection.answered or self._connection.welcome)

    async def _write(self, sending: Sending, length: int | None) -> None:
        connection, turn = self._connection, 0
        left: float = inf if length is None else length

        def take(piece: bytes) -> bool:
            nonlocal left
            if connection.full or not self._wanted or len(piece) > left:
                return False
            left -= len(piece)
            connection.write(*(chunk(piece) if length is None else (piece,)))
            return True

        while piece := await sending.read(take):
            await connection.writable()
            turn += len(piece)
            if not self._wanted:
                return
            if not take(piece):
                raise ValueError("the body is longer than announced")
            del piece  # while the next one is waited for, nobody needs it
            if turn >= TURN:  # a body that is here and a peer that takes it would keep everybody else waiting
                turn = 0
                await asyncio.sleep(0)
        await connection.writable()
        if length is None:
            connection.write(LAST_CHUNK)
        elif left:
            raise ValueError("the body is shorter than announced")
        sending.done = True
        if not connection.answered:
            self._await_answer()
