"""Connections to upstreams: one narrow interface, the only sockets to them.

An exchange is opened with a request and a body that can be begun again, and gives status, headers and body pieces.
Nothing is followed, nothing decoded, nothing added. How it is done is in `relay/`.
"""

import asyncio
import ssl
from collections.abc import Callable, Mapping
from math import inf
from typing import Protocol

from gateway.relay.connection import Connection
from gateway.relay.dial import Addresses, Trust, dial
from gateway.relay.failures import BrokenOff, TimedOut, Unreachable
from gateway.relay.pool import Pool
from gateway.relay.requests import LAST_CHUNK, Origin, chunk, framing, head, split
from gateway.upstreams.base import Outgoing, Upstream

__all__ = ("BrokenOff", "Client", "Exchange", "Sending", "TimedOut", "Unreachable")

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
    """An answer that is arriving."""

    def __init__(self, connection: Connection, pool: Pool, sending: Sending | None, upstream: Upstream) -> None:
        self.status = 0
        self.headers: Mapping[str, str] = {}
        self.faulty = False  # the request's body could not be had
        self._connection, self._pool, self._sending = connection, pool, sending
        self._idle, self._first_byte = upstream.idle_timeout, upstream.first_byte_timeout or 600.0
        self._sender: asyncio.Task[None] | None = None
        self._ahead = b""
        self._closed = False

    async def begin(self, request: Outgoing, start: bytes) -> None:
        """Send the request, whose head is `start`; done when the answer's is here. Raises Unreachable, TimedOut."""
        self._connection.begin(bodiless=request.method == "HEAD", patience=self._idle)
        self._connection.write(start)
        if self._sending is None:
            self._connection.expect(self._first_byte)
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

    async def read(self) -> list[bytes]:
        """What has come of the body, in its pieces, none at its end. Raises TimedOut, BrokenOff."""
        ahead, self._ahead = self._ahead, b""
        return [ahead] if ahead else await self._connection.read(self._idle)

    async def peek(self, size: int) -> bytes:
        """The first `size` bytes of the body, or all of it; `read` gives them again. Raises TimedOut, BrokenOff."""
        while len(self._ahead) < size and (data := await self._connection.read(self._idle)):
            self._ahead += b"".join(data)
        return self._ahead

    async def start(self, limit: int) -> bytes:
        """Up to about `limit` bytes of the body. Raises TimedOut, BrokenOff."""
        body = b""
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
            connection.expect(self._first_byte)


class Client:
    """All upstream connections of a process. `tls`: what is believed of their servers."""

    def __init__(self, *, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls or Trust.of()
        self._addresses = Addresses()
        self._pools: dict[Origin, Pool] = {}

    async def open(self, upstream: Upstream, request: Outgoing, body: Callable[[], Sending] | None) -> Exchange:
        """Send a request, return when the answer's headers are here; the body may still be on its way.

        A kept connection that the upstream had just closed is replaced once. Raises Unreachable, TimedOut.
        """
        origin, host, target = split(request.url)
        start = head(request.method, host, target, request.headers, framing(request.length) if body else "")
        pool = self._pool(origin)
        for again in (True, False):
            try:
                connection = await pool.get(upstream.connect_timeout, fresh=not again)
            except (OSError, TimeoutError) as error:
                raise Unreachable(str(error) or "no connection in time") from error
            reused = connection.reused
            exchange = Exchange(connection, pool, body() if body else None, upstream)
            try:
                await exchange.begin(request, start)
            except Unreachable:
                exchange.close()
                if not again or not reused or connection.heard or exchange.faulty:
                    raise
            except BaseException:
                exchange.close()
                raise
            else:
                return exchange
        raise AssertionError("the second try ends the loop")

    async def close(self) -> None:
        """Close every connection."""
        for pool in self._pools.values():
            pool.close()

    def _pool(self, origin: Origin) -> Pool:
        if origin not in self._pools:
            self._pools[origin] = Pool(
                lambda make: dial(origin, self._tls, self._addresses, make), kept=self._remember(origin)
            )
        return self._pools[origin]

    def _remember(self, origin: Origin) -> Callable[[Connection], None]:
        def kept(connection: Connection) -> None:
            if isinstance(self._tls, Trust) and connection.encryption is not None:
                self._tls.remember(origin.host, connection.encryption)

        return kept
