"""What clients saw, what upstreams did and what the books say: do they agree?

The seven things that hold whatever happens, once all is at rest (I3 at every moment before that too):

I1  each success that a client saw is settled exactly once
I2  nothing is charged that no upstream executed, except what a dead gateway left behind: that is charged as expired
I3  what is used and what is reserved stay within every limit together
I4  nothing is reserved
I5  no upstream saw another one's key, nor the client's
I6  what an upstream got is what the client sent
I7  the records, the counters of keys, teams and upstreams, the sums by hour and day and the metrics agree
"""

import asyncio
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import redis.asyncio

from gateway.errors import Refused
from tests.faults.books import Books, Sums, metrics_of
from tests.faults.jobs import KINDS, SECONDS, Place, Told, ask, digest
from tests.running import Running, until
from tests.servers import client_of
from tests.stub import Answer, Stub, said, stub
from tests.wire import Wire

OVER = """
local function most(s, c, usd)
  local over = 0
  for i = 2, #c do
    local measure, window, limit, burst = c[i][1], c[i][2], c[i][3], c[i][4]
    if not burst and (measure == 1) == usd then
      over = math.max(over, s[6 + window * 4 + measure] + s[6 + measure] - limit)
    end
  end
  if not usd and c[1] > 0 then over = math.max(over, s[1] - c[1]) end
  return over
end
local usd, rest = 0, 0
for _, key in ipairs(KEYS) do
  local found = redis.call('HMGET', key, 's', 'c')
  if found[1] and found[2] then
    local s, c = cmsgpack.unpack(found[1]), cmsgpack.unpack(found[2])
    usd, rest = math.max(usd, most(s, c, true)), math.max(rest, most(s, c, false))
  end
end
return {usd, rest}
"""
"""By how much the limits of some scopes are exceeded: in micro-USD, and in whatever else is limited."""


def served() -> Answer:
    """What an upstream says when all is well; it tells how long the audio was."""
    return said(usage={"type": "duration", "seconds": SECONDS})


class _Drawn(list[Answer]):
    """Answers that are drawn when they are needed; `given` has one for each request."""

    def __init__(self, draw: Callable[[], Answer]) -> None:
        super().__init__([served()])
        self.draw, self.given = draw, list[Answer]()

    def __getitem__(self, index: Any) -> Any:
        self.given.append(self.draw())
        return self.given[-1]


@dataclass
class Oracle:
    """An upstream that knows what it executed. `draw` may be changed at any time."""

    name: str
    stub: Stub
    answers: _Drawn

    @property
    def url(self) -> str:
        """Its base URL."""
        return self.stub.url

    def executed(self, *, answered: bool = False) -> list[str]:
        """The digests of the bodies that it got whole; with `answered`, of those that it served well."""
        return [
            digest(seen.headers.get("content-type", ""), bytes(seen.body))
            for seen, answer in zip(self.stub.seen, self.answers.given, strict=True)
            if seen.whole and not (answered and (answer.refuse or not 200 <= answer.status < 300))
        ]


@asynccontextmanager
async def oracle(name: str, draw: Callable[[], Answer] = served) -> AsyncIterator[Oracle]:
    """A running upstream; its key is the one that `tests.running.upstream` gives it."""
    async with stub() as one:
        one.answers = answers = _Drawn(draw)
        yield Oracle(name, one, answers)


@dataclass(frozen=True)
class Figures:
    """Micro-USD above a limit, successes that nobody was charged for, requests charged twice; and how much was seen."""

    overspent: int
    lost: int
    double: int
    asked: int
    served: int
    samples: int

    def __str__(self) -> str:
        return (
            f"{self.overspent} micro-USD overspent, {self.lost} lost, {self.double} double "
            f"({self.served} of {self.asked} requests served, {self.samples} samples)"
        )


@dataclass
class Checker:
    """One run. `told` is what the clients saw; no two requests get the same of its `numbers`."""

    client: "redis.asyncio.Redis"
    oracles: Sequence[Oracle]
    told: list[Told] = field(default_factory=list)
    samples: int = 0
    over: tuple[int, int] = (0, 0)
    numbers: Any = field(default_factory=lambda: count(1))

    async def ask(
        self, place: Place, kind: str, *, key: str = "", connected: Callable[[Wire], object] = lambda _: None
    ) -> Told:
        """Send a new job of a kind (see `KINDS`), with the place's key unless another is given."""
        told = Told(KINDS[kind](next(self.numbers)), key or place.key)
        self.told.append(told)
        return await ask(place, told, connected=connected)

    async def scopes(self) -> list[str]:
        """The names of all keys, teams and upstreams in the store."""
        found = [name async for name in self.client.scan_iter("{ag}:[ktu]:*", count=1000)]
        return [name.decode() if isinstance(name, bytes) else name for name in found]

    async def sample(self, scopes: Sequence[str]) -> None:
        """Look once whether a limit is exceeded."""
        usd, rest = await self.client.eval(OVER, len(scopes), *scopes)
        self.over = max(self.over[0], int(usd)), max(self.over[1], int(rest))
        self.samples += 1

    async def at_rest(self, *gateways: Running, seconds: float = 30.0) -> None:
        """Wait until the gateways here have nothing under way and owe nothing, and nothing is reserved."""

        async def left() -> list[object]:
            names = [task.get_name() for task in asyncio.all_tasks()]
            under_way: list[object] = [name for name in names if name.startswith(("settle", "upload", "watch req"))]
            flying = [one.app.metrics.registry.get_sample_value("audiogate_inflight_requests") for one in gateways]
            if under_way or any(flying):
                return [*under_way, *flying]
            for one in gateways:
                with suppress(Refused, sqlite3.Error):
                    await one.app.parts.ledger.replay()
            owed = sum([await one.app.journal.count() for one in gateways])
            try:
                held = [*await self.client.hkeys("{ag}:held"), *await self.client.zrange("{ag}:leases", 0, -1)]
            except redis.RedisError as error:
                return [error]
            return [f"{owed} owed"] * bool(owed) + held

        await until(left, lambda found: not found, seconds=seconds)

    async def check(self, *metrics: str, over: bool = False) -> Figures:
        """Compare everything. `metrics` are the numbers of every gateway there was, none if one was killed.

        `over`: limits may be exceeded, by what a test says itself.
        """
        books = await Books.read(self.client)
        await self.sample(await self.scopes())
        executed = Counter(one for oracle in self.oracles for one in oracle.executed())
        answered = Counter(one for oracle in self.oracles for one in oracle.executed(answered=True))
        problems = books.problems()
        double, lost = books.double(), books.lost(self.told, answered)
        problems += [f"I1: charged {one} times over" for one in [double] if one]
        problems += [f"I1: {one} successes not charged" for one in [lost] if one]
        problems += [f"I2: charged, never executed: {row}" for row in books.groundless(self.told, executed)]
        problems += [f"I3: over a limit by {self.over}"] * bool(any(self.over) and not over)
        problems += self._leaks()
        sent = {told.job.digest for told in self.told}
        problems += [f"I6: nobody sent {one}" for one in executed if one not in sent]
        if metrics:
            problems += books.compared(Sums.total(metrics_of(text) for text in metrics))
        assert not problems, "\n".join(problems)
        good = sum(200 <= told.status < 300 for told in self.told)
        return Figures(self.over[0], lost, double, len(self.told), good, self.samples)

    def _leaks(self) -> list[str]:
        keys = {told.key.encode() for told in self.told}
        found = []
        for oracle in self.oracles:
            others = {f"sk-secret-of-{one.name}".encode() for one in self.oracles if one is not oracle} | keys
            for seen in oracle.stub.seen:
                if seen.headers.get("authorization") != f"Bearer sk-secret-of-{oracle.name}":
                    found.append(f"I5: {oracle.name} was shown {seen.headers.get('authorization')}")
                everything = "\n".join([seen.target, *seen.headers.values()]).encode() + seen.body
                found += [f"I5: {oracle.name} saw the key of another" for key in others if key in everything]
        return found


@asynccontextmanager
async def checking(store_url: str, *oracles: Oracle, pause: float = 0.004) -> AsyncIterator[Checker]:
    """A checker that looks at the limits again and again while it is open, `pause` seconds apart."""
    async with client_of(store_url) as client, client_of(store_url) as side:
        checker = Checker(client, oracles)
        looking = Checker(side, ())

        over = asyncio.Event()  # a cancellation may be lost in the library: asyncio.wait_for in Python 3.11 does so

        async def look() -> None:
            scopes: list[str] = []
            while not over.is_set():
                with suppress(redis.RedisError, OSError):
                    scopes = scopes if looking.samples % 50 else await looking.scopes()
                    await looking.sample(scopes)
                    checker.samples += 1
                    checker.over = max(checker.over[0], looking.over[0]), max(checker.over[1], looking.over[1])
                await asyncio.sleep(pause)

        task = asyncio.ensure_future(look())
        try:
            yield checker
        finally:
            over.set()
            await task
