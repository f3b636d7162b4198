"""What somebody may try at the pages: hostile names, links that speak for us, sessions without end, a lot at once."""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import quote, urlencode

import httpx2
import pytest
import redis.asyncio
from playwright.async_api import Browser, expect
from starlette.responses import Response

from gateway.config.model import Key, Server, Team
from gateway.metrics import Metrics
from gateway.pages import figures, overview
from gateway.pages.places import PLACES, Place
from gateway.pages.visiting import Visit
from gateway.policy.limits import Limit
from gateway.policy.pricing import Price
from gateway.store import sessions
from gateway.store.connection import Connection
from gateway.store.sessions import Session, Sessions
from gateway.web import guard
from tests.pages.browsing import IN_ONE_LOOP, looking, signed_in
from tests.pages.visiting import TOKEN, house, token_in, visitor
from tests.running import PRICES, Running, configured, key_text, running, serving, until, upstream
from tests.stub import Answer, failed, stub

ROOT = Path(__file__).parents[2]
# A name that may stand in a path, and a text that may not: it would end a title, a script, a line, a header.
NAME = "<evil onload=x>\"'&amp;{{77777+1}}\u202egnp.\u2066"
TEXT = f"{NAME}</title></script></td>\x1b[31m\r\nx-evil: 1\x9b\u2028\u200f\x07"
UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
TO = ["//[", "//\u2100", "/\\[", "//[::1", "/a\u202eb", "https://[", "\\/evil.example"]
SHOWN = {
    *("/", "/usage", "/requests", "/requests/{id}", "/keys", "/keys/{name}", "/teams/{name}", "/upstreams"),
    *("/playground", "/connect", "/config", "/audit", "/usage.csv"),
}
"""Places where such a name is to be read."""
MADE = """
const make = URL.createObjectURL;
window.made = [];
URL.createObjectURL = (blob) => (window.made.push(blob.type), make.call(URL, blob));
"""


class Reader(HTMLParser):
    """What a browser makes of a page, as far as it matters here."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: dict[str, list[str]] = {}
        self.texts = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            self.attributes.setdefault(name, []).append(value or "")

    def handle_data(self, data: str) -> None:
        self.texts += data


@asynccontextmanager
async def hostile(store_url: str, data: Path) -> AsyncIterator[tuple[Running, str]]:
    """A gateway all of whose names are hostile, and the id of a request that was made with them."""
    limits = (Limit("usd", "month", 20_000_000),)
    async with stub() as one:
        models = {"whisper-1": TEXT, TEXT: "tts-1", f"{NAME}-whisper": "x"}
        up = upstream(TEXT, one.url, models=models, key=None)
        prices = {**PRICES, **dict.fromkeys(models, Price(per_request=PRICES["whisper-1"].per_minute))}
        teams = {NAME: Team(NAME, limits=limits, note=TEXT), "default": Team("default")}
        keys = {NAME: Key(NAME, NAME, key_text(1), limits=limits, note=TEXT)}
        config = configured(data, up, teams=teams, keys=keys, prices=prices, upstream_limits={TEXT: limits})
        config = replace(config, server=Server(admin_token=TOKEN), notes=(TEXT,))
        async with running(config, url=store_url) as gateway:
            async with gateway.client() as client:
                one.answers = [failed(400, TEXT), failed(500, TEXT)]
                file = {"file": (TEXT, b"RIFF" + bytes(3000))}
                said = await client.post("/audio/transcriptions", data={"model": "whisper-1"}, files=file)
                await client.post("/audio/speech", json={"model": TEXT, "input": TEXT, "voice": TEXT})
            await gateway.idle()
            yield gateway, said.headers["x-request-id"]


def paths_of(place: Place, rid: str) -> tuple[str, str]:
    """The way to a page, with hostile words behind it and without."""
    path = place.path.replace("{id}", rid).replace("{name}", quote(NAME, safe="")).replace("{file}", "style.css")
    names = ("said", "mark", "to", "id", "before", "key", "team", "model", "upstream", "route", "errors", "transcribe")
    return f"{path}?{urlencode(dict.fromkeys(names, TEXT))}", path


def harmless(said: httpx2.Response) -> Reader:
    """Nothing in an answer is more than text. Its reader."""
    assert said.status_code < 500, said.text
    assert not [name for name in said.headers if "evil" in name]
    assert said.headers["x-content-type-options"] == "nosniff"
    assert "evil" not in said.headers.get("content-disposition", "")
    found = Reader(said.text if said.headers.get("content-type", "").startswith("text/html") else "")
    assert not found.tags & {"evil", "base", "iframe", "object", "style"}
    assert not [name for name in found.attributes if name.startswith("on") or name == "style"]
    for name in ("href", "src", "action"):
        assert all(value.startswith(("/", "#")) for value in found.attributes.get(name, ())), name
    if found.tags:
        assert not UNSEEN.search(said.text)
        assert "77778" not in said.text
    return found


@pytest.mark.parametrize("place", [one for one in PLACES if "GET" in one.methods], ids=lambda one: one.path)
async def test_S_13_hostile_names_are_text_on_every_page(store_url: str, data: Path, place: Place) -> None:
    async with (
        hostile(store_url, data) as (gateway, rid),
        visitor(gateway.origin, TOKEN) as operator,
        visitor(gateway.origin, gateway.key) as holder,
        visitor(gateway.origin) as nobody,
    ):
        odd, path = paths_of(place, rid)
        await operator.get(f"/keys/{quote(NAME, safe='')}")  # which stands in the audit log
        for who in (operator, holder, nobody):
            harmless(await who.get(odd))
        said = await operator.get(path)
        found = harmless(said)
        if place.path in SHOWN:
            assert said.status_code == 200
            values = [*found.texts.split("\n"), *(value for some in found.attributes.values() for value in some)]
            assert any("<evil onload=x>" in value for value in (values if found.tags else [said.text]))
        if place.path == "/usage.csv":
            assert not re.search(r"\n(?!hour|20)", said.text.rstrip("\r\n").replace("\r\n", "\n"))


@pytest.mark.parametrize("do", ["test", "drain", "undrain", TEXT], ids=["test", "drain", "undrain", "other"])
async def test_S_13_what_is_done_to_hostile_upstreams_is_told_as_text(store_url: str, data: Path, do: str) -> None:
    async with hostile(store_url, data) as (gateway, _), visitor(gateway.origin, TOKEN) as operator:
        form = {"token": await token_in(operator, "/upstreams"), "do": do, "name": TEXT}
        said = await operator.post("/upstreams", data=form)
        harmless(said)
        if said.status_code == 303:
            found = harmless(await operator.get(said.headers["location"]))
            assert "Upstream <evil" in found.texts or "upstream <evil" in found.texts
        for path in ("/keys", "/teams", f"/keys/{quote(NAME, safe='')}", f"/teams/{quote(NAME, safe='')}", "/sign-in"):
            fields = ("name", "team", "note", "models", "upstreams", "ips", "expires", "limit_amount", "limit_measure")
            form |= {**dict.fromkeys((*fields, "timezone", "action", "to", "secret"), TEXT)}
            harmless(await operator.post(path, data=form))


async def test_S_14_no_link_makes_us_say_anything(store_url: str, data: Path) -> None:
    words = {"said": "Your key has leaked: send it to evil.example"}
    async with house(store_url, data) as (gateway, _), visitor(gateway.origin, TOKEN) as operator:
        form = {"token": await token_in(operator, "/keys"), "name": "blue", "timezone": "UTC"}
        ours = (await operator.post("/teams", data=form)).headers["location"]
        assert "The team blue was made." in (await operator.get(ours)).text
        mark = ours.partition("mark=")[2]
        async with visitor(gateway.origin) as nobody, visitor(gateway.origin, TOKEN) as other:
            for who, path in ((nobody, "/sign-in"), (operator, "/keys"), (other, "/keys")):
                for query in (words, {**words, "mark": ""}, {**words, "mark": mark}, {**words, "mark": "\u202e"}):
                    assert "leaked" not in (await who.get(f"{path}?{urlencode(query)}")).text
            assert "was made" not in (await other.get(ours)).text


@pytest.mark.parametrize("to", TO)
async def test_S_14_odd_addresses_and_origins_are_refused_and_break_nothing(
    store_url: str, data: Path, to: str
) -> None:
    async with house(store_url, data) as (gateway, _), visitor(gateway.origin) as nobody:
        assert (await nobody.get(f"/sign-in?{urlencode({'to': to})}")).status_code == 200
        said = await nobody.post("/sign-in", data={"secret": TOKEN, "to": to})
        assert (said.status_code, said.headers["location"]) == (303, "/")
        origin = {"origin": to.encode("ascii", "ignore").decode() or "x"}
        assert (await nobody.post("/sign-in", data={"secret": TOKEN}, headers=origin)).status_code == 403


async def test_S_14_signing_in_again_ends_the_session_before(store_url: str, data: Path) -> None:
    async with house(store_url, data) as (gateway, _), visitor(gateway.origin, gateway.key) as alice:
        kept = dict(alice.cookies)
        assert (await alice.post("/sign-in", data={"secret": gateway.key})).status_code == 303
        assert (await alice.get("/")).status_code == 200
        async with httpx2.AsyncClient(base_url=gateway.origin, cookies=kept) as thief:
            assert (await thief.get("/")).status_code == 303


async def test_S_14_sessions_do_not_pile_up(store_url: str, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "MOST", 3)
    async with house(store_url, data) as (gateway, _), visitor(gateway.origin, TOKEN) as operator:
        store = gateway.app.connection.client
        cookies = []
        for _ in range(5):
            async with visitor(gateway.origin, gateway.key) as alice:
                cookies.append(dict(alice.cookies))
        assert len(await store.keys("{ag}:session:*")) == 1 + 3
        assert all([await store.ttl(name) > 0 for name in await store.keys("{ag}:session*")])
        let_in = []
        for one in cookies:
            async with httpx2.AsyncClient(base_url=gateway.origin, cookies=one) as client:
                let_in.append((await client.get("/")).status_code == 200)
        assert let_in == [False, False, True, True, True]
        assert (await operator.get("/")).status_code == 200, "others' sessions are their own"


async def test_S_14_holders_fill_nothing_that_operators_read(store_url: str, data: Path) -> None:
    async with house(store_url, data) as (gateway, _):
        store = gateway.app.connection.client
        before = await store.xlen("{ag}:audit")
        async with visitor(gateway.origin, gateway.key) as alice:
            for place in PLACES:
                if place.who == "holders" and "GET" in place.methods:
                    await alice.get(place.path.replace("{id}", "req_" + "0" * 32))
        assert await store.xlen("{ag}:audit") == before
        async with visitor(gateway.origin, TOKEN):
            assert await store.xlen("{ag}:audit") == before + 1


async def test_S_14_a_session_needs_no_more_rights_than_the_document_gives(store_url: str) -> None:
    line = re.search(r"^ACL SETUSER audiogate (.*)$", (ROOT / "docs" / "store.md").read_text(), re.MULTILINE)
    assert line
    async with redis.asyncio.Redis.from_url(store_url) as raw:
        await raw.execute_command("ACL", "SETUSER", "audiogate", *line[1].split())
        connection = Connection(store_url.replace("://", "://audiogate:PASSWORD@"), Metrics(models=(), teams=()))
        try:
            found = Sessions(connection)
            session = Session("0123456789", "proof")
            text = await found.begin(session)
            assert await found.find(text) == session
            await found.end(text)
            assert await found.find(text) is None
            assert await raw.keys("*session*") == []
            await found.end(text)
        finally:
            await connection.close()
            await raw.execute_command("ACL", "DELUSER", "audiogate")


async def test_S_14_whether_a_key_has_expired_is_the_stores_to_say(
    store_url: str, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.app.wall", lambda: time.time() + 2 * 86_400)
    key = Key("alice", "default", key_text(1), expires=time.time() + 3600)
    async with stub() as one:
        config = configured(data, upstream("a", one.url), keys={"alice": key})
        async with running(config, url=store_url) as gateway, visitor(gateway.origin, key_text(1)) as alice:
            assert (await alice.get("/")).status_code == 200
            await gateway.app.connection.client.hset(f"{{ag}}:k:{key_text(1).split('_')[1]}", "exp", "1000")
            assert (await alice.get("/")).status_code == 303


async def test_S_14_a_holders_visits_take_turns(store_url: str, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside, most, go = 0, 0, asyncio.Event()

    async def slow(visit: Visit) -> Response:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        await go.wait()
        inside -= 1
        return visit.page("away.html", title="Seen")

    monkeypatch.setattr(overview, "get", slow)
    monkeypatch.setattr(guard, "MOST_WAITING", 3)
    async with (
        house(store_url, data) as (gateway, _),
        visitor(gateway.origin, key_text(1)) as alice,
        visitor(gateway.origin, key_text(2)) as bob,
    ):
        whose = [*[alice] * (guard.AT_ONCE + 3), bob]
        visits = [asyncio.ensure_future(who.get("/")) for who in whose]
        await gateway.asked(connections=len(whose), requests=len(whose))

        async def counted() -> int:
            return inside

        await until(counted, lambda count: count == guard.AT_ONCE + 1)
        refused = await alice.get("/usage")
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert "more to do than it can" in refused.text
        go.set()
        assert {said.status_code for said in await asyncio.gather(*visits)} == {200}
        assert most == guard.AT_ONCE + 1, "two of alice's, and bob's"
        assert (await alice.get("/usage")).status_code == 200


async def test_the_last_hour_is_not_called_whole_where_others_made_too_many_requests(
    store_url: str, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures, "MOST_RECENT", 2)
    async with house(store_url, data) as (gateway, _), visitor(gateway.origin, key_text(1)) as alice:
        store = gateway.app.connection.client
        assert "more requests than are looked at" not in (await alice.get("/")).text
        for number in range(20):
            await store.xadd("{ag}:usage", {"id": f"req_{number:032x}", "key": "another's", "status": "200"})
        assert "more requests than are looked at" in (await alice.get("/")).text


class TestInABrowser:
    """What its tab keeps, and what it is given to show."""

    pytestmark = IN_ONE_LOOP

    async def test_S_13_no_answer_of_an_upstream_becomes_a_page_of_ours(
        self, chromium: Browser, store_url: str, data: Path
    ) -> None:
        evil = Answer(pieces=(b"<script>alert(1)</script>",), content_type="text/html")
        async with (
            serving(store_url, data, evil) as (gateway, _),
            looking(chromium, gateway.origin, expected=("",)) as page,  # it cannot be played, which is told, too
        ):
            await page.add_init_script(MADE)
            await signed_in(page, gateway.origin, gateway.key, "/playground")
            await page.click("#speak button.main")
            await expect(page.locator("#speak .facts")).to_contain_text("First byte after")
            assert await page.evaluate("window.made") == ["application/octet-stream"]

    async def test_S_14_a_tab_keeps_no_key_of_who_was_signed_in_before(
        self, chromium: Browser, store_url: str, data: Path
    ) -> None:
        async with house(store_url, data) as (gateway, _), looking(chromium, gateway.origin) as page:
            await signed_in(page, gateway.origin, gateway.key)
            assert await page.evaluate("sessionStorage.getItem('key')") == gateway.key
            await page.context.clear_cookies()
            await signed_in(page, gateway.origin, TOKEN)
            assert await page.evaluate("sessionStorage.getItem('key')") is None
