"""The first page: its numbers, and what it calls to somebody's attention."""

import time
from pathlib import Path
from typing import Any, cast

import httpx2

from gateway.policy.ids import request_id
from tests.pages.visiting import TOKEN, house, text_of, token_in, visitor
from tests.running import Running
from tests.stub import failed, said

SPEECH = {"model": "tts-1", "input": "hello" * 10, "voice": "alloy"}  # 50 characters: 750 micro-USD


async def spoken(gateway: Running, count: int, key: str | None = None) -> None:
    """So many requests, settled."""
    async with gateway.client(key) as client:
        for _ in range(count):
            await client.post("/audio/speech", json=SPEECH)
    await gateway.idle()


def figure(page: str, label: str, place: int = 0) -> str:
    """What a card says: of the cards of this name the one at this place."""
    return page.split(f"<dt>{label}</dt><dd>")[place + 1].partition("</dd>")[0]


async def overview(client: httpx2.AsyncClient) -> str:
    """The page."""
    answer = await client.get("/")
    assert answer.status_code == 200
    return answer.text


async def test_an_empty_gateway_says_what_to_do(store_url: str, data: Path) -> None:
    async with house(store_url, data) as (gateway, _), visitor(gateway.origin, TOKEN) as operator:
        page = await overview(operator)
        assert [figure(page, "Requests", place) for place in (0, 1)] == ["0", "0"]
        assert "Make a key" in text_of(page)
        assert "Needs attention" not in page


async def test_today_and_the_last_hour_are_what_was_used(store_url: str, data: Path) -> None:
    async with house(store_url, data) as (gateway, stub), visitor(gateway.origin, TOKEN) as operator:
        await spoken(gateway, 3)
        stub.answers = [failed(400)]
        await spoken(gateway, 1)
        page = await overview(operator)
        for place in (0, 1):  # today, the last hour
            assert figure(page, "Requests", place) == "4"
            assert figure(page, "Cost", place) == "$0.002250"
            assert figure(page, "Failed", place) == "1"
        assert figure(page, "Characters") == "150"
        assert figure(page, "Time taken, p95").endswith("ms")
        assert 'href="/keys/alice"' in page


async def test_a_request_that_was_settled_late_counts_once(store_url: str, data: Path) -> None:
    async with house(store_url, data) as (gateway, _), visitor(gateway.origin, TOKEN) as operator:
        client: Any = gateway.app.connection.client
        rid = request_id(int(time.time() * 1000), bytes(10))
        record = {"id": rid, "route": "speech", "key": "x", "team": "red", "status": "0", "error": "expired"}
        await client.xadd("{ag}:usage", {**record, "cost_micro_usd": "9000"})
        late = {**record, "status": "200", "error": "", "cost_micro_usd": "700", "takes_back": "9000"}
        await client.xadd("{ag}:usage", cast("dict[Any, Any]", late))
        page = await overview(operator)
        assert (figure(page, "Requests", 1), figure(page, "Cost", 1), figure(page, "Failed", 1)) == (
            "1",
            "$0.000700",
            "0",
        )


async def test_what_is_nearly_used_up_or_fails_is_called_out(store_url: str, data: Path) -> None:
    async with house(store_url, data) as (gateway, stub), visitor(gateway.origin, TOKEN) as operator:
        token = await token_in(operator, "/keys")
        limits = {"limit_measure": "characters", "limit_per": "day", "limit_amount": "60", "limit_burst": ""}
        made = await operator.post("/teams", data={"token": token, "name": "blue", **limits})
        assert made.status_code == 303
        answer = await operator.post("/keys", data={"token": token, "name": "carol", "team": "blue"})
        key = "ag_" + answer.text.partition("<code>ag_")[2].partition("<")[0]
        await spoken(gateway, 1, key)
        told = text_of(await overview(operator))
        assert "Team blue has used 50 of 60 (characters per day)" in told
        stub.answers = [*[failed(400)] * 5, said()]
        await spoken(gateway, 30)
        assert "of the last hour&#39;s requests failed" in await overview(operator)
        async with visitor(gateway.origin, key) as carol:
            page = text_of(await overview(carol))
            assert "Team blue (all its keys) has used 50 of 60" in page
            assert "alice" not in page
            assert "failed: see which" not in page  # its own did not


async def test_a_holder_sees_what_is_left(store_url: str, data: Path) -> None:
    async with house(store_url, data) as (gateway, _), visitor(gateway.origin, gateway.key) as alice:
        await spoken(gateway, 2)
        page = text_of(await overview(alice))
        assert "$0.001500 of $1.00" in page
        assert "$0.001500 of $20.00" in page
