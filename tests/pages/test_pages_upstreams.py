"""The page of the upstreams, for operators: how they do, testing them, and taking them out of use."""

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import httpx2
import pytest
from playwright.async_api import Browser, expect

from gateway.config.model import Key, Server, Team
from gateway.policy.limits import Limit
from gateway.store.connection import Connection
from gateway.store.drains import Drains
from gateway.store.roll import Roll, upstream_standings
from gateway.upstreams.balance import Balance
from gateway.upstreams.base import Outcome, Verdict
from tests.faults.stores import mortal
from tests.launched import WAV
from tests.pages.browsing import IN_ONE_LOOP, looking, signed_in
from tests.pages.visiting import TOKEN, text_of, token_in, visitor
from tests.running import Running, configured, key_text, running, until, upstream
from tests.stub import Answer, Stub, failed, said, stub

PAGE = "/upstreams"
TEAMS = {name: Team(name) for name in ("default", "blue")}  # which are in two shards, where there are sixteen
KEYS = {"alice": Key("alice", "default", key_text(1)), "bob": Key("bob", "blue", key_text(2))}


@asynccontextmanager
async def two(store_url: str, data: Path, shards: int = 1) -> AsyncIterator[tuple[Running, Stub, Stub]]:
    """A gateway with the upstreams `a`, which goes first and has limits, and `b`. Without a key nobody asks for
    the balance of `a`: the tests tell it.
    """
    async with stub() as one, stub() as other:
        a = upstream("a", one.url, models={"whisper-1": "large-v3", "tts-*": "*"}, balance=True, key=None)
        b = upstream("b", other.url, priority=2, weight=3)
        limits = {"a": (Limit("usd", "day", 1_000_000), Limit("concurrency", "", 64)), "b": ()}
        config = configured(data, a, b, upstream_limits=limits, keys=KEYS, teams=TEAMS)
        config = replace(config, server=Server(admin_token=TOKEN), store=replace(config.store, shards=shards))
        async with running(config, url=store_url) as gateway:
            yield gateway, one, other


def part(page: str, name: str) -> str:
    """What the page says of one upstream."""
    found = re.search(rf'<section class="box" id="{name}".*?</section>', page, re.DOTALL)
    assert found, page
    return text_of(f"<body>{found[0]}")


async def transcribe(gateway: Running, count: int = 1, *, key: str = "") -> None:
    async with gateway.client(key) as client:
        for _ in range(count):
            await client.post("/audio/transcriptions", data={"model": "whisper-1"}, files={"file": ("a.wav", WAV)})
    await gateway.idle()


async def do(client: httpx2.AsyncClient, what: str, name: str) -> httpx2.Response:
    token = await token_in(client, PAGE)
    return await client.post(PAGE, data={"token": token, "do": what, "name": name})


async def test_it_tells_how_each_of_them_does(store_url: str, data: Path) -> None:
    async with two(store_url, data) as (gateway, one, _), visitor(gateway.origin, TOKEN) as operator:
        one.answers = [said(), said(), failed(500), failed(400), said()]
        await transcribe(gateway, 4)
        gateway.app.parts.health.wallet("a", Balance(Decimal("12.5"), source="token"))
        page = (await operator.get(PAGE)).text
        a, b = part(page, "a"), part(page, "b")
        assert a.startswith("a in use Test Drain")
        assert "Served, last hour 2 66.7 % of all" in a
        assert "Success 66.7 % 1 attempts failed" in a  # what is wrong with a request is not the upstream's fault
        assert f"127.0.0.1:{one.port}" in a
        assert "Priority 1, weight 1" in a
        assert re.search(r"Balance \$12\.50, told \d+m?s ago", a)
        assert "whisper-1 → large-v3 tts-*" in a
        assert "Under way 0 at most 1,024" in a
        assert re.search(r"Time taken, p95 [\d.]+ m?s", a)
        assert re.search(r"Pace \d", a)
        assert "$0.000200 of $1.00" in a
        assert "requests at once 0 % 0 of 64" in a
        assert "Served, last hour 1 33.3 % of all" in b
        assert "Success 100 %" in b
        assert "Priority 2, weight 3" in b
        assert "Balance not asked" in b
        assert "Nothing is limited." in b


async def test_one_that_is_drained_gets_nothing_until_it_is_used_again(store_url: str, data: Path) -> None:
    async with two(store_url, data) as (gateway, one, other), visitor(gateway.origin, TOKEN) as operator:
        answer = await do(operator, "drain", "a")
        assert answer.status_code == 303
        shown = (await operator.get(answer.headers["location"])).text
        assert "Upstream a is drained" in text_of(shown)
        assert re.match(r"a drained since 20\S+ \S+ UTC , by a page Test Use again", part(shown, "a"))
        assert "Upstream a is drained: no new request goes there" in text_of((await operator.get("/")).text)
        await transcribe(gateway)
        assert (len(one.seen), len(other.seen)) == (0, 1)
        await do(operator, "undrain", "a")
        assert part((await operator.get(PAGE)).text, "a").startswith("a in use")
        assert "is drained" not in text_of((await operator.get("/")).text)
        await transcribe(gateway)
        assert (len(one.seen), len(other.seen)) == (1, 1)
        deeds = [one for one in await Roll(gateway.app.connection, door="cli").audit(50) if one.what == "a"]
        assert [(one.action, one.door) for one in deeds] == [("upstreams.undrain", "page"), ("upstreams.drain", "page")]


async def test_a_drain_of_what_the_configuration_no_longer_names_can_be_ended(store_url: str, data: Path) -> None:
    async with two(store_url, data) as (gateway, *_), visitor(gateway.origin, TOKEN) as operator:
        drains = Drains(gateway.app.connection, door="cli")
        await drains.begin("old", known=["old"])
        assert "old drained the configuration does not name it Use again" in text_of((await operator.get(PAGE)).text)
        await do(operator, "undrain", "old")
        assert await drains.read() == {}


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Answer(pieces=(json.dumps({"data": [{"id": "large-v3"}]}).encode(),)), "It is fine: it answers, and takes"),
        (Answer(pieces=(json.dumps({"data": [{"id": "other"}]}).encode(),)), "has no large-v3"),
        (failed(401, "wrong key"), "set upstreams.a.key"),
    ],
)
async def test_a_test_is_a_free_question_whose_result_is_shown(
    store_url: str, data: Path, answer: Answer, words: str
) -> None:
    async with two(store_url, data) as (gateway, one, other), visitor(gateway.origin, TOKEN) as operator:
        one.answers = [answer]
        shown = await do(operator, "test", "a")
        assert shown.status_code == 200
        assert words in part(shown.text, "a")
        assert "It answered after" in part(shown.text, "a")
        assert "It answered after" not in part(shown.text, "b")
        assert [(seen.method, seen.target) for seen in one.seen] == [("GET", "/v1/models")]
        assert not other.seen


async def test_what_needs_attention_is_told_on_the_first_page_with_what_to_do(store_url: str, data: Path) -> None:
    async with two(store_url, data) as (gateway, *_), visitor(gateway.origin, TOKEN) as operator:
        health = gateway.app.parts.health
        assert "Needs attention" not in (await operator.get("/")).text
        health.wallet("a", Balance(Decimal("4.99"), source="token"))
        for _ in range(5):
            health.note("b", "whisper-1", Outcome(Verdict.FAILED))
        first = text_of((await operator.get("/")).text)
        assert "At upstream a only $4.99 of our money are left there: top it up." in first
        assert re.search(r"Upstream b failed lately and rests \(whisper-1 for another \d+s\)", first)
        page = (await operator.get(PAGE)).text
        assert "a in use only $4.99 of our money are left there" in part(page, "a")
        assert re.match(r"b resting whisper-1 for another \d+s", part(page, "b"))
        assert "Laid to rest 1 time " in part(page, "b")
        health.wallet("a", Balance(Decimal(0), source="billing", dry=True))
        assert "The wallet at upstream a is dry" in text_of((await operator.get("/")).text)
        assert part((await operator.get(PAGE)).text, "a").startswith("a wallet dry our money there is used up")


async def test_a_balance_that_is_not_known_or_has_no_end_is_told_so(store_url: str, data: Path) -> None:
    async with two(store_url, data) as (gateway, *_), visitor(gateway.origin, TOKEN) as operator:
        for left, words in (
            (Balance(why="it does not tell"), "Balance not known: it does not tell"),
            (Balance(unlimited=True, source="token"), "Balance our key has no limit, told"),
        ):
            gateway.app.parts.health.wallet("a", left)
            assert words in part((await operator.get(PAGE)).text, "a")


@pytest.mark.parametrize(
    ("what", "name", "status"),
    [("test", "nobody", 404), ("drain", "nobody", 404), ("undrain", "nobody", 404), ("x", "a", 400)],
)
async def test_what_makes_no_sense_is_refused(store_url: str, data: Path, what: str, name: str, status: int) -> None:
    async with two(store_url, data) as (gateway, *_), visitor(gateway.origin, TOKEN) as operator:
        assert (await do(operator, what, name)).status_code == status


async def test_it_is_for_operators_and_their_own_forms_alone(store_url: str, data: Path) -> None:
    async with two(store_url, data) as (gateway, one, _):
        async with visitor(gateway.origin, key_text()) as holder:
            assert (await holder.get(PAGE)).status_code == 403
            assert (await holder.post(PAGE, data={"do": "drain", "name": "a"})).status_code == 403
        async with visitor(gateway.origin, TOKEN) as operator:
            forged = await operator.post(PAGE, data={"token": "x", "do": "test", "name": "a"})
            assert forged.status_code == 403
        assert not one.seen


async def test_limits_are_those_of_all_shards_together(store_url: str, data: Path) -> None:
    async with two(store_url, data, shards=16) as (gateway, *_), visitor(gateway.origin, TOKEN) as operator:
        connection = gateway.app.connection
        assert connection.of("default") is not connection.of("blue")
        for key in (key_text(1), key_text(2)):
            await transcribe(gateway, key=key)

        async def shown() -> str:
            return part((await operator.get(PAGE)).text, "a")

        a = await until(shown, lambda said: "$0.000200 of $1.00" in said)  # once both are settled
        assert "0 of 64" in a


async def test_upstreams_without_limits_are_not_asked_about(store_url: str, data: Path) -> None:
    async with two(store_url, data) as (gateway, *_):
        connection: Connection = gateway.app.connection
        assert await upstream_standings(connection, {"b": ()}) == {"b": []}


async def test_a_store_that_is_away_is_told_as_a_page(data: Path) -> None:
    async with mortal(data) as store, two(store.url, data) as (gateway, *_), visitor(gateway.origin, TOKEN) as operator:
        await store.kill()
        found = await operator.get(PAGE)
        assert found.status_code == 503


class TestInABrowser:
    """Where a script asks before something happens."""

    pytestmark = IN_ONE_LOOP

    async def test_draining_is_asked_for_again(self, chromium: Browser, store_url: str, data: Path) -> None:
        async with two(store_url, data) as (gateway, *_), looking(chromium, gateway.origin) as page:
            answers = [False, True]
            asked: list[str] = []

            async def answer(dialog: object) -> None:
                asked.append(dialog.message)  # type: ignore[attr-defined]
                await (dialog.accept() if answers.pop(0) else dialog.dismiss())  # type: ignore[attr-defined]

            page.on("dialog", answer)
            await signed_in(page, gateway.origin, TOKEN, PAGE)
            await page.get_by_role("button", name="Drain a").click()
            await expect(page.get_by_role("button", name="Drain a")).to_be_visible()
            await page.get_by_role("button", name="Drain a").click()
            await expect(page.get_by_role("button", name="Use again a")).to_be_visible()
            assert asked == ["Let no new request go to a? What is under way there ends by itself."] * 2
            await page.get_by_role("button", name="Test b").click()
            await expect(page.locator("#b [role=status]")).to_be_in_viewport()
            await page.set_viewport_size({"width": 360, "height": 740})
            assert await page.evaluate("document.documentElement.scrollWidth") <= 360
