"""Puts the parts together: the only file that names every one of them."""

import os
import random
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway import logs, loops, memory
from gateway.balances import Balances
from gateway.client import Client
from gateway.config.model import Config
from gateway.errors import Refused
from gateway.grace import Grace
from gateway.groundwork import embedded, metrics_of, pepper_of
from gateway.health import Health
from gateway.ledger import Ledger
from gateway.live import Live, spools_of
from gateway.overload import Overload
from gateway.parts import Parts
from gateway.policy.budget import Budget
from gateway.policy.ids import DRAW_BYTES, request_id
from gateway.policy.pricing import MICRO
from gateway.probe.parent import Probe
from gateway.reload import Declare, Reloads, hear
from gateway.settler import Settler
from gateway.store.connection import opened
from gateway.store.drains import Drains
from gateway.store.journal import Journal
from gateway.store.keys import Keys
from gateway.store.leases import Leases
from gateway.store.limits import Limits
from gateway.store.repeats import Repeats
from gateway.tasks import Tasks
from gateway.telemetry.teller import teller_of
from gateway.web.desk import DESK, Desk
from gateway.web.guard import SAFE
from gateway.web.porter import Porter

DRAIN_SECONDS, LAST_SECONDS = 6.0, 2.0  # for the books, once nobody is served any more


def wall() -> float:
    """Seconds since 1970."""
    return time.time()  # noqa: TID251 - the one place that reads it


def named(began: float) -> str:
    """The id of a request that began at this second since 1970."""
    return request_id(int(began * 1000), secrets.token_bytes(DRAW_BYTES))


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
    """The application. Audio requests are served at its doors (`web/door.py`), all others come here, for FastAPI.

    `draining`: no new requests should come, and it says so. `books`: seconds that the books may take at its end.
    """

    def __init__(self, start: Start) -> None:
        self.metrics = metrics_of(start.config, start.metrics)
        self.connection = opened(start.config.store, start.url, self.metrics)
        self.tasks = Tasks()
        self.draining = False
        self.books = DRAIN_SECONDS + LAST_SECONDS
        self._embedded = embedded(start.config)
        self._probe = Probe()
        self._pepper = pepper_of(start.config)
        self._teller = teller_of(start.config.telemetry)
        self.parts = self._parts(start.config)
        self.overload = Overload(
            self.metrics,
            most=start.config.server.max_requests,
            clock=time.monotonic,
            draw=random.random,
        )
        self.live = Live(
            start.config,
            self.parts,
            self.connection,
            pepper=self._pepper,
            clock=wall,
            not_ready=self.not_ready,
            lifespan=self._lifespan,
        )
        self.reloads = Reloads(
            now=lambda: self.live.config,
            declare=start.declare,
            follow=self.live.follow,
            refused=lambda: self.metrics.reloaded("refused"),
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A request that is not for audio: it gets its id."""
        if scope["type"] != "http":
            porter = Porter(self.live.config.server, draw=random.random)
            scope["state"][DESK] = Desk(self.parts, wall, named, shed=self.overload.shed, porter=porter)
            await self.live.api(scope, receive, send)
            return
        now = wall()
        rid = named(now).encode()
        scope["audiogate.began"] = now

        async def tell(message: Message) -> None:
            if message["type"] == "http.response.start":
                told = [name for name, _ in message["headers"]]
                safe = [pair for pair in SAFE if pair[0] not in told]
                message["headers"] = [*message["headers"], (b"x-request-id", rid), *safe]
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
            repeats=Repeats(self.connection),
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
                told=self._teller.told if self._teller is not None else None,
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
            carried=self._teller.carried if self._teller is not None and config.telemetry.pass_on else None,
        )

    @asynccontextmanager
    async def _lifespan(self, api: FastAPI) -> AsyncIterator[None]:
        del api
        if self._embedded is not None:
            await self._embedded.start()
        self.journal.open()
        self.tasks.spawn(self._probe.warm(), name="warm the probe")
        self.overload.start()
        drains = Drains(self.connection, door="gateway", tell=self.parts.health.drain)
        with suppress(Refused):  # before the first request is let in
            await drains.follow()
        watch = loops.begin(
            self.tasks,
            self.parts.ledger,
            report=loops.reporter(self.overload, self.parts.health, self.metrics),
            keep_store=self._keep_store,
            trim=lambda: self.live.history.trim(),
            reload=self.reloads.next,
            drains=drains.follow,
        )
        self.live.watch()
        try:
            yield
        finally:
            self.draining = True
            self.live.stop()
            for task in watch:
                task.cancel()
            last = min(LAST_SECONDS, self.books / 2)
            await self.tasks.wait(seconds=min(DRAIN_SECONDS, self.books - last))
            await self._probe.close()  # what waits to be counted is charged by its estimate now
            await self.tasks.drain(seconds=last)
            self.overload.stop()
            if self._teller is not None:
                await self._teller.close(last)
            await self.parts.client.close()
            await self.journal.close()
            await self.connection.close()
            if self._embedded is not None:
                await self._embedded.stop()
            self.metrics.close(os.getpid())

    async def _keep_store(self) -> None:
        if self._embedded is not None and not await self.connection.alive():
            await self._embedded.ensure()
