"""Connections to upstreams: one narrow interface, the only sockets to them.

An exchange is opened with a request and a body that can be begun again, and gives status, headers and body pieces.
What the library raises is mapped here; nobody else knows which library it is.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from types import SimpleNamespace
from typing import Protocol

import aiohttp
from yarl import URL

from gateway.upstreams.base import Outgoing, Upstream

PIECE = 256 * 1024
KEEP_ALIVE = 4.0  # seconds; uvicorn and Node close after 5, and lose what was sent just then
CONNECTIONS = 2000


class Unreachable(Exception):
    """No answer: the connection could not be made, or broke before the answer began."""


class TimedOut(Exception):
    """No answer, or no more of it, in time."""


class BrokenOff(Exception):
    """The answer ended before it was whole."""


class Sending(Protocol):
    """A body on its way: its pieces, and whether all of them have been taken."""

    done: bool

    def __aiter__(self) -> AsyncIterator[bytes]:
        """The pieces from the start."""


class Exchange:
    """An answer that is arriving."""

    def __init__(self, response: aiohttp.ClientResponse, sending: Sending, idle_timeout: float) -> None:
        self.status = response.status
        self.headers: Mapping[str, str] = {name.lower(): value for name, value in response.headers.items()}
        self._response = response
        self._sending = sending
        self._idle_timeout = idle_timeout
        self._ahead = b""

    async def peek(self, size: int) -> bytes:
        """The first `size` bytes of the body, or all of it; `pieces` gives them again. Raises TimedOut, BrokenOff."""
        while len(self._ahead) < size and (data := await self._read()):
            self._ahead += data
        return self._ahead

    async def start(self, limit: int) -> bytes:
        """Up to about `limit` bytes of the body. Raises TimedOut, BrokenOff."""
        body = b""
        async for piece in self.pieces():
            body += piece
            if len(body) >= limit:
                break
        return body

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body as it arrives. Raises TimedOut, BrokenOff."""
        ahead, self._ahead = self._ahead, b""
        if ahead:
            yield ahead
        while data := await self._read():
            yield data

    def close(self) -> None:
        """Done with it. The connection is kept only when both bodies have ended."""
        if self._response.content.at_eof() and self._sending.done:
            self._response.release()
        else:
            self._response.close()

    async def _read(self) -> bytes:
        try:
            async with asyncio.timeout(self._idle_timeout):
                return await self._response.content.readany()
        except TimeoutError as error:
            raise TimedOut from error
        except (aiohttp.ClientError, OSError) as error:
            raise BrokenOff(str(error)) from error


class Client:
    """All upstream connections of a process."""

    def __init__(self, *, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self._session: aiohttp.ClientSession

    def open_pool(self) -> None:
        """Make the connection pool; to be called once the event loop runs."""
        trace = aiohttp.TraceConfig()
        trace.on_connection_reuseconn.append(_note_reuse)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=CONNECTIONS, keepalive_timeout=KEEP_ALIVE, ssl=self._tls or True),
            timeout=aiohttp.ClientTimeout(total=None),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            read_bufsize=PIECE,
            trace_configs=[trace],
            skip_auto_headers=("Accept", "Content-Type"),
        )

    async def open(self, upstream: Upstream, request: Outgoing, body: Callable[[], Sending] | None) -> Exchange:
        """Send a request, return when the answer's headers are here; the body may still be on its way.

        A kept connection that the upstream had just closed is replaced once. Raises Unreachable, TimedOut.
        """
        for again in (True, False):
            use = SimpleNamespace(reused=False)
            try:
                return await self._send(upstream, request, body() if body else _Nothing(), use)
            except aiohttp.ConnectionTimeoutError as error:  # a kind of TimeoutError, but nothing was sent yet
                raise Unreachable(str(error)) from error
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
                if not (again and use.reused):
                    raise Unreachable(str(error)) from error
            except TimeoutError as error:
                raise TimedOut from error
            except (aiohttp.ClientError, OSError) as error:
                raise Unreachable(str(error)) from error
        raise AssertionError("the second try ends the loop")

    async def _send(self, upstream: Upstream, request: Outgoing, sending: Sending, use: SimpleNamespace) -> Exchange:
        headers = dict(request.headers)
        empty = isinstance(sending, _Nothing)
        if not empty and request.length is not None:
            headers["content-length"] = str(request.length)
        async with asyncio.timeout(upstream.first_byte_timeout if empty else None) as deadline:
            response = await self._session.request(
                request.method,
                URL(request.url, encoded=True),  # as it came: nothing is decoded, nothing made shorter
                headers=headers,
                data=None if empty else _watched(sending, deadline, upstream.first_byte_timeout),
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=upstream.connect_timeout),
                trace_request_ctx=use,
            )
        return Exchange(response, sending, upstream.idle_timeout)

    async def close(self) -> None:
        """Close every connection."""
        await self._session.close()


class _Nothing:
    done = True

    async def __aiter__(self) -> AsyncIterator[bytes]:
        nothing: tuple[bytes, ...] = ()
        for piece in nothing:
            yield piece


async def _watched(sending: Sending, deadline: asyncio.Timeout, seconds: float) -> AsyncIterator[bytes]:
    """The pieces; the first-byte deadline starts when the last one has been taken."""
    async for piece in sending:
        yield piece
    sending.done = True
    with suppress(RuntimeError):  # the answer began before the body ended
        deadline.reschedule(asyncio.get_running_loop().time() + seconds)


async def _note_reuse(session: object, context: SimpleNamespace, params: object) -> None:
    del session, params
    context.trace_request_ctx.reused = True
