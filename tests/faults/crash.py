"""Lets the n-th call that a request makes to the world outside fail: to the store, the journal, an upstream, the spool.

`Crash` counts the calls of requests, background work aside. Call number n fails before it has an effect or after it
had one; or the caller hangs up at that moment; or the gateway is killed. n goes up from 1 until nothing is hit.
"""

import asyncio
import errno
import os
import signal
import sqlite3
from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from gateway.app import Gateway
from gateway.client import BrokenOff, Exchange, Unreachable
from gateway.errors import refuse
from gateway.policy.budget import Budget
from gateway.policy.cooling import Cooling
from gateway.relay.connection import Connection
from gateway.spool import Spool

BACKGROUND = ("watch ", "warm ", "journal")
SOON = 10  # looks at the loop, for the gateway to notice that its caller has gone


class How(StrEnum):
    """What happens at the call."""

    BEFORE = "before"
    AFTER = "after"
    GONE_BEFORE = "cancelled before"
    GONE_AFTER = "cancelled after"
    KILLED_BEFORE = "killed before"
    KILLED_AFTER = "killed after"


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Crash:
    """One gateway's. `trail` are the names of the calls so far, `hit` those that were made to fail."""

    def __init__(self) -> None:
        self.trail: list[str] = []
        self.hit: list[str] = []
        self.hang_up: Callable[[], None] = lambda: None
        self._how, self._at, self._times = How.BEFORE, 0, 1

    def arm(self, how: How, at: int, *, times: int = 1, hang_up: Callable[[], None] = lambda: None) -> None:
        """From call `at` on let `times` calls fail; 0 disarms."""
        self.trail, self.hit = [], []
        self._how, self._at, self._times, self.hang_up = how, at, times, hang_up

    def on(self, gateway: Gateway, patch: pytest.MonkeyPatch) -> "Crash":
        """Put it around everything that a request calls in this gateway."""
        client, journal = gateway.connection.client, gateway.journal
        lost, full = RedisConnectionError("lost"), sqlite3.OperationalError("disk I/O error")
        upstream = Unreachable("reset")
        places: list[tuple[object, str, str, Exception]] = [
            (gateway.connection, "_evaluate", "script", lost),
            (client, "hmget", "hmget", lost),
            (journal, "keep", "keep", full),
            (gateway.parts.client, "open", "open", upstream),
            (Connection, "read", "hear", BrokenOff("reset")),
        ]
        for owner, called, name, error in places:
            patch.setattr(owner, called, self.around(name, getattr(owner, called), error))
        for called, name, no in (
            ("append", "append", refuse("spool_full", retry_after=1)),
            ("_read", "follow", OSError(errno.EIO, "I/O error")),
            ("fileno", "fileno", refuse("spool_full", retry_after=1)),
        ):
            patch.setattr(Spool, called, self.around_now(name, getattr(Spool, called), no))
        pipeline = client.pipeline

        def wrapped(*args: Any, **more: Any) -> Any:
            found = pipeline(*args, **more)
            found.execute = self.around("pipeline", found.execute, lost)
            return found

        patch.setattr(client, "pipeline", wrapped)
        return self

    def around(self, name: str, work: Callable[..., Awaitable[Any]], error: Exception) -> Callable[..., Awaitable[Any]]:
        """The call `work`, which fails with `error` when its turn comes."""

        async def called(*args: Any, **more: Any) -> Any:
            how = self._turn(name)
            if how is How.BEFORE:
                raise error
            if how is How.KILLED_BEFORE:
                _kill()
            if how is How.GONE_BEFORE:
                await self._leave()
            found = await work(*args, **more)
            if how is How.KILLED_AFTER:
                _kill()
            try:
                if how is How.AFTER:
                    raise error
                if how is How.GONE_AFTER:
                    await self._leave()
            except BaseException:
                if isinstance(found, Exchange):
                    found.close()
                raise
            return found

        return called

    def around_now(self, name: str, work: Callable[..., Any], error: Exception) -> Callable[..., Any]:
        """The same for a call that does not wait."""

        def called(*args: Any, **more: Any) -> Any:
            how = self._turn(name)
            if how is How.BEFORE:
                raise error
            if how is How.KILLED_BEFORE:
                _kill()
            if how is How.GONE_BEFORE:
                self.hang_up()
            found = work(*args, **more)
            if how is How.KILLED_AFTER:
                _kill()
            if how is How.GONE_AFTER:
                self.hang_up()
            if how is How.AFTER:
                raise error
            return found

        return called

    def _turn(self, name: str) -> How | None:
        task = asyncio.current_task()
        if not self._at or (task is not None and task.get_name().startswith(BACKGROUND)):
            return None
        self.trail.append(name)
        if not self._at <= len(self.trail) < self._at + self._times:
            return None
        self.hit.append(name)
        return self._how

    async def _leave(self) -> None:
        """Hang up, and let the gateway notice."""
        self.hang_up()
        for _ in range(SOON):
            await asyncio.sleep(0.001)


def fresh(gateway: Gateway) -> None:
    """Forget what earlier failures taught: which upstreams rest, whether the store is away, whose key is whose."""
    health = gateway.parts.health
    health._seen.clear()
    health._cooling.update({name: Cooling() for name in health._cooling})
    gateway.parts.budget = Budget()
    gateway.connection._breakers.clear()
    gateway.parts.keys._seen.clear()
