"""Connections to upstreams: one narrow interface, the only sockets to them.

An exchange is opened with a request and a body that can be begun again, and gives status, headers and body pieces.
Nothing is followed, nothing decoded, nothing added. How it is done is in `relay/`.
"""

import errno
import ssl
from collections import Counter
from collections.abc import Callable

from gateway.errors import refuse
from gateway.exchange import Exchange, Sending
from gateway.relay.connection import Connection
from gateway.relay.dial import Addresses, Trust, dial
from gateway.relay.failures import BrokenOff, Nonsense, TimedOut, Unreachable, Unreached, Untrusted
from gateway.relay.pool import Pool
from gateway.relay.requests import Origin, framing, head, split
from gateway.upstreams.base import Upstream
from gateway.upstreams.going import Outgoing

__all__ = (
    "BrokenOff",
    "Client",
    "Exchange",
    "Nonsense",
    "Sending",
    "TimedOut",
    "Unreachable",
    "Unreached",
    "Untrusted",
)

OURS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL})


class Client:
    """All upstream connections of a process. `tls`: what is believed of their servers."""

    def __init__(self, *, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls or Trust.of()
        self._addresses = Addresses()
        self._pools: dict[Origin, Pool] = {}
        self._under_way: Counter[str] = Counter()

    def under_way(self, upstream: str) -> int:
        """How many exchanges there are with an upstream now."""
        return self._under_way[upstream]

    async def open(self, upstream: Upstream, request: Outgoing, body: Callable[[], Sending] | None) -> Exchange:
        """Send a request, return when the answer's headers are here; the body may still be on its way.

        A kept connection that the upstream had just closed is replaced once. Raises Unreachable, TimedOut; Refused
        (503) where it is this machine that has run out.
        """
        name = upstream.name
        self._under_way[name] += 1
        try:
            exchange = await self._open(upstream, request, body)
        except BaseException:
            self._under_way[name] -= 1
            raise
        exchange.ended = lambda: self._under_way.subtract((name,))
        return exchange

    async def close(self) -> None:
        """Close every connection."""
        for pool in self._pools.values():
            pool.close()

    async def _open(self, upstream: Upstream, request: Outgoing, body: Callable[[], Sending] | None) -> Exchange:
        origin, host, target = split(request.url, private=upstream.allow_private)
        start = head(request.method, host, target, request.headers, framing(request.length) if body else "")
        pool = self._pool(origin)
        for again in (True, False):
            try:
                connection = await pool.get(upstream.connect_timeout, fresh=not again)
            except (OSError, TimeoutError) as error:
                raise _told(error) from error
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


def _told(error: OSError) -> Exception:
    """Why there is no connection: what this machine has run out of says nothing about the upstream."""
    if error.errno in OURS:
        return refuse("overloaded", retry_after=1, wait="1s")
    kind = Untrusted if isinstance(error, ssl.SSLError) else Unreached
    return kind(str(error) or "no connection in time")
