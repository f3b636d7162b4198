"""/admin/upstreams: how the upstreams do, and what becomes of requests while operators take one out of use."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx2
import pytest

from gateway.config.model import Config, Server
from gateway.errors import Refused
from gateway.policy.circuit import IN_A_ROW
from gateway.store.drains import Drains
from gateway.upstreams.base import Upstream
from tests.aggregator import fill, with_wallet
from tests.running import PRICES, Running, configured, running, until, upstream
from tests.stub import Answer, Stub, failed, said, stub
from tests.wires import wired

TOKEN = "a token of operators"
SPEECH = {"model": "tts-1", "input": "hello", "voice": "alloy"}
SOON = 3.0  # seconds for what takes two


@dataclass
class Two:
    """A gateway, two upstreams of which `one` goes first, and what it takes to run another on the same store."""

    gateway: Running
    admin: httpx2.AsyncClient
    one: Stub
    two: Stub
    config: Config

    async def speak(self, gateway: Running | None = None) -> tuple[int, Any]:
        """Have something spoken: the status, and what came."""
        async with (gateway or self.gateway).client() as client:
            answer = await client.post("/audio/speech", json=SPEECH)
            return answer.status_code, answer.json()

    async def asked(self, path: str, *, status: int = 200) -> dict[str, Any]:
        """Ask as an operator: POST below /admin/upstreams/."""
        answer = await self.admin.post(f"/admin/upstreams/{path}")
        assert answer.status_code == status, answer.text
        return dict(answer.json())

    async def rows(self) -> list[dict[str, Any]]:
        """All upstreams."""
        answer = await self.admin.get("/admin/upstreams")
        assert answer.status_code == 200, answer.text
        return list(answer.json()["data"])


@asynccontextmanager
async def two(store_url: str, data: Path, *more: Upstream, **facts: Any) -> AsyncIterator[Two]:
    """All of it, running."""
    async with AsyncExitStack() as stack:
        first, second = [await stack.enter_async_context(stub()) for _ in range(2)]
        first.answers, second.answers = [said("one")], [said("two")]
        ups = upstream("a", first.url, **facts), upstream("b", second.url, priority=2), *more
        config = replace(configured(data, *ups), server=Server(admin_token=TOKEN), file="gateway.yaml")
        gateway = await stack.enter_async_context(running(config, url=store_url))
        headers = {"authorization": f"Bearer {TOKEN}"}
        admin = httpx2.AsyncClient(base_url=gateway.origin, headers=headers, timeout=20)
        yield Two(gateway, await stack.enter_async_context(admin), first, second, config)
        await gateway.idle()


ONE, OTHER = (200, {"text": "one"}), (200, {"text": "two"})


async def test_a_drained_upstream_gets_no_new_request_until_that_ends(store_url: str, data: Path) -> None:
    async with two(store_url, data) as world:
        assert await world.speak() == ONE
        row = await world.asked("a/drain")
        assert (row["name"], row["state"]) == ("a", "drained")
        assert row["drained_since"].endswith("Z")
        assert [await world.speak() for _ in range(3)] == [OTHER] * 3
        assert await world.asked("a/drain") == row
        assert (await world.asked("a/undrain"))["drained_since"] is None
        assert await world.speak() == ONE
        audit = (await world.admin.get("/admin/audit")).json()["data"]
    deeds = [(row["door"], row["action"], row["what"], row["result"]) for row in audit]
    assert deeds[:3] == [
        ("api", "upstreams.undrain", "a", "ok"),
        ("api", "upstreams.drain", "a", "ok"),
        ("api", "upstreams.drain", "a", "ok"),
    ]


async def test_what_is_under_way_ends_as_if_nothing_were(store_url: str, data: Path) -> None:
    hold = asyncio.Event()
    async with two(store_url, data) as world:
        world.one.answers = [Answer(pieces=(b'{"text":"one"}',), hold=hold)]
        going = asyncio.ensure_future(world.speak())
        await world.one.request()
        row = await world.asked("a/drain")
        assert (row["state"], row["under_way"]) == ("drained", 1)
        assert await world.speak() == OTHER
        hold.set()
        assert await going == ONE
        await until(world.rows, lambda rows: rows[0]["under_way"] == 0)


async def test_when_every_upstream_that_could_serve_is_drained_the_caller_is_told(store_url: str, data: Path) -> None:
    async with two(store_url, data) as world:
        await world.asked("a/drain")
        await world.asked("b/drain")
        async with world.gateway.client() as client:
            answer = await client.post("/audio/speech", json=SPEECH)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "upstreams_drained")
        assert (answer.headers["retry-after"], answer.headers["x-should-retry"]) == ("30", "true")
        assert "127.0.0.1" not in answer.text
        assert world.one.seen == world.two.seen == []


async def test_what_fails_is_not_tried_again_where_it_was_drained_meanwhile(store_url: str, data: Path) -> None:
    hold = asyncio.Event()
    async with two(store_url, data) as world:
        world.one.answers = [replace(failed(502), hold=hold)]
        going = asyncio.ensure_future(world.speak())
        await world.one.request()
        await world.asked("b/drain")
        await world.asked("a/drain")
        hold.set()
        status, told = await going
        assert (status, told["error"]["code"]) == (503, "upstreams_drained")
        assert (len(world.one.seen), len(world.two.seen)) == (1, 0)


async def test_who_was_planned_before_it_was_drained_goes_elsewhere(store_url: str, data: Path) -> None:
    async with two(store_url, data) as world:
        parts = world.gateway.app.parts
        admit = parts.limits.admit

        async def drained_meanwhile(*args: Any, **more: Any) -> Any:
            found = await admit(*args, **more)
            if not more.get("peek"):
                parts.health.drain({"a": 1.0})
            return found

        parts.limits.admit = drained_meanwhile  # type: ignore[method-assign]
        assert await world.speak() == OTHER
        (record,) = await world.gateway.records()
        assert (record["upstream"], world.one.seen) == ("b", [])


async def test_every_gateway_of_the_store_follows_within_two_seconds(store_url: str, data: Path) -> None:
    async with two(store_url, data) as world, running(world.config, url=store_url) as other:
        assert await world.speak(other) == ONE
        await world.asked("a/drain")
        health = other.app.parts.health

        async def drained() -> bool:
            return health.state("a").state == "drained"

        await until(drained, bool, seconds=SOON)
        assert await world.speak(other) == OTHER
        await world.asked("a/undrain")
        await until(drained, lambda found: not found, seconds=SOON)
        assert await world.speak(other) == ONE
        await other.idle()


async def test_it_holds_from_the_first_request_after_a_restart(store_url: str, data: Path) -> None:
    async with two(store_url, data) as world:
        await world.asked("a/drain")
        await world.asked("b/drain")
        async with running(world.config, url=store_url) as again:
            assert again.app.parts.health.state("a").state == "drained"
            assert (await world.speak(again))[0] == 503


async def test_while_the_store_is_away_what_was_known_last_holds(store_url: str, data: Path) -> None:
    async with wired(store_url) as between, two(between.url, data) as world:
        await world.asked("a/drain")
        between.refuses = True
        between.cut()
        drains = Drains(world.gateway.app.connection, door="test", tell=world.gateway.app.parts.health.drain)
        with pytest.raises(Refused, match="store_down"):
            await drains.follow()
        assert [row["state"] for row in await world.rows()] == ["drained", "up"]
        await world.asked("b/drain", status=503)
        between.refuses = False
        assert await until(world.speak, lambda found: found[0] == 200) == OTHER
        assert world.one.seen == []


async def test_how_an_upstream_does_is_told(store_url: str, data: Path) -> None:
    async with two(store_url, data, upstream("c", "http://127.0.0.1:9/v1", weight=3, models={"x-*": "y"})) as world:
        world.one.answers = [failed(500)]
        for _ in range(IN_A_ROW):
            assert await world.speak() == OTHER
        a, b, c = await world.rows()
    assert a["host"] == f"127.0.0.1:{world.one.port}"
    assert (a["state"], a["ejections"], a["resting_models"]) == ("resting", 1, ["tts-1"])
    assert 0 < a["resting_seconds"] <= 33
    assert (b["state"], b["ejections"], b["resting_seconds"], b["priority"]) == ("up", 0, 0, 2)
    assert b["pace"] >= 0
    assert c == {
        "name": "c",
        "kind": "openai",
        "host": "127.0.0.1:9",
        "models": ["x-*"],
        "priority": 1,
        "weight": 3,
        "state": "up",
        "resting_seconds": 0.0,
        "resting_models": [],
        "under_way": 0,
        "pace": None,
        "ejections": 0,
        "balance_usd": None,
        "balance_unlimited": False,
        "balance_age_seconds": None,
        "drained_since": None,
    }


async def test_a_wallet_is_told_and_watched_on_while_its_upstream_is_drained(store_url: str, data: Path) -> None:
    async with stub() as rich:
        pages = with_wallet(rich, usd=0)
        wallet = upstream("w", rich.url, kind="newapi", balance=True)
        async with two(store_url, data, wallet) as world:
            await until(world.rows, lambda rows: rows[2]["state"] == "dry")
            await world.asked("w/drain")
            fill(pages, 4.5)
            await world.gateway.app.balances.look("w")
            row = (await world.rows())[2]
    assert (row["state"], row["balance_usd"], row["balance_unlimited"]) == ("drained", "4.500000", False)
    assert 0 <= row["balance_age_seconds"] < 20


async def test_one_can_be_tested_also_while_it_is_drained(store_url: str, data: Path) -> None:
    async with two(store_url, data) as world:
        await world.asked("a/drain")
        found = await world.asked("a/test")
        assert (found["name"], found["ok"], found["verdict"], found["message"]) == ("a", True, "fine", "")
        assert 0 <= found["connect_ms"] <= found["ms"]
        assert [seen.target for seen in world.one.seen] == ["/v1/models"]
        world.one.answers = [failed(401, "no such key")]
        found = await world.asked("a/test")
        assert (found["ok"], found["verdict"]) == (False, "key")
        assert "sk-secret" not in str(found)


@pytest.mark.parametrize("verb", ["drain", "undrain", "test"])
async def test_a_name_that_there_is_not_is_refused(store_url: str, data: Path, verb: str) -> None:
    async with two(store_url, data) as world:
        found = await world.asked(f"nobody/{verb}", status=404)
        assert found["error"]["message"] == "There is no upstream called 'nobody'."


async def test_another_configuration_keeps_the_drains(store_url: str, data: Path) -> None:
    async with two(store_url, data) as world:
        await world.asked("a/drain")
        app = world.gateway.app
        kept = world.config.market.upstreams
        fewer = configured(data, kept[1], prices=PRICES)
        app.live.follow(replace(fewer, server=world.config.server, store=app.live.config.store))
        assert [row["name"] for row in await world.rows()] == ["b"]
        app.live.follow(replace(world.config, store=app.live.config.store))
        assert [row["state"] for row in await world.rows()] == ["drained", "up"]


async def test_a_dry_wallet_that_is_looked_at_no_more_holds_nobody_up(store_url: str, data: Path) -> None:
    async with stub() as poor:
        with_wallet(poor, usd=0)
        wallet = upstream("w", poor.url, kind="newapi", balance=True)
        async with two(store_url, data, wallet) as world:
            await until(world.rows, lambda rows: rows[2]["state"] == "dry")
            live, others = world.gateway.app.live, world.config.market.upstreams[:2]
            unwatched = configured(data, *others, replace(wallet, balance=False))
            live.follow(replace(unwatched, server=world.config.server, store=live.config.store))
            row = (await world.rows())[2]
            assert (row["state"], row["balance_usd"], row["balance_age_seconds"]) == ("up", None, None)
