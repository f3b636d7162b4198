"""Asking the store: the scripts, the names of keys, how long an answer may take and what a missing one means.

Every key stands under one hash tag, so that a request's scopes are in one slot. Retries are ours: the library's
would repeat writes whose answer was lost.

What a request waits for takes its turn, so that a burst waits for connections and not for the store; then it has
`timeout` in all: for finding and reaching the server, for the answer, whatever part of it is slow. Where the store
hangs, those in front are given up, the breaker opens, and those behind them learn it at once. It is asked again only if
a connection broke, never when time is up. A call that is given up closes its connection (the library does so wherever
it is cancelled), so no later call reads its answer. All else, which nobody waits for, has link.PATIENCE for each of
these.
"""

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, nullcontext
from functools import cache
from importlib.resources import files
from time import monotonic

import hiredis
from redis.asyncio import Redis
from redis.exceptions import AskError, MovedError, NoScriptError, RedisError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from gateway.config.model import Store
from gateway.errors import Refused, refuse
from gateway.metrics import Metrics
from gateway.policy.breaker import Breaker, answered, asked
from gateway.store.deadline import within
from gateway.store.link import PATIENCE, Link, link
from gateway.store.shards import TAG, place, tags

GONE = 1.0
HURRIED = frozenset({"admit", "switch", "find", "lease", "grant", "claim"})
"""What a request waits for."""

# The server can serve nobody now, whatever it is asked.
_UNABLE = re.compile(r"(READONLY|LOADING|BUSY|MISCONF|CLUSTERDOWN|MASTERDOWN|NOREPLICAS|TRYAGAIN|MOVED|ASK|OOM)\b")


@cache
def script_text(script: str) -> str:
    """A script of `lua/` as it is sent: the shared part, then its own."""
    return shared_text() + "\n" + _text(script)


def shared_text() -> str:
    """What is put in front of every script."""
    return "\n".join(_text(part) for part in ("calendar", "scope", "many"))


def _text(script: str) -> str:
    return (files("gateway.store") / "lua" / f"{script}.lua").read_text()


@cache
def script_sha(script: str) -> str:
    """The name that the server knows the script by: SHA-1 of its text, as EVALSHA wants it."""
    return hashlib.sha1(script_text(script).encode(), usedforsecurity=False).hexdigest()


class Connection:
    """One store, reached by URL (see `target.py`). `timeout`: seconds that a request may wait for one call.

    `tag` is in the name of every key. `way`: how to get there, where that is known. Raises SetupError for a URL that
    cannot be read.
    """

    def __init__(
        self,
        url: str,
        metrics: Metrics,
        *,
        timeout: float = PATIENCE,
        shards: int = 1,
        tag: str = TAG,
        way: Link | None = None,
    ) -> None:
        self.tag = tag
        self.link = way or link(url, tag)
        self.shards: tuple[Connection, ...] = (self,)
        if shards > 1:
            self.shards = tuple(
                type(self)(url, metrics, timeout=timeout, tag=one, way=self.link.beside(one)) for one in tags(shards)
            )
        self.client: Redis = self.link.client
        self.timeout = timeout
        self._metrics = metrics
        # One for what requests wait for, one for all else: a store can be too slow for the first and do for the other.
        self._breakers: dict[bool, Breaker] = {}
        self._silent_since: float | None = None  # for what requests wait for
        self._unreachable = False

    def name(self, *parts: str) -> str:
        """The full name of a key in this shard."""
        return ":".join((self.tag, *parts))

    def of(self, team: str) -> "Connection":
        """The shard of a team."""
        return self.shards[place(team, len(self.shards))]

    async def run(self, script: str, keys: Sequence[str], args: Sequence[str | int]) -> object:
        """Run a script, sending its text where the server does not know it yet.

        Once more if the connection broke: every script may be asked twice. Raises Refused("store_down"), at once
        while the store is known to be away.
        """
        async with self.asking(script):
            try:
                return await self._evaluate(script, keys, args)
            except RedisConnectionError:
                if self._breaker(script in HURRIED).tripped:
                    raise
                return await self._evaluate(script, keys, args)

    @asynccontextmanager
    async def asking(self, what: str) -> AsyncIterator[None]:
        """Around any call to the store: the breaker in front, the metrics behind. Raises Refused("store_down")."""
        hurried = what in HURRIED
        async with self.link.turns if hurried else nullcontext(), self._asking(what, hurried=hurried):
            yield

    @asynccontextmanager
    async def _asking(self, what: str, *, hurried: bool) -> AsyncIterator[None]:
        started, breaker = monotonic(), self._breaker(hurried)
        if not breaker.may_ask(started):
            raise refuse("store_down", retry_after=1)
        self._breakers[hurried] = asked(breaker, started)
        try:
            async with within(self.timeout if hurried else None):
                yield
        except (RedisConnectionError, RedisTimeoutError, TimeoutError) as error:
            if breaker.tripped or not self._breaker(hurried).tripped:  # else it was asked before that was known
                self._heard(hurried, ok=False)
            if hurried:
                self._silent_since = started if self._silent_since is None else self._silent_since
                self._unreachable = isinstance(error, RedisConnectionError)
            self._metrics.store_failed(what)
            raise refuse("store_down", retry_after=1) from error
        except RedisError as error:  # the store answers, with an error of its own
            self._heard(hurried, ok=True)
            self._metrics.store_failed(what)
            raise refuse("store_down", retry_after=1) from _cause(error)
        else:
            self._heard(hurried, ok=True)
        finally:
            self._metrics.store_answered(what, monotonic() - started)

    @property
    def gone(self) -> bool:
        """Whether the store is not there: it cannot be reached, or has answered no request for GONE seconds.

        One that was late once is not gone, however much it or this machine has to do.
        """
        silent = self._silent_since
        return self._unreachable or (silent is not None and monotonic() - silent >= GONE)

    def _breaker(self, hurried: bool) -> Breaker:
        return self._breakers.get(hurried, Breaker())

    def _heard(self, hurried: bool, *, ok: bool) -> None:
        self._breakers[hurried] = answered(self._breaker(hurried), ok=ok, now=monotonic())
        if hurried and ok:
            self._silent_since, self._unreachable = None, False

    async def run_id(self) -> str:
        """Which servers these are: others after a restart or a failover. Raises Refused (503)."""
        found = []
        for shard in self.shards:
            async with shard.asking("info"):
                found.append(str((await shard.client.info("server"))["run_id"]))
        return " ".join(found)

    async def alive(self) -> bool:
        """Whether the store answers now."""
        try:
            for one in {self, *self.shards}:
                async with asyncio.timeout(self.timeout):
                    await one.client.ping()
        except (RedisError, TimeoutError):
            return False
        return True

    async def close(self) -> None:
        """Give the connections back."""
        for way in {one.link for one in (self, *self.shards)}:
            await way.close()

    async def _evaluate(self, script: str, keys: Sequence[str], args: Sequence[str | int]) -> object:
        try:
            return await self._digested(script_sha(script), keys, args)
        except NoScriptError:
            return await self.client.eval(script_text(script), len(keys), *keys, *args)
        except AskError as error:  # a cluster is moving our slot
            if isinstance(error, MovedError):
                raise
            return await self.link.ask(error, "EVAL", script_text(script), len(keys), *keys, *args)

    async def _digested(self, digest: str, keys: Sequence[str], args: Sequence[str | int]) -> object:
        """EVALSHA; the library's own way takes thrice as long."""
        packed = hiredis.pack_command(("EVALSHA", digest, len(keys), *keys, *args))  # type: ignore[arg-type]
        pool = self.client.connection_pool
        connection = await pool.get_connection()  # type: ignore[no-untyped-call]
        try:
            await connection.send_packed_command(packed, check_health=False)
            return await connection.read_response()
        except ResponseError:
            raise
        except BaseException:
            await connection.disconnect(nowait=True)  # what is still to come is nobody's
            raise
        finally:
            await pool.release(connection)


def opened(store: Store, url: str, metrics: Metrics) -> Connection:
    """The connection that a configuration asks for, to the server at `url`. Raises SetupError."""
    return Connection(url, metrics, timeout=store.timeout, shards=store.shards)


def refusal(why: str) -> Refused:
    """What one of several things in a call is refused with, by the words of its error."""
    refused = refuse("store_down", retry_after=1)
    refused.__cause__ = _cause(ResponseError(why))
    return refused


def _cause(error: RedisError) -> RedisError:
    """Why it was refused: a ResponseError is about what was asked, any other about the server."""
    if isinstance(error, ResponseError) and _UNABLE.match(f"{error.status_code or ''} {error}".lstrip()):
        return RedisConnectionError(str(error))
    return error
