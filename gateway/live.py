"""What follows the configuration while the gateway serves; all the rest of it lives as long as its process."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

from fastapi import FastAPI

from gateway.api import api
from gateway.balances import for_gateway
from gateway.config.model import Config
from gateway.metrics import Metrics
from gateway.parts import Parts
from gateway.reload import moved
from gateway.spool import Spools
from gateway.store.connection import Connection
from gateway.store.history import History
from gateway.upstreams.balance import Balance

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


class Live:
    """The configuration that counts, and what is made anew for another one.

    That is `api`, `history` and `balances`, and in `parts` the market, the spools and the largest body. `pepper` is
    that of the keys, `clock` gives seconds since 1970; for the others see `api.py`.
    """

    def __init__(
        self,
        config: Config,
        parts: Parts,
        connection: Connection,
        *,
        pepper: bytes,
        clock: Callable[[], float],
        not_ready: Callable[[], Awaitable[str]],
        lifespan: Lifespan,
    ) -> None:
        self.config, self._parts, self._connection = config, parts, connection
        self._pepper, self._clock = pepper, clock
        self._not_ready, self._lifespan = not_ready, lifespan
        self._watches: list[asyncio.Task[None]] = []
        self.history, self.api = self._served()
        self.balances = for_gateway(config, health=parts.health, metrics=parts.metrics)

    def follow(self, config: Config) -> None:
        """Go by another configuration from now on. Requests that were let in keep what they were let in with."""
        old, self.config, parts = self.config, config, self._parts
        upstreams = config.market.upstreams
        name_all(parts.metrics, config)
        parts.metrics.reloaded("applied")
        parts.health.follow([one.name for one in upstreams], anew=moved(old.market.upstreams, upstreams))
        parts.market, parts.max_bytes = config.market, config.uploads.max_bytes
        if config.uploads != old.uploads:
            parts.spools = spools_of(config, parts.metrics)
        self.history, self.api = self._served()
        if _wallets(config) != _wallets(old):
            watched = self.balances.names
            for name in watched:
                parts.metrics.balance(name, None)
            self.balances = for_gateway(config, health=parts.health, metrics=parts.metrics)
            for name in set(watched).difference(self.balances.names):  # nobody would tell that it is dry no more
                parts.health.wallet(name, Balance())
            self.watch()

    def watch(self) -> None:
        """Look at the wallets now and then, in the background."""
        self.stop()
        spawn = self._parts.tasks.spawn
        self._watches = [spawn(look, name="watch a wallet") for look in self.balances.watches()]

    def stop(self) -> None:
        """Look at them no more."""
        for task in self._watches:
            task.cancel()

    def _served(self) -> tuple[History, FastAPI]:
        history = History(self._connection, self.config.usage, metrics=self._parts.metrics)
        routes = api(
            self.config,
            self._parts,
            self._connection,
            history,
            pepper=self._pepper,
            clock=self._clock,
            not_ready=self._not_ready,
            lifespan=self._lifespan,
        )
        return history, routes


def spools_of(config: Config, metrics: Metrics) -> Spools:
    """Spools with these bounds; bodies that are kept already count towards the bounds they came under."""
    uploads = config.uploads
    return Spools(
        memory_bytes=uploads.memory_bytes, total_bytes=uploads.total_bytes, folder=uploads.folder, metrics=metrics
    )


def name_all(metrics: Metrics, config: Config) -> None:
    """Tell the metrics which names there are."""
    upstreams = config.market.upstreams
    models = {name for upstream in upstreams for name in upstream.models}
    metrics.follow(models=models, teams=config.teams, upstreams=[one.name for one in upstreams])


def _wallets(config: Config) -> list[tuple[object, ...]]:
    """What decides which wallets are looked at, and how."""
    return [(one.name, one.kind, one.base_url, one.key) for one in config.market.upstreams if one.balance]
