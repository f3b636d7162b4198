"""Who may do what: every route, every kind of credential, every way to write a path; and what callers cannot choose."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
from redis.asyncio import Redis

from gateway.config.model import Key, Server, Team, Uploads
from gateway.pages.places import PLACES
from gateway.policy.throttle import MOST
from gateway.web.guard import FORWARDED, SAFE
from tests.running import Running, configured, key_text, running, upstream
from tests.stub import Stub, stub
from tests.wire import END, MODEL, dial, file, text

TOKEN = "operators-alone-0123456789"
NUMBERS = "scrapers-alone-0123456789"
KEYS = {
    "alice": Key("alice", "default", key_text(1)),
    "rita": Key("rita", "red", key_text(2), models=("whisper-*",)),
    "old": Key("old", "default", key_text(3), revoked=True),
    "late": Key("late", "default", key_text(4), expires=1.0),
    "far": Key("far", "default", key_text(5), ips=("203.0.113.7/32",)),
}
PUBLIC = {"/livez", "/readyz", "/healthz", "/openapi.json"}
WITH_A_KEY = {
    "/v1/audio/transcriptions",
    "/v1/audio/translations",
    "/v1/audio/speech",
    "/v1/audio/{path}",
    "/v1/models",
    "/v1/models/{model}",
    "/v1/usage",
}
WITH_THE_TOKEN = {
    "/admin/keys",
    "/admin/keys/{name}",
    "/admin/keys/{name}/rotate",
    "/admin/keys/{name}/revoke",
    "/admin/teams",
    "/admin/teams/{name}",
    "/admin/audit",
    "/admin/usage",
    "/admin/requests",
    "/admin/requests/{id}",
    "/admin/export",
    "/admin/upstreams",
    "/admin/upstreams/{name}/test",
    "/admin/upstreams/{name}/drain",
    "/admin/upstreams/{name}/undrain",
}
WITH_THE_TOKEN_OF_SCRAPERS = {"/metrics"}
FILLED = {"path": "voices", "model": "whisper-1", "name": "alice", "id": "req_" + "0" * 32}
BAD_KEYS = {
    "none": None,
    "no scheme": key_text(1),
    "another scheme": f"Basic {key_text(1)}",
    "nothing behind it": "Bearer",
    "malformed": "Bearer ag_x",
    "mistyped": f"Bearer {key_text(1)[:-1]}_",
    "unknown": f"Bearer {key_text(99)}",
    "revoked": f"Bearer {key_text(3)}",
    "expired": f"Bearer {key_text(4)}",
    "from elsewhere": f"Bearer {key_text(5)}",
    "the operators'": f"Bearer {TOKEN}",
    "the scrapers'": f"Bearer {NUMBERS}",
}
BAD_TOKENS = {
    "none": None,
    "a key": f"Bearer {key_text(1)}",
    "the scrapers'": f"Bearer {NUMBERS}",
    "cut": f"Bearer {TOKEN[:-1]}",
    "longer": f"Bearer {TOKEN}x",
    "another case": f"Bearer {TOKEN.upper()}",
    "in a query": None,
}
peers = map("198.51.{}.{}".format, *zip(*[divmod(number, 250) for number in range(60_000)], strict=True))


@asynccontextmanager
async def guarded(store_url: str, data: Path, **more: Any) -> AsyncIterator[tuple[Running, Stub, httpx2.AsyncClient]]:
    """A gateway with keys of two teams, behind a proxy; its upstream; and a client without a key."""
    async with stub() as one:
        teams = {"default": Team("default"), "red": Team("red")}
        config = configured(data, upstream("a", one.url), keys=KEYS, teams=teams, **more)
        server = Server(admin_token=TOKEN, metrics_token=NUMBERS, trusted_proxies=("127.0.0.0/8",))
        async with (
            running(replace(config, server=server), url=store_url) as gateway,
            httpx2.AsyncClient(base_url=gateway.origin, timeout=20, trust_env=False) as client,
        ):
            yield gateway, one, client


async def ask(client: httpx2.AsyncClient, method: str, path: str, shown: str | None, **more: Any) -> httpx2.Response:
    """A request as of somebody who has not been heard of."""
    headers = {"x-forwarded-for": next(peers), **({"authorization": shown} if shown is not None else {})}
    return await client.request(method, path, headers=headers, **more)


async def routes(client: httpx2.AsyncClient) -> list[tuple[str, str]]:
    """Methods and paths of all routes by the OpenAPI document."""
    document = (await client.get("/openapi.json")).json()
    return [(method.upper(), path) for path, row in document["paths"].items() for method in row]


def filled(path: str) -> str:
    return re.sub(r"\{(\w+)\}", lambda found: FILLED[found[1]], path)


async def test_S_4_every_route_has_its_place(store_url: str, data: Path) -> None:
    """A route that is in no table above is placed on purpose, or it does not go in."""
    async with guarded(store_url, data) as (gateway, _, client):
        described = {path for _, path in await routes(client)}
        served = {re.sub(r":\w+\}", "}", str(getattr(route, "path", route))) for route in _all(gateway.app.live.api)}
    tables = (PUBLIC, WITH_A_KEY, WITH_THE_TOKEN, WITH_THE_TOKEN_OF_SCRAPERS)
    placed = set().union(*tables)
    assert sum(map(len, tables)) == len(placed)
    assert described | {"/openapi.json"} == placed
    pages = {place.path for place in PLACES}  # tests/pages/test_pages_doors.py asks each of them
    assert served <= placed | pages
    assert not placed & pages
    assert {path for path in placed if not path.startswith("/v1/audio/")} <= served


def _all(app: Any) -> Iterator[Any]:
    """Routes of the router and, where it keeps them apart, of routers in it."""
    for route in app.routes:
        inner = getattr(route, "original_router", None) or getattr(route, "routes", None)
        yield from (_all(inner) if inner is not None and not hasattr(route, "path") else [route])


async def test_S_4_every_route_is_shut_to_who_has_not_its_credential(store_url: str, data: Path) -> None:
    asked: set[tuple[str, int]] = set()
    async with guarded(store_url, data) as (gateway, one, client):
        for method, path in await routes(client):
            if path in PUBLIC:
                assert (await ask(client, method, path, None)).status_code == 200
                continue
            bad = BAD_KEYS if path in WITH_A_KEY else BAD_TOKENS
            for name, shown in bad.items():
                if (name, path) == ("the scrapers'", "/metrics"):
                    continue
                query = f"?token={TOKEN}&api_key={TOKEN}&access_token={TOKEN}" if name == "in a query" else ""
                said = await ask(client, method, filled(path) + query, shown, content=b'{"name": "eve"}')
                assert said.status_code in (401, 403, 404), (method, path, name, said.text)
                assert TOKEN not in said.text
                assert key_text(1) not in said.text
                asked.add((path, said.status_code))
            right = f"Bearer {key_text(1)}" if path in WITH_A_KEY else f"Bearer {TOKEN}"
            if not path.startswith("/v1/audio/") and method == "GET":
                assert (await ask(client, method, filled(path), right)).status_code in (200, 404), path
        assert one.seen == [], "nothing of it went out"
        await gateway.idle()
        assert await gateway.app.connection.client.xlen("{ag}:usage") == 0
        print(f"S-4 {len(asked)} kinds of answers on {len({path for path, _ in asked})} routes, all shut")
    assert {path for path, status in asked if status == 401} == WITH_A_KEY | WITH_THE_TOKEN | WITH_THE_TOKEN_OF_SCRAPERS


HOSTILE = [
    "' OR 1=1 --",
    "ag_*",
    "*",
    "[a-z]*",
    "%",
    "ag_%_%",
    "{ag}:key:*",
    'ag_0000000000_"..redis.call("FLUSHALL").."',
    "\\x00\\r\\nFLUSHALL\\r\\n",
    "ключ",
    "🔑" * 40,
    "ag_" + "A" * 10_000,
    "../../etc/passwd",
    "{{7*7}}${7*7}",
]


async def test_S_2_what_is_no_key_never_reaches_the_store(store_url: str, data: Path) -> None:
    answers = set()
    heard: list[str] = []
    async with guarded(store_url, data) as (gateway, one, client), Redis.from_url(store_url) as listening:
        async with listening.monitor() as monitor:
            task = asyncio.ensure_future(_hear(monitor, heard))
            for shown in HOSTILE:
                header = b"Bearer " + shown.encode()
                for path in ("/v1/models", "/v1/usage", "/v1/audio/speech"):
                    said = await client.request(
                        "GET" if "speech" not in path else "POST", path, headers={b"authorization": header}
                    )
                    error = said.json()["error"]
                    assert (said.status_code, error["type"]) == (401, "invalid_request_error"), said.text
                    assert len(said.content) < 300, "it is not told back"
                    answers.add((error["code"], re.sub(r"provided: \S+\. Ask", "provided: … Ask", error["message"])))
            for raw in (b"Bearer ag_\x00x", b"Bearer x\rFLUSHALL"):
                async with dial(gateway) as wire:
                    await wire.send(b"GET /v1/models HTTP/1.1\r\nHost: a\r\nAuthorization: " + raw + b"\r\n\r\n")
                    assert (await wire.answer()).status in (400, 401)
            assert (
                await client.get("/v1/models", headers={"authorization": f"Bearer {key_text(1)}"})
            ).status_code == 200
            async with asyncio.timeout(10):
                while not any(key_text(1)[3:13] in line for line in heard):
                    await asyncio.sleep(0.01)
            task.cancel()
        assert one.seen == []
    assert len(answers) == 1, answers
    told = "\n".join(heard)
    assert not [shown for shown in HOSTILE if len(shown) > 1 and shown in told]
    assert "FLUSHALL" not in told
    assert key_text(1)[14:] not in told, "and of a key only what may be known"


async def _hear(monitor: Any, heard: list[str]) -> None:
    async for line in monitor.listen():
        heard += [line["command"]]


def disguises(path: str) -> Iterator[str]:
    """Other ways to write a path that a guard and a router might read differently."""
    yield from (
        f"/{path}",
        f"/.{path}",
        f"{path}/",
        f"{path}/.",
        f"{path};x=1",
        f"/;{path}",
        f"{path}%00",
        f"{path}%2f",
    )
    yield from (path.upper(), path.replace("admin", "Admin"), path.replace("admin", "%61dmin"), path.replace("/", "\\"))
    yield from (path.replace("/", "%2f"), f"/v1/..{path}", f"/v1/models/..{path}", f"/v1/audio/../..{path}")
    yield from (f"/livez/..{path}", f"/v1/audio/%2e%2e/%2e%2e{path}", f"/%2e{path}", f"http://gateway{path}")
    yield from (f"{path}?x=/livez", f"{path}#/livez", f"/livez?{path}", f"/v1/audio{path}", f"/v1/models{path}")


async def test_S_3_no_way_to_write_a_path_opens_what_is_shut(store_url: str, data: Path) -> None:
    statuses: dict[int, int] = {}
    async with guarded(store_url, data) as (gateway, one, client):
        found = {(method, filled(path)) for method, path in await routes(client) if path.startswith("/admin")}
        assert len(found) == len(WITH_THE_TOKEN) + 5
        for method, path in sorted(found):
            for target in (path, *disguises(path)):
                for host in ("gateway", "localhost/livez?", "evil/livez"):
                    if host != "gateway" and target != path:
                        continue
                    lines = (f"{method} {target} HTTP/1.1", f"Host: {host}", f"X-Forwarded-For: {next(peers)}")
                    more = (f"Authorization: Bearer {key_text(99)}", "X-Original-URL: /livez", "Content-Length: 0")
                    async with dial(gateway) as wire:
                        await wire.send("\r\n".join([*lines, *more, "", ""]).encode())
                        said = await wire.head()
                    public = target.startswith("/livez?")
                    assert said.status in ((200, 405) if public else (400, 401, 404, 405)), (method, target, said)
                    assert "location" not in said.headers
                    statuses[said.status] = statuses.get(said.status, 0) + 1
        assert one.seen == []
        listed = (await ask(client, "GET", "/admin/keys", f"Bearer {TOKEN}")).json()["data"]
    assert {row["name"]: row["state"] for row in listed}["alice"] == "active"
    print(f"S-3 {sum(statuses.values())} requests: {statuses}")


@pytest.mark.parametrize("path", ["/v1/audio/speech", "/v1/audio/transcriptions"])
async def test_S_5_nothing_in_a_request_chooses_where_it_goes(store_url: str, data: Path, path: str) -> None:
    async with stub() as evil, guarded(store_url, data) as (gateway, one, client):
        fields = dict.fromkeys(["api_base", "base_url", "api_base_url", "custom_llm_provider"], evil.url)
        fields |= {
            "api_key": "sk-mine",
            "user": "root",
            "organization": "o",
            "extra_headers": '{"x-api-key": "sk-mine"}',
        }
        headers = {
            "authorization": f"Bearer {key_text(1)}",
            "x-upstream": evil.url,
            "x-api-base": evil.url,
            "x-forwarded-host": f"127.0.0.1:{evil.port}",
            "forwarded": f"host=127.0.0.1:{evil.port}",
            "x-original-url": evil.url,
            "api-key": "sk-mine",
            "x-api-key": "sk-mine",
            "openai-organization": "o",
            "cookie": "session=1",
            "proxy-authorization": "Basic eDp5",
            "te": "trailers",
        }
        query = "&".join(f"{name}={value}" for name, value in fields.items() if name != "extra_headers")
        if path.endswith("speech"):
            asked: dict[str, Any] = {"json": {"model": "tts-1", "input": "x", "voice": "v", **fields}}
        else:
            asked = {"data": {"model": "whisper-1", **fields}, "files": {"file": ("x.wav", b"RIFF....WAVE")}}
        said = await client.post(f"{path}?{query}", headers=headers, **asked)
        assert said.status_code in (200, 400), said.text
        (seen,) = one.seen
        assert evil.seen == []
        await gateway.idle()
    assert seen.target.partition("?")[0] == path
    assert seen.headers["host"] == f"127.0.0.1:{one.port}"
    assert seen.headers["authorization"] == "Bearer sk-secret-of-a"
    assert set(seen.headers) <= {
        *("host", "authorization", "content-type", "content-length", "transfer-encoding"),
        *("accept", "accept-encoding", "user-agent", "openai-beta"),
    }


NAMES = [
    "../../../tmp/S_9",
    "/tmp/S_9",
    "..\\..\\S_9",
    "x.m3u8",
    "S_9" + "a" * 3000,
    "file:///etc/passwd",
    "|id",
    "~/S_9",
]


@pytest.mark.parametrize("name", NAMES, ids=[str(at) for at in range(len(NAMES))])
async def test_S_9_no_name_of_a_file_is_a_path(store_url: str, data: Path, name: str) -> None:
    folder = data / "spool"
    folder.mkdir()
    gate = asyncio.Event()
    async with guarded(store_url, data, uploads=Uploads(memory_bytes=1, folder=folder)) as (gateway, one, client):
        one.answers[0].hold = gate
        async with dial(gateway) as wire:
            await wire.send(b"")
            wire.key = key_text(1)
            task = asyncio.ensure_future(
                wire.post("/v1/audio/transcriptions", MODEL + file(b"RIFF" * 5000, name) + text("x", "y") + END)
            )
            seen = await one.request()
            await seen.has(20_000)
            kept = [path.name for path in data.rglob("*") if path.is_file()]
            gate.set()
            assert (await task).status == 200
        for path in ("/admin/requests/", "/admin/keys/", "/v1/models/"):
            said = await ask(client, "GET", path + "..%2f..%2f..%2fetc%2fpasswd", f"Bearer {TOKEN}")
            assert said.status_code in (400, 401, 404), said.text
            assert "root:" not in said.text
        await gateway.idle()
    assert not [one for one in kept if "S_9" in one or one in name], kept
    assert list(folder.iterdir()) == []
    assert not Path("/tmp/S_9").exists()


async def test_S_10_a_key_is_told_of_itself_and_of_its_team_alone(store_url: str, data: Path) -> None:
    async with guarded(store_url, data) as (gateway, _, client):
        async with gateway.client() as alice:
            said = await alice.post("/audio/speech", json={"model": "tts-1", "input": "hello", "voice": "v"})
        rid = said.headers["x-request-id"]
        (record,) = await gateway.records()
        rita = f"Bearer {key_text(2)}"
        for query in ("", "?team=default", "?key=alice", f"?key={record['key']}", "?team=*&key=*"):
            told = (await ask(client, "GET", "/v1/usage" + query, rita)).json()
            assert (told["key"]["name"], told["team"]["name"]) == ("rita", "red")
        assert record["team"] == "default"
        for path in (f"/v1/usage/{rid}", f"/v1/requests/{rid}", "/v1/usage/alice", "/v1/teams/default", "/v1/keys"):
            assert (await ask(client, "GET", path, rita)).status_code == 404
        for path in (f"/admin/requests/{rid}", "/admin/usage", "/admin/keys/alice", "/admin/teams/default"):
            assert (await ask(client, "GET", path, rita)).status_code == 401
        assert (await ask(client, "GET", "/v1/models/tts-1", rita)).status_code == 404
        shown = (await ask(client, "GET", f"/admin/requests/{rid}", f"Bearer {TOKEN}")).json()
        assert shown["data"][0]["key_name"] == "alice"


async def test_S_14_five_wrong_tokens_a_minute_and_then_one_waits(store_url: str, data: Path) -> None:
    async with guarded(store_url, data) as (_, _, client):
        wrong = {"authorization": "Bearer wrong", "x-forwarded-for": "203.0.113.1"}
        for number in range(MOST):
            path = ("/admin/keys", "/metrics")[number % 2]
            assert (await client.get(path, headers=wrong)).status_code == 401
        for shown in ("Bearer wrong", f"Bearer {TOKEN}"):  # or the right one could still be found by trying
            said = await client.get("/admin/keys", headers={**wrong, "authorization": shown})
            assert (said.status_code, said.json()["error"]["code"]) == (429, "too_many_tries")
            assert 0 < int(said.headers["retry-after"]) <= 60
        others = {"authorization": f"Bearer {TOKEN}", "x-forwarded-for": "203.0.113.2"}
        assert (await client.get("/admin/keys", headers=others)).status_code == 200
        for _ in range(MOST + 1):  # who shows nothing guesses nothing
            assert (await client.get("/admin/keys", headers={"x-forwarded-for": "203.0.113.3"})).status_code == 401


async def test_S_14_no_answer_is_a_page(store_url: str, data: Path) -> None:
    paths = [
        "/livez",
        "/readyz",
        "/metrics",
        "/openapi.json",
        "/v1/models",
        "/nowhere",
        "/admin/keys",
        "/docs",
        "/redoc",
    ]
    async with guarded(store_url, data) as (_, _, client):
        for path in paths:
            for shown in (None, f"Bearer {TOKEN}", f"Bearer {key_text(1)}"):
                said = await ask(client, "GET", path, shown)
                for name, value in SAFE:
                    assert said.headers.get_list(name.decode()) == [value.decode()], (path, name)
                assert said.headers["content-type"].startswith(("application/json", "text/plain")), path
                assert "set-cookie" not in said.headers
                assert path not in ("/docs", "/redoc") or said.status_code == 404


async def test_S_16_numbers_are_for_this_machine_and_for_who_shows_a_token(store_url: str, data: Path) -> None:
    async with guarded(store_url, data) as (gateway, _, client):
        async with gateway.client() as alice:
            assert (await alice.post("/audio/speech", json={"model": "tts-1", "input": "hello"})).status_code == 200
        await gateway.records()
        await gateway.idle()
        body = (await client.get("/metrics")).text
        for name in FORWARDED:
            said = await client.get("/metrics", headers={name: "127.0.0.1"})
            assert (said.status_code, said.json()["error"]["code"]) == (401, "invalid_metrics_token"), name
        for token, status in ((NUMBERS, 200), (TOKEN, 200), (key_text(1), 401), ("x", 401)):
            assert (await ask(client, "GET", "/metrics", f"Bearer {token}")).status_code == status
        record = (await gateway.records())[0]
    assert 'team="default"' in body
    for secret in (record["key"], "alice", key_text(1), record["id"], "sk-secret"):
        assert secret not in body, secret


async def test_S_17_no_page_elsewhere_may_read_an_answer(store_url: str, data: Path) -> None:
    async with guarded(store_url, data) as (_, one, client):
        one.answers[0].headers["access-control-allow-origin"] = "*"
        evil = {"origin": "https://evil.example", "x-forwarded-for": "203.0.113.9"}
        preflight = {**evil, "access-control-request-method": "POST", "access-control-request-headers": "authorization"}
        told = []
        for path in (
            "/livez",
            "/v1/models",
            "/v1/usage",
            "/v1/audio/speech",
            "/admin/keys",
            "/metrics",
            "/openapi.json",
        ):
            said = await client.options(path, headers=preflight)
            assert said.status_code in (401, 404, 405), (path, said.status_code)
            told += [said, await client.get(path, headers=evil)]
        shown = {**evil, "authorization": f"Bearer {key_text(1)}"}
        told.append(await client.post("/v1/audio/speech", json={"model": "tts-1", "input": "x"}, headers=shown))
        assert told[-1].status_code == 200
    assert not [name for said in told for name in said.headers if name.startswith("access-control")]
