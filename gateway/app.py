"""Puts the parts together: the only file that names every one of them."""

import asyncio
import logging
import os
import random
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway import logs, memory
from gateway.balances import Balances
from gateway.client import Client
from gateway.config.model import Config
from gateway.grace import Grace
from gateway.health import Health
from gateway.ledger import Ledger
from gateway.live import Live, name_all, spools_of
from gateway.metrics import Metrics
from gateway.parts import Parts
from gateway.policy.budget import Budget
from gateway.policy.ids import DRAW_BYTES, request_id
from gateway.policy.pricing import MICRO
from gateway.probe.parent import Probe
from gateway.reload import Declare, Reloads, hear, refuse_taken
from gateway.settler import Settler
from gateway.store.checks import checked
from gateway.store.connection import opened
from gateway.store.embedded import Embedded
from gateway.store.journal import Journal
from gateway.store.keys import Keys, Minted
from gateway.store.leases import Leases
from gateway.store.limits import Limits
from gateway.store.pepper import read_pepper
from gateway.store.roll import Roll
from gateway.tasks import Tasks
from gateway.web.door import DESK, Desk

log = logging.getLogger("audiogate")
DRAIN_SECONDS, LAST_SECONDS = 6.0, 2.0
WATCH_SECONDS = REPLAY_SECONDS = 1.0
RENEW_SECONDS, REAP_SECONDS, TRIM_SECONDS = 3.0, 5.0, 60.0
EMBEDDED = "store"


def wall() -> float:
    """Seconds since 1970."""
    return time.time()  # noqa: TID251 - the one place that reads it


def named(began: float) -> str:
    """The id of a request that began at this second since 1970."""
    return request_id(int(began * 1000), secrets.token_bytes(DRAW_BYTES))


def pepper_of(config: Config) -> bytes:
    """The pepper: from the configuration, else the data folder's. Raises SetupError."""
    return config.store.pepper or read_pepper(config.store.data)


def embedded(config: Config) -> Embedded | None:
    """The embedded store's supervisor, None where the configuration names a store."""
    return None if config.store.url else Embedded(config.store.data / EMBEDDED, fsync=config.store.fsync)


async def declare(config: Config, url: str, *, tell: Callable[[Minted], None] = lambda _: None) -> list[Minted]:
    """Bring keys, teams and limits of the configuration into the store; returns, and tells, the keys made just now.

    Raises Refused("store_down"), SetupError.
    """
    connection = opened(config.store, url, _metrics(config, None))
    try:
        for note in await checked(connection):
            log.warning("%s", note)
        await refuse_taken(Roll(connection, door="config"), config)
        return await Keys(connection, pepper=pepper_of(config)).declare(config, tell=tell)
    finally:
        await connection.close()


@dataclass(frozen=True, slots=True)
class Start:
    """What a worker is started with; calling it gives its application. `metrics` is shared by the workers.

    `declare`, where nobody else does it, brings a configuration into the store that was read later. `terminal`: we
    were started from one, and end with it.
    """

    config: Config
    url: str
    metrics: Path | None = None
    declare: Declare | None = None
    terminal: bool = False

    def __call__(self) -> ASGIApp:
        """The application of this worker; it logs to standard output, and SIGHUP makes it read its file again."""
        logs.set_up(self.config.server.log)
        memory.keep()
        gateway = Gateway(self)
        hear(gateway.reloads, terminal=self.terminal)
        memory.look_seldom()
        return gateway


class Gateway:
    """The application. Audio requests are served at its doors (`web/door.py`), all others come here, for FastAPI."""

    def __init__(self, start: Start) -> None:
        self.metrics = _metrics(start.config, start.metrics)
        self.connection = opened(start.config.store, start.url, self.metrics)
        self.tasks = Tasks()
        self.draining = False
        self._embedded = embedded(start.config)
        self._probe = Probe()
        self._pepper = pepper_of(start.config)
        self.parts = self._parts(start.config)
        self.live = Live(
            start.config,
            self.parts,
            self.connection,
            pepper=self._pepper,
            clock=wall,
            not_ready=self.not_ready,
            lifespan=self._lifespan,
        )
        self.reloads = Reloads(now=lambda: self.live.config, declare=start.declare, follow=self.live.follow)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A request that is not for audio: it gets its id."""
        if scope["type"] != "http":
            scope["state"][DESK] = Desk(self.parts, wall, named, shed=lambda: None)
            await self.live.api(scope, receive, send)
            return
        now = wall()
        rid = named(now).encode()
        scope["audiogate.began"] = now

        async def tell(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-request-id", rid)]
            await send(message)

        await self.live.api(scope, receive, tell)

    async def not_ready(self) -> str:
        """Why no request should come here now, "" if all is well."""
        if self.draining:
            return "it is shutting down"
        useful = self.parts.grace.lasts or await self.connection.alive()
        return "" if useful else "its store does not answer"

    @property
    def balances(self) -> Balances:
        """Our wallets at the upstreams."""
        return self.live.balances

    def _parts(self, config: Config) -> Parts:
        self.journal = Journal(config.store.data / "journal", clock=wall)
        settler = Settler(self.connection, self.journal, metrics=self.metrics)
        store = config.store
        upstreams = [upstream.name for upstream in config.market.upstreams]
        client = Client()
        return Parts(
            market=config.market,
            keys=Keys(self.connection, pepper=self._pepper),
            limits=Limits(self.connection),
            client=client,
            grace=Grace(store.on_unavailable, usd=int(store.grace_usd * MICRO), clock=time.monotonic),
            health=Health(upstreams, clock=time.monotonic, metrics=self.metrics, under_way=client.under_way),
            ledger=Ledger(
                settler,
                Leases(self.connection),
                expiry=store.on_expired,
                probe=self._probe,
                tasks=self.tasks,
                metrics=self.metrics,
                clock=time.monotonic,
            ),
            spools=spools_of(config, self.metrics),
            tasks=self.tasks,
            probe=self._probe,
            metrics=self.metrics,
            budget=Budget(share_of=config.server.workers),
            max_bytes=config.uploads.max_bytes,
            total=config.server.timeouts.total,
            clock=time.monotonic,
            draw=random.random,
        )

    @asynccontextmanager
    async def _lifespan(self, api: FastAPI) -> AsyncIterator[None]:
        del api
        if self._embedded is not None:
            await self._embedded.start()
        self.journal.open()
        self.tasks.spawn(self._probe.warm(), name="warm the probe")
        watch = [
            self.tasks.spawn(self._watch(), name="watch"),
            self.tasks.repeat(WATCH_SECONDS, self._keep_store, name="watch the store"),
            self.tasks.repeat(RENEW_SECONDS, self.parts.ledger.renew, name="watch leases"),
            self.tasks.repeat(REPLAY_SECONDS, self.parts.ledger.replay, name="watch the journal"),
            self.tasks.repeat(REAP_SECONDS, self.parts.ledger.reap, name="watch the dead"),
            self.tasks.repeat(TRIM_SECONDS, lambda: self.live.history.trim(), name="watch the records"),
            self.tasks.repeat(0, self.reloads.next, name="watch the file"),
        ]
        self.live.watch()
        try:
            yield
        finally:
            self.draining = True
            self.live.stop()
            for task in watch:
                task.cancel()
            await self.tasks.wait(seconds=DRAIN_SECONDS)
            await self._probe.close()  # what waits to be counted is charged by its estimate now
            await self.tasks.drain(seconds=LAST_SECONDS)
            await self.parts.client.close()
            await self.journal.close()
            await self.connection.close()
            if self._embedded is not None:
                await self._embedded.stop()
            self.metrics.close(os.getpid())

    async def _watch(self) -> None:
        """Once a second: how late is the loop, and which upstreams rest?"""
        while True:
            before = time.monotonic()
            await asyncio.sleep(WATCH_SECONDS)
            self.parts.health.report()
            self.metrics.loop_lag.set(max(0.0, time.monotonic() - before - WATCH_SECONDS))

    async def _keep_store(self) -> None:
        if self._embedded is not None and not await self.connection.alive():
            await self._embedded.ensure()


def _metrics(config: Config, folder: Path | None) -> Metrics:
    metrics = Metrics(models=(), teams=(), folder=folder)
    name_all(metrics, config)
    return metrics
