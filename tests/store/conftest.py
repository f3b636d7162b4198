"""All rooms of the store on a real, empty server, of each engine in turn."""

import hashlib
import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pytest
import redis
import redis.asyncio
from redis.exceptions import NoScriptError

from gateway.config.model import Config, Key, Team
from gateway.errors import Refused
from gateway.metrics import Metrics
from gateway.policy.keys import Caller, parse
from gateway.policy.limits import Amounts, Limit
from gateway.store.connection import Connection, script_text
from gateway.store.keys import Keys
from gateway.store.limits import Admission, Limits, Offer
from gateway.store.totals import Totals
from gateway.store.usage import Settlement, Spent, Usage
from tests.running import PEPPER, configured, key_text
from tests.servers import EACH_ENGINE, start_store

CLOCK = "redis.call('TIME')"
FAKED = "local micros, seconds = table.remove(ARGV), table.remove(ARGV) "
BEGAN = 1_700_000_000.0
WINDOWS = ("minute", "hour", "day", "month", "total")


class Timed(Connection):
    """A connection whose scripts read `now_ms` (since 1970) instead of the server's clock, once it is set."""

    now_ms: int | None = None

    async def _evaluate(self, script: str, keys: Sequence[str], args: Sequence[str | int]) -> object:
        if self.now_ms is None:
            return await super()._evaluate(script, keys, args)
        text, sha = timed(script)
        seconds, ms = divmod(self.now_ms, 1000)
        told = (*keys, *args, seconds, 1000 * ms)
        try:
            return await self.client.evalsha(sha, len(keys), *told)
        except NoScriptError:
            return await self.client.eval(text, len(keys), *told)


@cache
def timed(script: str) -> tuple[str, str]:
    """A script that is told the time behind its other arguments, and its digest."""
    text = script_text(script)
    assert text.count(CLOCK) == 1
    text = FAKED + text.replace(CLOCK, "{seconds, micros}")
    return text, hashlib.sha1(text.encode()).hexdigest()


@dataclass(frozen=True)
class Numbers:
    """The numbers of a scope: in flight, and (usd, ms, characters, requests) that are reserved and used per window."""

    flying: int
    ids: tuple[int, ...]
    reserved: tuple[int, ...]
    used: Mapping[str, tuple[int, ...]]


@dataclass
class Rooms:
    """One gateway's view of the store. `caller` is alice of team default, once `declare` was called."""

    connection: Timed
    raw: redis.asyncio.Redis
    keys: Keys = field(init=False)
    limits: Limits = field(init=False)
    usage: Usage = field(init=False)
    totals: Totals = field(init=False)
    caller: Caller = field(init=False)

    def __post_init__(self) -> None:
        self.keys = Keys(self.connection, pepper=PEPPER)
        self.limits = Limits(self.connection)
        self.usage = Usage(self.connection)
        self.totals = Totals(self.connection)
        self.presented = parse(key_text())

    @staticmethod
    def config(
        *,
        key: Sequence[Limit] = (),
        team: Sequence[Limit] = (),
        upstream: Sequence[Limit] = (),
        timezone: str = "UTC",
        **facts: object,
    ) -> Config:
        """A configuration of one key, one team and the upstreams one, two and three; limits of `upstream` are one's."""
        return configured(
            Path("unused"),
            keys={"alice": Key("alice", "default", key_text(), limits=tuple(key), **facts)},
            teams={"default": Team("default", limits=tuple(team), timezone=timezone)},
            upstream_limits={"one": tuple(upstream), "two": (), "three": ()},
        )

    async def declare(self, **told: object) -> Caller:
        """Bring `config` into the store."""
        await self.keys.declare(self.config(**told))
        return await self.reread()

    async def reread(self) -> Caller:
        """Alice as the store knows her now."""
        caller = await self.keys.find(self.presented.kid, fresh=True)
        assert caller is not None
        self.caller = caller
        return caller

    async def admit(
        self, rid: str, *names: str, offers: Sequence[Offer] = (), peek: bool = False, **amounts: int
    ) -> Admission:
        """Ask for alice, at upstreams of one price (`names`) or of several (`offers`)."""
        offers = offers or [Offer(name, Amounts(**amounts)) for name in names or ("one",)]
        return await self.limits.admit(rid, self.caller, self.presented, offers=offers, peek=peek)

    async def switch(
        self, rid: str, held: str, *names: str, offers: Sequence[Offer] = (), **amounts: int
    ) -> str | None:
        """Move alice's reservation."""
        offers = offers or [Offer(name, Amounts(**amounts)) for name in names]
        return await self.limits.switch(rid, self.caller, held=held, offers=offers)

    @staticmethod
    def settlement(
        rid: str,
        upstream: str = "one",
        *,
        kid: str = parse(key_text()).kid,
        team: str = "default",
        model: str = "whisper-1",
        began: float = BEGAN,
        sums: Mapping[str, int] | None = None,
        record: Mapping[str, str] | None = None,
        cost: Amounts | None = None,
        failed: Sequence[Spent] = (),
        **used: int,
    ) -> Settlement:
        """The end of a request; its sums are what it used unless said otherwise."""
        amounts = Amounts(**used)
        default = {"requests": amounts.requests, "usd": amounts.usd, "ms": amounts.ms}
        told = {"id": rid, "cost_micro_usd": str(amounts.usd), "audio_ms": str(amounts.ms)}
        return Settlement(
            rid,
            kid=kid,
            team=team,
            model=model,
            upstream=upstream,
            route="transcriptions",
            began=began,
            used=amounts,
            cost=cost or amounts,
            failed=tuple(failed),
            sums=default if sums is None else sums,
            record=json.dumps([part for pair in (told if record is None else record).items() for part in pair]),
        )

    async def settle(self, rid: str, upstream: str = "one", **told: object) -> bool:
        """Close one of alice's requests."""
        return await self.usage.settle(self.settlement(rid, upstream, **told))

    async def numbers(self, scope: str) -> Numbers:
        """The numbers of `alice`, `default` (the team) or an upstream."""
        key = {"alice": f"{{ag}}:k:{self.presented.kid}", "default": "{ag}:t:default"}.get(scope, f"{{ag}}:u:{scope}")
        text = "local s = redis.call('HGET', KEYS[1], 's') return s and cmsgpack.unpack(s) or {}"
        found = [int(number) for number in await self.raw.eval(text, 1, key)] or [0] * 32
        assert len(found) == 32
        used = {window: tuple(found[10 + 4 * i : 14 + 4 * i]) for i, window in enumerate(WINDOWS)}
        return Numbers(found[0], tuple(found[1:6]), tuple(found[6:10]), used)

    async def everything(self) -> dict[bytes, tuple[object, int]]:
        """Each key of the store: its value, and when it expires (-1: never)."""
        found: dict[bytes, tuple[object, int]] = {}
        async for name in self.raw.scan_iter(count=1000):
            hashed = (
                await self.raw.type(name) == b"hash"
            )  # its dump depends on the order of its fields, which may change
            value = await self.raw.hgetall(name) if hashed else await self.raw.dump(name)
            found[name] = (value, await self.raw.pexpiretime(name))
        return found


async def refused(rooms: Rooms, script: str, keys: Sequence[str], args: Sequence[str | int]) -> bool:
    """Whether a script does not take what it is told, as a whole or, of many things, the only one."""
    try:
        found = await rooms.connection.run(script, keys, args)
    except Refused:
        return True
    return isinstance(found, list) and found[0][0] == "error"


@asynccontextmanager
async def rooms_on(url: str) -> AsyncIterator[Rooms]:
    """Rooms on a server, with connections of their own."""
    connection = Timed(url, Metrics(models=(), teams=()))
    raw = redis.asyncio.Redis.from_url(url)
    try:
        yield Rooms(connection, raw)
    finally:
        await raw.aclose()
        await connection.close()


@pytest.fixture(scope="session")
def server_of() -> Iterator[Callable[[str], str]]:
    """Gives the URL of this test process's own server of an engine, started when it is first asked for."""
    with ExitStack() as stack:
        urls: dict[str, str] = {}

        def url_of(engine: str) -> str:
            if engine not in urls:
                urls[engine] = stack.enter_context(start_store(engine))
            return urls[engine]

        yield url_of


@pytest.fixture(params=EACH_ENGINE)
def url(request: pytest.FixtureRequest, server_of: Callable[[str], str]) -> str:
    """An empty store of our own."""
    found = server_of(request.param)
    with redis.Redis.from_url(found) as client:
        client.flushall()
        client.script_flush()
    return found


@pytest.fixture
def open_rooms() -> Callable[[str], object]:
    """Opens more rooms on a URL: `async with open_rooms(url) as rooms`."""
    return rooms_on


@pytest.fixture
async def rooms(url: str) -> AsyncIterator[Rooms]:
    """The rooms on an empty store."""
    async with rooms_on(url) as found:
        yield found
