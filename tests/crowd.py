"""Callers that keep a gateway busy while its store fails over, and what has to be true of the bills afterwards."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path

import httpx2

from gateway.config.model import Team
from gateway.errors import Refused
from gateway.policy.limits import Limit
from tests.running import Running, configured, running, until, upstream
from tests.stub import Stub, said, stub

SPEECH = {"model": "tts-1", "voice": "alloy", "input": "hello"}  # five characters
COST = 75  # micro-USD
PACE = 0.03  # seconds between a caller's requests: what a failover of some seconds leaves behind is soon settled


@dataclass
class Crowd:
    """Some callers and what they know. `acknowledged`: the ids of what the store said it has settled.

    `lacked`, for each time that the gateway found another server there: how many of those it did not have.
    """

    gateway: Running
    upstream: Stub
    served: int = 0
    acknowledged: set[str] = field(default_factory=set)
    lacked: list[int] = field(default_factory=list)
    _gone: asyncio.Event = field(default_factory=asyncio.Event)
    _callers: list["asyncio.Task[None]"] = field(default_factory=list)

    async def come(self, client: httpx2.AsyncClient) -> None:
        """Begin, once the gateway has seen which server it is on."""
        ledger = self.gateway.app.parts.ledger
        await until(lambda: _now(ledger._settler._run_id), bool)
        self._callers = [asyncio.ensure_future(self._ask(client)) for _ in range(6)]

    async def served_more(self, count: int) -> None:
        """Wait until so many more were served."""
        goal = self.served + count
        await until(lambda: _now(self.served), lambda served: served >= goal, seconds=20)

    async def leave(self) -> None:
        """End, once each has its answer."""
        self._gone.set()
        await asyncio.gather(*self._callers)

    async def paid(self) -> None:
        """Wait until the gateway has noticed that the server is another, and nothing is owed or held any more.

        Then there is one record of each request that was served, and every sum agrees with them.
        """
        await until(lambda: _now(self.lacked), bool, seconds=20)
        client = self.gateway.app.connection.client
        await until(self._left, lambda left: left == (0, 0), seconds=20)
        rows = [fields for _, fields in await client.xrange("{ag}:usage")]
        assert len({row["id"] for row in rows}) == len(rows), "a record twice"
        charged = [row for row in rows if row["cost_micro_usd"] == str(COST)]
        assert len(charged) == self.served == len(self.upstream.seen)
        text = "local s = redis.call('HGET', KEYS[1], 's') return s and cmsgpack.unpack(s)[27] or 0"
        sums = {key: int(await client.eval(text, 1, key)) for key in await client.keys("{ag}:[ktu]:*")}
        assert set(sums.values()) == {COST * self.served}, sums

    async def _left(self) -> tuple[int, int]:
        with suppress(Refused):
            async with self.gateway.app.connection.asking("info"):
                held = int(await self.gateway.app.connection.client.hlen("{ag}:held"))
                return await self.gateway.app.journal.count(), held
        return -1, -1

    async def _ask(self, client: httpx2.AsyncClient) -> None:
        while not self._gone.is_set():
            good = (await client.post("/audio/speech", json=SPEECH)).status_code == 200
            self.served += good  # not `+= await`: that would read the count before the answer is here
            await asyncio.sleep(PACE)

    def _watch(self) -> None:
        journal = self.gateway.app.journal
        taken, send_again = journal.taken, journal.send_again

        def acknowledged(rids: Sequence[str]) -> None:
            self.acknowledged.update(rids)
            taken(rids)

        async def counted() -> None:
            there = {fields["id"] for _, fields in await self.gateway.app.connection.client.xrange("{ag}:usage")}
            self.lacked.append(len(self.acknowledged - there))
            await send_again()

        journal.taken, journal.send_again = acknowledged, counted  # type: ignore[method-assign]


@asynccontextmanager
async def crowd(data: Path, url: str) -> AsyncIterator[Crowd]:
    """Callers of a gateway on the store at `url`, who go on while that is away."""
    async with stub() as one:
        one.answers = [said()]
        teams = {"default": Team("default", limits=(Limit("usd", "total", 10**12),))}
        config = configured(data, upstream("a", one.url), teams=teams)
        config = replace(config, store=replace(config.store, grace_usd=Decimal(1000)))
        async with running(config, url=url) as gateway, gateway.client() as client:
            callers = Crowd(gateway, one)
            callers._watch()
            await callers.come(client)
            yield callers


async def _now(value: object) -> object:
    return value
