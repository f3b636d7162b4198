"""The way to the store: clients of one server, or of whichever is the master now.

The library repeats nothing, and speaks RESP2: a new connection costs no round trip then but that of the password.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

from redis.asyncio import BlockingConnectionPool, ConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AskError, RedisError

from gateway.errors import SetupError
from gateway.store.finders import ClusterNodes, Finder, Sentinels
from gateway.store.sockets import FollowingTcp, FollowingTls, MasterPool, Tcp, Tls, Unix
from gateway.store.target import UNREADABLE, Address, Target, read

PATIENCE = 2.0  # seconds for a free connection, for connecting, and for each answer
LOOK_TIMEOUT = 0.5  # the last two for one Sentinel or one node that is asked where the master is
CONNECTIONS = 64


class Link:
    """Where the store is. `client` talks to the server that has our keys; `follows`: another one may take over."""

    def __init__(self, target: Target, tag: str) -> None:
        self._target = target
        self._service = target.service or tag
        self._tcp = Tls if target.encrypted else Tcp
        pool: dict[str, Any] = {"max_connections": CONNECTIONS, "timeout": PATIENCE}
        pool |= {name: target.options[name] for name in pool if name in target.options}
        self._options = {**_timed(PATIENCE), **{name: one for name, one in target.options.items() if name not in pool}}
        self._finder = self._finder_for(target)
        self.follows = self._finder is not None
        self._pool: BlockingConnectionPool
        if self._finder is None:
            kind = Unix if "path" in self._options else self._tcp
            self._pool = BlockingConnectionPool(connection_class=kind, **pool, **self._options)
        else:
            following = FollowingTls if target.encrypted else FollowingTcp
            options = {**pool, **self._options, "connection_class": following}
            self._pool = MasterPool(self._service, self._finder, **options)  # type: ignore[no-untyped-call]
        self._pool.connection_class(**self._pool.connection_kwargs)  # finds options that nobody knows
        self.client: Redis = Redis(connection_pool=self._pool)
        self.turns = asyncio.Semaphore(pool["max_connections"])

    def beside(self, tag: str) -> "Link":
        """The way to keys under another tag: the same, unless a cluster has them on different nodes."""
        return Link(self._target, tag) if self._target.kind == "cluster" else self

    def at(self, address: Address) -> Redis:
        """A client of another server of the same store; to be closed."""
        return self._client(address, self._options)

    async def ask(self, error: AskError, *command: str | int) -> object:
        """Ask the node that is taking our slot over. Raises RedisError."""
        async with self.at((error.host, error.port)) as node:
            pipe = node.pipeline(transaction=False)
            pipe.execute_command("ASKING")
            pipe.execute_command(*command)
            return (await pipe.execute())[1]

    async def misplaced(self) -> str:
        """What is wrong with the URL where its Sentinels or nodes can tell, else ""."""
        return await self._finder.misplaced(self._service) if self._finder is not None else ""

    async def close(self) -> None:
        """Give the connections back."""
        await self.client.aclose()
        await self._pool.aclose()
        if self._finder is not None:
            await self._finder.close()

    def _finder_for(self, target: Target) -> Finder | None:
        quick = {**self._options, **_timed(LOOK_TIMEOUT)}
        if target.kind == "sentinel":
            encryption = {name: one for name, one in target.options.items() if name.startswith("ssl_")}
            options = {**_timed(LOOK_TIMEOUT), **encryption, **target.login}
            return Sentinels([self._client(address, options) for address in target.addresses])
        if target.kind == "cluster":
            return ClusterNodes(target.addresses, lambda address: self._client(address, quick))
        return None

    def _client(self, address: Address, options: Mapping[str, Any]) -> Redis:
        host, port = address
        return Redis.from_pool(ConnectionPool(connection_class=self._tcp, **{**options, "host": host, "port": port}))


def link(url: str, tag: str) -> Link:
    """The way to the store at `url`; connects nowhere. `tag` is the hash tag of every key. Raises SetupError."""
    try:
        return Link(read(url), tag)
    except (TypeError, ValueError, RedisError):  # their words may repeat the password
        raise SetupError(UNREADABLE) from None


def _timed(seconds: float) -> dict[str, Any]:
    return {
        "socket_connect_timeout": seconds,
        "socket_timeout": seconds,
        "retry": Retry(NoBackoff(), 0),
        "decode_responses": True,
        "protocol": 2,
        "driver_info": None,
    }
