"""Connections that say in time that they are no good, and a pool of them that follows the master.

Behind Sentinels, and in a cluster, since all our keys are in one slot, there is one server to talk to at a time. Where
it is, is asked for each new connection. One that hears that it is in the wrong place is closed, and the next one asks
again. The library's own cluster client would not do: it sends INFO to another node than ours, takes no TIME in a
pipeline, and does not look again after a call that was cancelled.
"""

import asyncio
from typing import Any

from redis.asyncio import BlockingConnectionPool
from redis.asyncio.connection import AbstractConnection, Connection, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.sentinel import SentinelConnectionPool, SentinelManagedConnection, SentinelManagedSSLConnection
from redis.exceptions import ClusterDownError, MovedError
from redis.exceptions import ConnectionError as RedisConnectionError

from gateway.store.target import Address


class _Sturdy(AbstractConnection):
    """Notices a connection that was reset while it was idle; the library looks for a polite end alone."""

    async def can_read(self) -> bool:
        """Whether there is something unread, or nobody to read from: it is not fit to be used."""
        closing = self._writer is not None and self._writer.is_closing()
        return closing or await super().can_read()

    async def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        """Send; that the transport is closed is no RedisError in uvloop's words."""
        task = asyncio.current_task()
        cancelled = task.cancelling() if task is not None else 0
        try:
            await super().send_packed_command(command, check_health)
        except RuntimeError as error:
            raise RedisConnectionError("the connection was closed") from error
        # asyncio.wait_for, which the library sends with, can swallow a cancellation up to Python 3.11.
        if task is not None and task.cancelling() > cancelled:
            await self.disconnect(nowait=True)
            raise asyncio.CancelledError


class Tcp(_Sturdy, Connection):
    """redis://"""


class Tls(_Sturdy, SSLConnection):
    """rediss://"""


class Unix(_Sturdy, UnixDomainSocketConnection):
    """unix://"""


class _Following(_Sturdy):
    connection_pool: "MasterPool"
    host: str
    port: int

    async def read_response(self, *args: Any, **options: Any) -> Any:
        """The answer of the master; that of any other server ends the connection.

        What one said that was the master until now does not count: who took over does not know of it.
        """
        try:
            answer = await super().read_response(*args, **options)
        except (MovedError, ClusterDownError) as error:
            await self.disconnect()
            raise RedisConnectionError(f"this server does not serve our keys now ({error})") from error
        if self.connection_pool.master_address != (self.host, self.port):
            await self.disconnect()
            raise RedisConnectionError("another server has taken over")
        return answer


class FollowingTcp(_Following, SentinelManagedConnection):
    """Goes to wherever the master is when it is opened."""


class FollowingTls(_Following, SentinelManagedSSLConnection):
    """The same, encrypted."""


class MasterPool(SentinelConnectionPool, BlockingConnectionPool):
    """Connections to the master."""

    async def get_master_address(self) -> Address:
        """Where the master is. Raises RedisError.

        Connections to the one before are closed: busy ones when they are answered; idle ones leave the pool first, so
        that nobody picks one that is being closed.
        """
        found: Address = await self.sentinel_manager.discover_master(self.service_name)
        known, self.master_address = self.master_address, found
        if known not in (None, found):
            idle, self._available_connections = self._available_connections, []
            await asyncio.gather(*(connection.disconnect() for connection in idle), return_exceptions=True)
        return found
