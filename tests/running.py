"""A gateway that really runs: uvicorn on an ephemeral port, a real store, upstreams of the test's choosing."""

import asyncio
import socket
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import httpx2
import uvicorn
from uvicorn.server import ServerState

from gateway.app import Gateway, Start
from gateway.config.model import Config, Key, Server, Store, Team, Uploads
from gateway.groundwork import declare
from gateway.policy.keys import mint
from gateway.policy.limits import Limit
from gateway.policy.pricing import Price
from gateway.policy.routing import ANY_AUDIO, Market
from gateway.upstreams import KINDS
from gateway.upstreams.base import Upstream
from gateway.web.door import Door
from tests.stub import Answer, Stub, stub

PEPPER = b"pepper of the tests, 32 bytes long"
WHISPER = Price(per_minute=Decimal("0.006"))
TTS = Price(per_1m_characters=Decimal(15))
PRICES = {
    "whisper-1": WHISPER,
    "gpt-4o-transcribe": WHISPER,
    "tts-1": TTS,
    ANY_AUDIO: Price(per_request=Decimal("0.001")),
}
MODELS = {"whisper-1": "whisper-1", "gpt-4o-transcribe": "gpt-4o-transcribe", "tts-1": "tts-1"}


def key_text(number: int = 1) -> str:
    """A well-formed key, the same for the same number."""
    return mint(number.to_bytes(33, "little"))


def upstream(name: str, url: str, *, kind: str = "openai", **more: object) -> Upstream:
    """An upstream at `url`, with a key of its own."""
    facts: dict[str, object] = {"models": MODELS, "key": f"sk-secret-of-{name}", "can": KINDS[kind].can}
    facts |= {"allow_private": True, **more}
    return Upstream(name, KINDS[kind], url, **facts)  # type: ignore[arg-type]


def configured(
    data: Path,
    *upstreams: Upstream,
    url: str = "",
    keys: Mapping[str, Key] | None = None,
    teams: Mapping[str, Team] | None = None,
    prices: Mapping[str, Price] | None = None,
    upstream_limits: Mapping[str, tuple[Limit, ...]] | None = None,
    uploads: Uploads | None = None,
    server: Server | None = None,
) -> Config:
    """A configuration: one key `alice` of team `default` unless said otherwise."""
    rows = {one.name: prices if prices is not None else PRICES for one in upstreams}
    return Config(
        server=server or Server(),
        store=Store(data=data, url=url, pepper=PEPPER, timeout=2.0),
        uploads=uploads or Uploads(),
        market=Market(upstreams, rows),
        teams=teams or {"default": Team("default")},
        keys=keys or {"alice": Key("alice", "default", key_text())},
        upstream_limits=upstream_limits or {one.name: () for one in upstreams},
    )


@dataclass
class Running:
    """A running gateway: `url` ends in /v1; `key` is alice's; `state` is its server's."""

    url: str
    app: Gateway
    key: str
    state: ServerState

    @property
    def origin(self) -> str:
        """Scheme, host and port."""
        return self.url.removesuffix("/v1")

    def client(self, key: str | None = None) -> httpx2.AsyncClient:
        """An HTTP client with the key."""
        headers = {"authorization": f"Bearer {key or self.key}"}
        return httpx2.AsyncClient(base_url=self.url, headers=headers, timeout=20)

    async def records(self, count: int = 1) -> list[dict[str, str]]:
        """Wait for `count` usage records and return them all, in the order in which their requests began."""
        found = await until(lambda: self._records(), lambda rows: len(rows) >= count)
        assert len(found) == count, found
        return list(found)

    async def cost(self) -> int:
        """What all records together cost, in micro-USD."""
        return sum(int(record["cost_micro_usd"]) for record in await self._records())

    async def _records(self) -> list[dict[str, str]]:
        found = await self.app.connection.client.xrange("{ag}:usage") or []
        rows = [fields for _, fields in found]
        # In the order in which the requests began: they are settled behind their answers, in any order.
        return sorted(cast("list[dict[str, str]]", rows), key=lambda fields: fields["at"])

    async def numbers(self, scope: str) -> str:
        """The packed numbers of a scope, as the store keeps them (for equality only)."""
        client: Any = self.app.connection.client
        return str(await client.execute_command("HGET", scope, "s", NEVER_DECODE=True))

    async def asked(self, *, connections: int, requests: int) -> None:
        """Wait until there are just so many connections to it, and requests under way."""

        async def seen() -> tuple[int, int]:
            return len(self.state.connections), len(self.state.tasks)

        await until(seen, lambda found: found == (connections, requests))

    async def idle(self) -> None:
        """Wait until nothing is being settled and nothing is held."""

        async def left() -> int:
            held = int(await self.app.connection.client.hlen("{ag}:held"))
            return held + len([task for task in asyncio.all_tasks() if task.get_name().startswith("settle")])

        await until(left, lambda count: count == 0)


async def until(look: Callable[[], Awaitable[Any]], good: Callable[[Any], object], *, seconds: float = 10.0) -> Any:
    """Look again and again until what is seen is good."""
    async with asyncio.timeout(seconds):
        while not good(found := await look()):
            await asyncio.sleep(0.005)
    return found


@asynccontextmanager
async def serving(
    store_url: str, data: Path, *answers: Answer, kind: str = "openai", **more: Any
) -> AsyncIterator[tuple[Running, Stub]]:
    """A gateway with one upstream that gives these answers; `more` goes to `configured`."""
    async with stub() as one:
        if answers:
            one.answers = list(answers)
        async with running(configured(data, upstream("a", one.url, kind=kind), **more), url=store_url) as gateway:
            yield gateway, one


class _Server(uvicorn.Server):
    """uvicorn without the tenths of a second for which it pauses between looks."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.stop = asyncio.Event()

    async def main_loop(self) -> None:
        await self.on_tick(0)
        await self.stop.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()

        async def left() -> int:
            return len(self.server_state.connections) + len(self.server_state.tasks)

        await until(left, lambda count: count == 0)
        await self.lifespan.shutdown()


@asynccontextmanager
async def running(config: Config, *, url: str) -> AsyncIterator[Running]:
    """Run the gateway with this configuration on the store at `url`."""
    config = replace(config, store=replace(config.store, url=url))
    await declare(config, url)
    app = Gateway(Start(config, url))
    # Callers and upstreams share this event loop: that it is late with their work, too, is no reason to refuse any.
    app.overload._lags = deque(maxlen=0)  # type: ignore[assignment]
    options: dict[str, Any] = {"http": Door, "ws": "none", "loop": "none", "lifespan": "on", "proxy_headers": False}
    server = _Server(uvicorn.Config(app, log_config=None, access_log=False, server_header=False, **options))
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        task = asyncio.ensure_future(server.serve(sockets=[listener]))

        async def started() -> bool:
            return server.started or task.done()

        await until(started, bool)
        key = next((key.text for key in config.keys.values() if key.text), "") or ""
        try:
            yield Running(f"http://127.0.0.1:{port}/v1", app, key, server.server_state)
        finally:
            server.stop.set()
            await task
