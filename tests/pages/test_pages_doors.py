"""Who may look: signing in, sessions, forms of other sites, and what a browser is told about each page."""

from pathlib import Path

import httpx2
import pytest

from gateway.pages import shelf
from gateway.pages.places import PLACES
from gateway.policy.throttle import MOST
from gateway.store.sessions import SECONDS
from tests.faults.stores import mortal
from tests.pages.visiting import TOKEN, house, text_of, token_in, token_of, visitor
from tests.running import key_text, until

PAGES = [place for place in PLACES if "{" not in place.path and "GET" in place.methods and place.room != "assets"]
FOREIGN: list[dict[str, str]] = [
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
    {"origin": "https://evil.example"},
    {"origin": "null"},
    {"origin": "http://127.0.0.1:1"},
]


async def test_every_page_asks_who_it_is_and_leads_back(store_url: str, data: Path) -> None:
    async with house(store_url, data) as (gateway, _), visitor(gateway.origin) as nobody:
        for place in PLACES:
            if place.who == "anybody":
                continue
            path = place.path.replace("{id}", "x").replace("{name}", "x")
            for method in place.methods:
                said = await nobody.request(method, path)
                assert said.status_code == 303, path
                assert said.headers["location"].startswith("/sign-in"), path
        said = await nobody.get("/usage?by=day&key=a%26b")
        page = await nobody.get(said.headers["location"])
        assert 'name="to" value="/usage?by=day&amp;key=a%26b"' in page.text
        said = await nobody.post("/sign-in", data={"secret": TOKEN, "to": "/usage?by=day&key=a%26b"})
        assert said.headers["location"] == "/usage?by=day&key=a%26b"


@pytest.mark.parametrize("to", ["//evil.example/", "https://evil.example/", "/\\evil.example", "javascript:x", "/a\nb"])
async def test_no_link_leads_from_the_sign_in_to_elsewhere(store_url: str, data: Path, to: str) -> None:
    async with house(store_url, data) as (gateway, _), visitor(gateway.origin) as nobody:
        said = await nobody.post("/sign-in", data={"secret": TOKEN, "to": to})
        assert said.headers["location"] == "/"


async def test_operators_see_all_pages_and_holders_theirs(store_url: str, data: Path) -> None:
    async with (
        house(store_url, data) as (gateway, _),
        visitor(gateway.origin, TOKEN) as operator,
        visitor(gateway.origin, gateway.key) as alice,
    ):
        for place in PAGES:
            said = await operator.get(place.path)
            assert said.status_code == (303 if place.path in ("/sign-in", "/teams") else 200), (place, said.text)
            said = await alice.get(place.path)
            wanted = 403 if place.who == "operators" else 303 if place.path == "/sign-in" else 200
            assert said.status_code == wanted, (place, said.text)
        assert "This page is for operators" in (await alice.get("/keys/bob")).text
        for path in ("/keys", "/keys/bob", "/teams", "/teams/red", "/upstreams"):
            form = {"token": await token_in(alice, "/"), "name": "x", "action": "revoke", "sure": "yes"}
            assert (await alice.post(path, data=form)).status_code == 403, path


async def test_S_14_the_cookie_is_for_this_site_and_its_server_alone(store_url: str, data: Path) -> None:
    async with house(store_url, data) as (gateway, _), visitor(gateway.origin) as client:
        first = await client.post("/sign-in", data={"secret": TOKEN})
        name, _, rest = first.headers["set-cookie"].partition("=")
        marks = [part.strip().lower() for part in rest.split(";")[1:]]
        assert (name, set(marks)) == ("audiogate", {"httponly", "samesite=strict", "path=/", f"max-age={SECONDS}"})
        again = await client.post("/sign-in", data={"secret": TOKEN})
        assert again.headers["set-cookie"] != first.headers["set-cookie"]


async def test_S_14_over_tls_the_cookie_is_secure_and_of_this_host(store_url: str, data: Path) -> None:
    async with house(store_url, data) as (gateway, _):
        app = httpx2.ASGITransport(app=gateway.app, client=("127.0.0.1", 1))
        async with httpx2.AsyncClient(transport=app, base_url="https://gate.example") as client:
            said = await client.post("/sign-in", data={"secret": TOKEN})
            assert said.headers["set-cookie"].startswith("__Host-audiogate=")
            assert "secure" in said.headers["set-cookie"].lower()
            assert (await client.get("/")).status_code == 200


async def test_S_14_a_session_that_somebody_else_chose_is_none(store_url: str, data: Path) -> None:
    async with house(store_url, data) as (gateway, _), visitor(gateway.origin) as client:
        chosen = {"cookie": "audiogate=chosen-by-somebody-else"}
        assert (await client.get("/", headers=chosen)).status_code == 303
        said = await client.post("/sign-in", data={"secret": TOKEN}, headers=chosen)
        assert said.status_code == 303
        assert "chosen" not in said.headers["set-cookie"]
        client.cookies.clear()
        assert (await client.get("/", headers=chosen)).status_code == 303


async def test_S_14_who_signs_out_or_is_shut_out_is_out_everywhere(store_url: str, data: Path) -> None:
    async with house(store_url, data) as (gateway, _):
        async with visitor(gateway.origin, TOKEN) as operator:
            kept = dict(operator.cookies)
            token = await token_in(operator, "/")
            assert (await operator.post("/sign-out", data={"token": token})).status_code == 303
            async with httpx2.AsyncClient(base_url=gateway.origin, cookies=kept) as thief:
                assert (await thief.get("/")).status_code == 303
        async with visitor(gateway.origin, TOKEN) as operator:
            token = await token_in(operator, "/keys")
            made = await operator.post("/keys", data={"token": token, "name": "carol", "team": "red"})
            secret = "ag_" + made.text.partition("<code>ag_")[2].partition("<")[0]
            async with visitor(gateway.origin, secret) as carol:
                assert (await carol.get("/")).status_code == 200
                form = {"token": token, "action": "revoke", "sure": "yes"}
                assert (await operator.post("/keys/carol", data=form)).status_code == 303
                assert (await carol.get("/")).status_code == 303


async def test_S_14_five_wrong_secrets_a_minute_and_then_one_waits(store_url: str, data: Path) -> None:
    async with house(store_url, data) as (gateway, _), visitor(gateway.origin) as nobody:
        for number in range(MOST):
            secret = ("something else", key_text(9), "ag_0000000000_")[number % 3]
            said = await nobody.post("/sign-in", data={"secret": secret})
            assert said.status_code == 401
            assert "neither the operators" in text_of(said.text)
            assert secret not in said.text
        said = await nobody.post("/sign-in", data={"secret": TOKEN})
        assert said.status_code == 429
        assert 0 < int(said.headers["retry-after"]) <= 60
        assert "Too many wrong tokens" in text_of(said.text)


@pytest.mark.parametrize("foreign", FOREIGN, ids=str)
async def test_S_14_forms_of_other_sites_do_nothing(store_url: str, data: Path, foreign: dict[str, str]) -> None:
    async with house(store_url, data) as (gateway, _), visitor(gateway.origin, TOKEN) as operator:
        token = await token_in(operator, "/keys")
        form = {"token": token, "name": "mallory", "team": "red"}
        said = await operator.post("/keys", data=form, headers=foreign)
        assert said.status_code == 403
        assert "did not come from a page of this session" in text_of(said.text)
        assert (await operator.post("/sign-in", data={"secret": TOKEN}, headers=foreign)).status_code == 403
        assert "mallory" not in (await operator.get("/keys")).text


@pytest.mark.parametrize("token", ["", "0" * 64, "other"])
async def test_S_14_forms_without_the_sessions_word_do_nothing(store_url: str, data: Path, token: str) -> None:
    async with (
        house(store_url, data) as (gateway, _),
        visitor(gateway.origin, TOKEN) as one,
        visitor(gateway.origin, TOKEN) as other,
    ):
        shown = await token_in(other, "/keys") if token == "other" else token
        said = await one.post("/keys", data={"token": shown, "name": "mallory", "team": "red"})
        assert said.status_code == 403
        assert "mallory" not in (await one.get("/keys")).text


async def test_S_14_pages_load_nothing_from_elsewhere_and_are_framed_by_nobody(store_url: str, data: Path) -> None:
    async with house(store_url, data) as (gateway, _), visitor(gateway.origin, TOKEN) as operator:
        for place in PAGES:
            said = await operator.get(place.path)
            (policy,) = said.headers.get_list("content-security-policy")
            rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
            assert rules["default-src"] == "'self'"
            assert rules["frame-ancestors"] == rules["base-uri"] == rules["object-src"] == "'none'"
            assert rules["form-action"] == "'self'"
            assert "unsafe" not in policy
            assert said.headers["x-content-type-options"] == "nosniff"
            assert said.headers["cache-control"] == "no-store"
            assert said.headers["referrer-policy"] == "same-origin"
            if said.status_code == 200:
                for wrong in (" style=", "<style", " onclick=", "javascript:", "https://", "<script>"):
                    assert wrong not in said.text.replace("https://api", ""), (place.path, wrong)


async def test_assets_are_kept_under_an_address_that_changes_with_them(store_url: str, data: Path) -> None:
    async with house(store_url, data) as (gateway, _), visitor(gateway.origin) as nobody:
        for file in shelf.names():
            said = await nobody.get(shelf.address(file))
            assert said.status_code == 200
            assert "immutable" in said.headers["cache-control"]
            assert (await nobody.get(f"/assets/{file}")).headers["cache-control"] == "no-cache"
        assert (await nobody.get("/favicon.ico")).headers["content-type"] == "image/svg+xml"
        for path in ("/assets/none.css", "/assets/..%2Flook.py", "/assets/__init__.py"):
            assert (await nobody.get(path)).status_code in (400, 404), path


async def test_without_a_token_only_holders_come_in(store_url: str, data: Path) -> None:
    async with house(store_url, data, token="") as (gateway, _), visitor(gateway.origin) as nobody:
        assert (await nobody.post("/sign-in", data={"secret": ""})).status_code == 401
        async with visitor(gateway.origin, gateway.key) as alice:
            assert (await alice.get("/")).status_code == 200


async def test_where_there_is_nothing_people_get_a_page_and_programs_an_error(store_url: str, data: Path) -> None:
    async with house(store_url, data) as (gateway, _), visitor(gateway.origin, TOKEN) as operator:
        browser = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
        said = await operator.get("/nowhere/%3Cscript%3E", headers=browser)
        assert said.status_code == 404
        assert "Invalid URL (GET /nowhere/&lt;script&gt;)" in said.text
        assert "default-src 'self'" in said.headers["content-security-policy"]
        assert (await operator.get("/nowhere")).json()["error"]["message"] == "Invalid URL (GET /nowhere)"
        for path in ("/v1/nowhere", "/admin/nowhere"):
            assert "error" in (await operator.get(path, headers=browser)).json()
        assert (await operator.request("PUT", "/", headers=browser)).json()["error"]["code"] is None


async def test_forms_are_bounded_and_broken_ones_are_told(store_url: str, data: Path) -> None:
    async with house(store_url, data) as (gateway, _), visitor(gateway.origin, TOKEN) as operator:
        typed = {"content-type": "application/x-www-form-urlencoded"}
        assert (await operator.post("/keys", content=b"a=" + b"x" * 70_000, headers=typed)).status_code == 413
        assert (await operator.post("/keys", content=b"\xff\xfe", headers=typed)).status_code == 400
        assert (await operator.post("/keys", content=b"a&" * 600, headers=typed)).status_code == 400


async def test_a_store_that_is_away_is_told_as_a_page(data: Path) -> None:
    async with (
        mortal(data) as store,
        house(store.url, data) as (gateway, _),
        visitor(gateway.origin, TOKEN) as operator,
    ):
        token = token_of((await operator.get("/keys")).text)
        await store.kill()
        for said in (await operator.get("/keys"), await operator.post("/keys", data={"token": token, "name": "x"})):
            assert said.status_code == 503
            assert said.headers["retry-after"] == "1"
            assert "The store does not answer" in text_of(said.text)
        await store.start()
        await until(lambda: operator.get("/keys"), lambda said: said.status_code == 200)
