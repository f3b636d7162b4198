"""The client, the scripts and the names of keys.

Every key stands under one hash tag, so that a request's scopes are in one slot. Retries are ours: the library's
would repeat writes whose answer was lost.
"""

import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import cache
from importlib.resources import files
from time import monotonic

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from gateway.errors import SetupError, refuse
from gateway.metrics import Metrics
from gateway.policy.breaker import Breaker, answered, asked

TAG = "{ag}"
CONNECT_TIMEOUT = 1.0
ANSWER_TIMEOUT = 1.0
POOL_TIMEOUT = 0.5
CONNECTIONS = 64


def name(*parts: str) -> str:
    """The full name of a key in the store."""
    return ":".join((TAG, *parts))


@cache
def script_text(script: str) -> str:
    """A script of `lua/` as it is sent: the shared part, then its own."""
    folder = files("gateway.store") / "lua"
    return (folder / "scope.lua").read_text() + "\n" + (folder / f"{script}.lua").read_text()


@cache
def script_sha(script: str) -> str:
    """The name that the server knows the script by: SHA-1 of its text, as EVALSHA wants it."""
    return hashlib.sha1(script_text(script).encode(), usedforsecurity=False).hexdigest()


class Connection:
    """One store, reached by URL (`redis://`, `rediss://` or `unix://`)."""

    def __init__(self, url: str, metrics: Metrics) -> None:
        try:
            pool = BlockingConnectionPool.from_url(
                url,
                max_connections=CONNECTIONS,
                timeout=POOL_TIMEOUT,
                socket_connect_timeout=CONNECT_TIMEOUT,
                socket_timeout=ANSWER_TIMEOUT,
                retry=Retry(NoBackoff(), 0),
                decode_responses=True,
            )
            pool.connection_class(**pool.connection_kwargs)  # finds options that nobody knows; connects nowhere
        except (TypeError, ValueError):  # their words may repeat the password
            raise SetupError("store.url cannot be read; write redis://host:port, rediss://… or unix:///path") from None
        self.client: Redis = Redis(connection_pool=pool)
        self._metrics = metrics
        self._breaker = Breaker()

    async def run(self, script: str, keys: Sequence[str], args: Sequence[str | int]) -> object:
        """Run a script, sending its text where the server does not know it yet.

        Once more if the connection broke: every script may be asked twice. Raises Refused("store_down"), at once
        while the store is known to be away.
        """
        async with self.asking(script):
            try:
                return await self._evaluate(script, keys, args)
            except (RedisConnectionError, RedisTimeoutError):
                if self._breaker.tripped:
                    raise
                return await self._evaluate(script, keys, args)

    @asynccontextmanager
    async def asking(self, what: str) -> AsyncIterator[None]:
        """Around any call to the store: the breaker in front, the metrics behind. Raises Refused("store_down")."""
        started = monotonic()
        if not self._breaker.may_ask(started):
            raise refuse("store_down", retry_after=1)
        self._breaker = asked(self._breaker, started)
        try:
            yield
        except (RedisConnectionError, RedisTimeoutError) as error:
            self._breaker = answered(self._breaker, ok=False, now=monotonic())
            self._metrics.store_failed(what)
            raise refuse("store_down", retry_after=1) from error
        except RedisError as error:  # the store answers, with an error of its own
            self._breaker = answered(self._breaker, ok=True, now=monotonic())
            self._metrics.store_failed(what)
            raise refuse("store_down", retry_after=1) from error
        else:
            self._breaker = answered(self._breaker, ok=True, now=monotonic())
        finally:
            self._metrics.store_answered(what, monotonic() - started)

    @property
    def away(self) -> bool:
        """Whether the store was away when it was asked last."""
        return self._breaker.tripped

    async def run_id(self) -> str:
        """Which server this is: another one after a restart or a failover. Raises Refused (503)."""
        async with self.asking("info"):
            found = await self.client.info("server")
        return str(found["run_id"])

    async def _evaluate(self, script: str, keys: Sequence[str], args: Sequence[str | int]) -> object:
        try:
            return await self.client.evalsha(script_sha(script), len(keys), *keys, *args)
        except NoScriptError:
            return await self.client.eval(script_text(script), len(keys), *keys, *args)

    async def alive(self) -> bool:
        """Whether the store answers now."""
        try:
            return bool(await self.client.ping())
        except RedisError:
            return False

    async def close(self) -> None:
        """Give the connections back."""
        await self.client.aclose()
        await self.client.connection_pool.aclose()
