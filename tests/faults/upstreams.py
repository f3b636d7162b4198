"""A gateway before upstreams that fail, a client that sees how an answer came apart, and a clock that can be moved."""

import asyncio
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from itertools import cycle, islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gateway.config.model import Server
from tests.faults.checker import Checker, Figures, Oracle, checking, oracle
from tests.faults.jobs import KINDS, Job, Told
from tests.running import Running, configured, running, upstream
from tests.stub import Answer
from tests.wire import END, FORM, MODEL, Said, Wire, dial, file

Draw = Callable[[], Answer]
SPEECH, UPLOAD = 75, 10  # micro-USD that a request of these kinds is charged
BOTH_WAYS = ("fields first", "file first", "speech")


@contextmanager
def refusing() -> Iterator[str]:
    """A base URL whose port refuses, and which nobody else gets meanwhile."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}/v1"


class Clock:
    """A monotonic clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = float(int(time.monotonic()))

    def __call__(self) -> float:
        """Seconds."""
        return self.now

    def move(self, seconds: float) -> None:
        """So much time goes by."""
        self.now += seconds


def clocked(patch: pytest.MonkeyPatch) -> Clock:
    """The clock of every gateway that is made from now on: of its health, its budgets and its books."""
    clock = Clock()
    patch.setattr("gateway.app.time", SimpleNamespace(monotonic=clock, time=time.time))
    return clock


def upload(sound: bytes, order: str) -> Job:
    """A transcription of just these bytes."""
    parts = [MODEL, file(sound)] if order == "fields first" else [file(sound), MODEL]
    return Job("transcription", "/v1/audio/transcriptions", FORM, b"".join([*parts, END]))


def never() -> asyncio.Event:
    """What does not come."""
    return asyncio.Event()


@dataclass
class Fleet:
    """A gateway, those of its upstreams that know what they executed, and who compares the books with them."""

    gateway: Running
    oracles: Sequence[Oracle]
    checker: Checker

    @property
    def seen(self) -> list[int]:
        """How many requests each upstream saw."""
        return [len(one.stub.seen) for one in self.oracles]

    async def ask(self, kind: str = "speech") -> Told:
        """One request, to its end."""
        return await self.checker.ask(self.gateway, kind)

    async def crowd(self, count: int, *kinds: str, at_once: int = 10) -> list[Told]:
        """Requests of these kinds in turn, so many at a time."""
        places = asyncio.Semaphore(at_once)

        async def one(kind: str) -> Told:
            async with places:
                return await self.ask(kind)

        return list(await asyncio.gather(*(one(kind) for kind in islice(cycle(kinds or ("speech",)), count))))

    @asynccontextmanager
    async def by_hand(self, what: str | Job = "speech") -> AsyncIterator[tuple[Wire, Told]]:
        """A connection on which the head of a request has been sent, and where to note what is said to it."""
        job = what if isinstance(what, Job) else KINDS[what](next(self.checker.numbers))
        told = Told(job, self.gateway.key)
        self.checker.told.append(told)
        async with dial(self.gateway) as wire:
            size = f"Content-Length: {len(told.job.body)}"
            await wire.begin("POST", told.job.target, f"Content-Type: {told.job.content_type}", size)
            yield wire, told

    def forget(self) -> None:
        """What was seen of the upstreams so far is forgotten."""
        names = [one.name for one in self.gateway.app.parts.market.upstreams]
        self.gateway.app.parts.health.follow(names, anew=names)

    def no_pause(self) -> None:
        """What is tried again is so at once."""
        self.gateway.app.parts.draw = lambda: 0.0

    async def records(self, count: int = 1) -> list[dict[str, str]]:
        """The records, once there are so many."""
        return await self.gateway.records(count)

    async def books(self) -> Figures:
        """Compare everything, once all is at rest."""
        await self.checker.at_rest(self.gateway)
        assert self.gateway.app.metrics.registry.get_sample_value("audiogate_spool_bytes") == 0
        return await self.checker.check(self.gateway.app.metrics.render().decode())


@asynccontextmanager
async def fleet(
    store_url: str,
    data: Path,
    *places: Draw | str,
    host: str = "127.0.0.1",
    server: Server | None = None,
    **facts: Any,
) -> AsyncIterator[Fleet]:
    """A gateway before upstreams a, b, c, asked in that order: each draws its answers, or is only a base URL.

    `host` is what those that answer are called; `facts` are those of all upstreams, one that is a tuple has a value
    for each of them.
    """
    async with AsyncExitStack() as stack:
        oracles, ups = [], []
        for number, place in enumerate(places):
            name = "abcdefgh"[number]
            own = {key: value[number] if isinstance(value, tuple) else value for key, value in facts.items()}
            if not isinstance(place, str):
                oracles.append(await stack.enter_async_context(oracle(name, place)))
                place = oracles[-1].url.replace("127.0.0.1", host)
            ups.append(upstream(name, place, **{"priority": number + 1, **own}))
        checker = await stack.enter_async_context(checking(store_url, *oracles, pause=0.02))
        config = configured(data, *ups, server=server)
        gateway = await stack.enter_async_context(running(config, url=store_url))
        yield Fleet(gateway, oracles, checker)


def in_turn(*answers: Answer) -> Draw:
    """These answers, one after the other; the last one stays."""
    left = list(answers)
    return lambda: replace(left.pop(0) if len(left) > 1 else left[0])


def statuses(told: Sequence[Told]) -> Counter[int]:
    """How often each status was told."""
    return Counter(one.status for one in told)


async def noted(wire: Wire, told: Told, said: Said) -> None:
    """The rest of an answer whose head is here."""
    told.status, told.rid = said.status, said.headers.get("x-request-id", "")
    rest = await drained(wire, said)
    told.body, told.whole = rest


async def drained(wire: Wire, said: Said) -> tuple[bytes, bool]:
    """The body, and whether it came to its proper end."""
    body = bytes(said.body)
    try:
        async with asyncio.timeout(10):
            if said.headers.get("transfer-encoding") == "chunked":
                while size := int(await wire.reader.readuntil(b"\r\n"), 16):
                    body += (await wire.reader.readexactly(size + 2))[:-2]
                await wire.reader.readuntil(b"\r\n")
            else:
                body += await wire.reader.readexactly(int(said.headers.get("content-length", "0")) - len(body))
    except asyncio.IncompleteReadError as error:
        return body + error.partial, False
    except ConnectionError:
        return body, False
    return body, True
