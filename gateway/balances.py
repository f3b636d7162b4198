"""Our wallets at the upstreams, looked at now and then; what is asked and what it means is in `upstreams/balance.py`.

No request waits for this. Each upstream has a watch of its own, which asks its own origin with its own key alone.
"""

import asyncio
import random
import ssl
import time
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from dataclasses import dataclass

import httpx2

from gateway import dialling
from gateway.config.model import Config
from gateway.health import Health
from gateway.metrics import Metrics
from gateway.relay.dial import Addresses
from gateway.upstreams import balance
from gateway.upstreams.balance import Ask, Balance, Reply
from gateway.upstreams.base import Upstream

BYTES = 64 * 1024  # of one answer


@dataclass(frozen=True, slots=True)
class Seen:
    """A balance, and since when it is known (by the clock of Balances)."""

    balance: Balance
    at: float


class Balances:
    """The wallets of those upstreams that are asked: `balance` is on and there is a key to ask with.

    `tell` hears after each look what to go by. `clock` gives monotonic seconds, `draw` numbers in [0, 1). `pace`: how
    many share the upstreams' patience, such as the workers of a gateway; all waits are that much longer.
    """

    def __init__(
        self,
        upstreams: Iterable[Upstream],
        *,
        tell: Callable[[str, Balance], None],
        clock: Callable[[], float],
        draw: Callable[[], float],
        pace: float = 1.0,
    ) -> None:
        self._upstreams = {one.name: one for one in upstreams if one.balance and one.key is not None}
        self._tls = ssl.create_default_context() if self._upstreams else None
        self._addresses = Addresses()
        self._hurried = {name: asyncio.Event() for name in self._upstreams}
        self._turns = {name: asyncio.Lock() for name in self._upstreams}
        self._seen: dict[str, Seen] = {}
        self._tell = tell
        self._clock = clock
        self._draw = draw
        self._pace = pace

    @property
    def names(self) -> tuple[str, ...]:
        """The upstreams that are asked."""
        return tuple(self._upstreams)

    def seen(self, name: str) -> Seen | None:
        """What to go by at an upstream, None before the first look."""
        return self._seen.get(name)

    def hurry(self, name: str) -> None:
        """Look again soon, though not sooner than the upstream's patience allows."""
        if name in self._hurried:
            self._hurried[name].set()

    def watches(self) -> list[Coroutine[object, object, None]]:
        """What looks again and again, one for each upstream, until it is cancelled."""
        return [self._watch(name) for name in self._upstreams]

    async def look(self, name: str) -> Balance:
        """Ask an upstream now. What stands in the way makes the balance unknown; nothing is raised."""
        async with self._turns[name]:
            self._hurried[name].clear()
            found = await self._ask(self._upstreams[name])
            self._learn(name, found)
            return found

    async def _watch(self, name: str) -> None:
        while True:
            await self.look(name)
            await asyncio.sleep(balance.SOONEST * self._pace)
            with suppress(TimeoutError):
                async with asyncio.timeout(balance.rest(self._seen[name].balance, draw=self._draw()) * self._pace):
                    await self._hurried[name].wait()

    def _learn(self, name: str, found: Balance) -> None:
        now = self._clock()
        last = self._seen.get(name, Seen(Balance(), now))
        gone_by = balance.keep(last.balance, found, age=now - last.at)
        if gone_by is found:
            self._seen[name] = Seen(found, now)
        self._tell(name, gone_by)

    async def _ask(self, upstream: Upstream) -> Balance:
        assert self._tls is not None
        questions = balance.asking(upstream)
        async with dialling.client(upstream, self._tls, self._addresses) as client:
            try:
                ask = next(questions)
                while True:
                    ask = questions.send(await _reply(client, ask, key=upstream.key))
            except StopIteration as end:
                found: Balance = end.value
                return found


def for_gateway(config: Config, *, health: Health, metrics: Metrics) -> Balances:
    """The wallets as a gateway watches them: dry ones go last, and a refusal for want of money is looked into."""

    def tell(name: str, gone_by: Balance) -> None:
        metrics.balance(name, gone_by.usd)
        health.wallet(name, gone_by)

    balances = Balances(
        config.market.upstreams, tell=tell, clock=time.monotonic, draw=random.random, pace=config.server.workers
    )
    health.exhausted = balances.hurry
    return balances


async def _reply(client: httpx2.AsyncClient, ask: Ask, *, key: str | None) -> Reply:
    """The answer, as it came; an overlong one counts as empty."""
    try:
        got = await dialling.get(client, ask.url, key=key if ask.keyed else None, most=BYTES)
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError):
        return Reply(0)
    return Reply(got.status, got.body or b"")
