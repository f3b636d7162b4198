"""The pages of keys and teams: what forms do, and what is said where they cannot."""

import html
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest

from gateway.policy.keys import parse
from gateway.store.roll import Roll
from tests.pages.visiting import TOKEN, house, text_of, token_in, visitor
from tests.running import Running

SPEECH = {"model": "tts-1", "input": "hello", "voice": "alloy"}
LIMITS = {
    "limit_measure": ["usd", "requests", "concurrency", "usd"],
    "limit_per": ["month", "minute", "month", "day"],
    "limit_amount": ["12.5", "60", "3", ""],
    "limit_burst": ["", "10", "", ""],
}
EVIL = "<script>alert(1)</script>\"'&"


async def posted(client: httpx2.AsyncClient, path: str, **fields: Any) -> httpx2.Response:
    """A form sent as a page would."""
    page = path if path not in ("/teams",) else "/keys"
    return await client.post(path, data={"token": await token_in(client, page), **fields})


def secret_in(page: str) -> str:
    """The key that is shown once."""
    found = "ag_" + page.partition("<code>ag_")[2].partition("<")[0]
    assert parse(found)
    return found


async def limits_of(gateway: Running, key: str) -> list[tuple[str, str, int, int]]:
    """What the store has."""
    found = await Roll(gateway.app.connection, door="api").key(key)
    return [(one.measure, one.per, one.amount, one.burst) for one in found.key.limits]


async def test_a_key_is_made_shown_once_used_and_counted(store_url: str, data: Path) -> None:
    async with house(store_url, data) as (gateway, _), visitor(gateway.origin, TOKEN) as operator:
        said = await posted(operator, "/keys", name="carol", team="red", note="for the lab", exact_shown="1", **LIMITS)
        assert said.status_code == 201
        assert said.headers["cache-control"] == "no-store"
        secret = secret_in(said.text)
        assert f"export OPENAI_BASE_URL={gateway.url}" in html.unescape(said.text)
        async with gateway.client(secret) as carol:
            assert (await carol.post("/audio/speech", json=SPEECH)).status_code == 200
        await gateway.idle()
        page = (await operator.get("/keys/carol")).text
        assert secret not in page
        assert secret not in (await operator.get("/keys")).text
        assert "$0.000075 of $12.50" in text_of(page)
        assert "for the lab" in page
        assert await limits_of(gateway, "carol") == [
            ("usd", "month", 12_500_000, 0),
            ("requests", "minute", 60, 10),
            ("concurrency", "", 3, 0),
        ]
        assert "carol" in (await operator.get("/teams/red")).text
        log = text_of((await operator.get("/audit")).text)
        assert "page keys.create carol ok" in log


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"name": "a key"}, "Invalid value for 'name'"),
        ({"name": "alice"}, "declared in"),
        ({"name": "x", "team": "none"}, "no team is called 'none'"),
        ({"name": "x", "upstreams": "b"}, "no upstream is called 'b'"),
        ({"name": "x", "expires": "soon"}, "'expires'"),
        ({"name": "x", "ips": "home"}, "ips"),
        ({"name": "x", "limit_measure": "usd", "limit_per": "day", "limit_amount": "much"}, "amount"),
        ({"name": "x", "limit_measure": "audio", "limit_per": "day", "limit_amount": "1"}, "measure"),
        ({"name": EVIL}, "Invalid value for 'name'"),
    ],
    ids=str,
)
async def test_what_is_wrong_with_a_form_is_told_above_it_as_it_was_sent(
    store_url: str, data: Path, fields: dict[str, str], words: str
) -> None:
    async with house(store_url, data) as (gateway, _), visitor(gateway.origin, TOKEN) as operator:
        said = await posted(operator, "/keys", **{"team": "red", "note": f"kept {EVIL}", **fields})
        assert said.status_code in (400, 409)
        assert words in html.unescape(text_of(said.text))
        assert (
            f'value="{html.escape("kept " + EVIL).replace("&#x27;", "&#39;").replace("&quot;", "&#34;")}"' in said.text
        )
        assert "<script>alert" not in said.text


async def test_a_key_is_changed_rotated_and_revoked(store_url: str, data: Path) -> None:
    async with house(store_url, data) as (gateway, _), visitor(gateway.origin, TOKEN) as operator:
        first = secret_in((await posted(operator, "/keys", name="carol", team="red")).text)
        said = await posted(operator, "/keys/carol", action="change", team="default", models="tts-*", **LIMITS)
        assert said.status_code == 303
        page = text_of((await operator.get(said.headers["location"])).text)
        assert "The key carol was changed" in page
        assert "tts-*" in page
        assert len(await limits_of(gateway, "carol")) == 3
        said = await posted(operator, "/keys/carol", action="change", team="default", expires="never")
        assert (said.status_code, "expires" in said.text) == (400, True)
        said = await posted(operator, "/keys/carol", action="rotate", overlap="0")
        second = secret_in(said.text)
        async with gateway.client(first) as old, gateway.client(second) as new:
            assert (await old.get("/models")).status_code == 401
            assert (await new.get("/models")).status_code == 200
            assert (await posted(operator, "/keys/carol", action="rotate", overlap="soon")).status_code == 400
            said = await posted(operator, "/keys/carol", action="revoke")
            assert "tick that you mean it" in text_of(said.text)
            assert (await new.get("/models")).status_code == 200
            said = await posted(operator, "/keys/carol", action="revoke", sure="yes")
            assert said.status_code == 303
            assert (await new.get("/models")).status_code == 401
        page = text_of((await operator.get("/keys/carol")).text)
        assert "revoked" in page
        assert "Give it a new text" not in page


async def test_what_the_file_declares_is_changed_there(store_url: str, data: Path) -> None:
    async with house(store_url, data) as (gateway, _), visitor(gateway.origin, TOKEN) as operator:
        for path in ("/keys/alice", "/teams/red"):
            page = text_of((await operator.get(path)).text)
            assert "change it there" in page
            assert "Change it " not in page
        for fields in ({"action": "change"}, {"action": "rotate"}, {"action": "revoke", "sure": "yes"}):
            said = await posted(operator, "/keys/alice", **fields)
            assert (said.status_code, "is declared in" in said.text) == (409, True)
        assert (await posted(operator, "/teams/red", note="x")).status_code == 409


async def test_a_team_is_made_and_changed(store_url: str, data: Path) -> None:
    async with house(store_url, data) as (gateway, _), visitor(gateway.origin, TOKEN) as operator:
        said = await posted(operator, "/teams", name="blue", timezone="Asia/Shanghai", **LIMITS)
        assert (said.status_code, said.headers["location"].partition("?")[0]) == (303, "/teams/blue")
        page = text_of((await operator.get("/teams/blue")).text)
        assert "Asia/Shanghai" in page
        assert "$0 of $12.50" in page
        said = await posted(operator, "/teams/blue", timezone="Mars/Olympus")
        assert (said.status_code, "timezone" in said.text) == (400, True)
        said = await posted(operator, "/teams/blue", timezone="UTC", note="quiet")
        assert said.status_code == 303
        page = text_of((await operator.get("/teams/blue")).text)
        assert "Nothing is limited." in page
        assert "quiet" in page
        assert (await posted(operator, "/teams", name="red")).status_code == 409
        assert (await posted(operator, "/teams", name="")).status_code == 400


async def test_what_is_not_there_is_told_so(store_url: str, data: Path) -> None:
    async with house(store_url, data) as (gateway, _), visitor(gateway.origin, TOKEN) as operator:
        for path in ("/keys/nobody", "/teams/nobody", "/keys/%3Cscript%3E"):
            said = await operator.get(path)
            assert said.status_code == 404, path
            assert "<script>" not in said.text.replace("<script src", "")
        assert (await operator.get("/audit?before=x")).status_code == 400


async def test_the_audit_log_goes_on_where_a_page_ends(store_url: str, data: Path) -> None:
    async with house(store_url, data) as (gateway, _), visitor(gateway.origin, TOKEN) as operator:
        roll = Roll(gateway.app.connection, door="api")
        for number in range(130):
            await roll.note("keys.show", f"{EVIL}{number}", "none")
        first = (await operator.get("/audit")).text
        assert "<script>alert" not in first
        assert f"{EVIL}129" in html.unescape(text_of(first))
        more = first.partition('href="/audit?before=')[2].partition('"')[0]
        second = html.unescape(text_of((await operator.get(f"/audit?before={more}")).text))
        assert f"{EVIL}29 " in second
        assert f"{EVIL}129" not in second


async def test_the_configuration_is_shown_without_its_secrets(store_url: str, data: Path) -> None:
    async with house(store_url, data) as (gateway, _), visitor(gateway.origin, TOKEN) as operator:
        page = (await operator.get("/config")).text
        assert "The file cannot be used as it is now" in page  # there is none here
        file = data / "gateway.yaml"
        file.write_text(
            "server: {admin_token: a-secret-that-nobody-sees}\n"
            "upstreams: {a: {kind: openai, base_url: 'https://api.example.com/v1', key: sk-secret, models: [tts-1]}}\n"
            "keys: {alice: {}}\n"
        )
        gateway.app.live.follow(replace(gateway.app.live.config, file=str(file)))
        page = html.unescape((await operator.get("/config")).text)
        assert "https://api.example.com/v1" in page
        assert "•••" in page
        assert "nobody-sees" not in page
        assert "sk-secret" not in page
        assert "tts-1" in page
