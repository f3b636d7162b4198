"""/admin/: keys and teams for operators' programs; and what a key's holder is told of its limits."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest

from gateway.config.model import Server, Team
from gateway.policy.keys import parse
from gateway.policy.limits import Limit
from tests.running import Running, configured, running, upstream
from tests.stub import stub
from tests.wire import dial

TOKEN = "a token of operators"
SPEECH = {"model": "tts-1", "input": "hello", "voice": "alloy"}
ROUTES = [
    ("GET", "/admin/keys"),
    ("POST", "/admin/keys"),
    ("GET", "/admin/keys/bob"),
    ("PATCH", "/admin/keys/bob"),
    ("POST", "/admin/keys/bob/rotate"),
    ("POST", "/admin/keys/bob/revoke"),
    ("GET", "/admin/teams"),
    ("POST", "/admin/teams"),
    ("GET", "/admin/teams/red"),
    ("PATCH", "/admin/teams/red"),
    ("GET", "/admin/audit"),
    ("GET", "/admin/usage"),
    ("GET", "/admin/requests"),
    ("GET", "/admin/requests/{id}"),
    ("GET", "/admin/export"),
    ("POST", "/admin/export"),
    ("GET", "/admin/upstreams"),
    ("POST", "/admin/upstreams/bob/test"),
    ("POST", "/admin/upstreams/bob/drain"),
    ("POST", "/admin/upstreams/bob/undrain"),
]


@asynccontextmanager
async def opened(store_url: str, data: Path, token: str = TOKEN) -> AsyncIterator[tuple[Running, httpx2.AsyncClient]]:
    """A gateway with one upstream, and a client that shows the operators' token."""
    async with stub() as one:
        teams = {"default": Team("default", limits=(Limit("usd", "month", 20_000_000),))}
        config = configured(data, upstream("a", one.url), teams=teams)
        config = replace(
            config, server=Server(admin_token=token, trusted_proxies=("127.0.0.0/8",)), file="gateway.yaml"
        )
        async with running(config, url=store_url) as gateway:
            headers = {"authorization": f"Bearer {token}"} if token else {}
            async with httpx2.AsyncClient(base_url=gateway.origin, headers=headers, timeout=20) as client:
                yield gateway, client


async def done(answer: Any, status: int = 200) -> dict[str, Any]:
    """What a request was answered, with this status."""
    said = await answer
    assert said.status_code == status, said.text
    assert said.headers["cache-control"] == "no-store"
    found = said.json()
    assert isinstance(found, dict)
    return found


async def refused(answer: Any, status: int) -> dict[str, Any]:
    """The error of a refusal."""
    said = await answer
    assert said.status_code == status, said.text
    (error,) = said.json().values()
    assert set(error) == {"message", "type", "param", "code"}
    return dict(error)


async def speak(gateway: Running, key: str, **headers: str) -> httpx2.Response:
    async with gateway.client(key) as client:
        return await client.post("/audio/speech", json=SPEECH, headers=headers)


async def test_a_key_from_its_making_to_its_end(store_url: str, data: Path) -> None:
    async with opened(store_url, data) as (gateway, admin):
        asked = {
            "name": "bob",
            "models": ["tts-*"],
            "upstreams": ["a"],
            "limits": [
                {"measure": "usd", "per": "month", "amount": 0.5},
                {"measure": "concurrency", "amount": "4"},
                {"measure": "requests", "per": "minute", "amount": 60, "burst": 10},
            ],
            "expires": "2099-01-01",
            "exact": True,
            "note": "for it",
        }
        made = await done(admin.post("/admin/keys", json=asked), 201)
        key = made.pop("key")
        assert parse(key).kid == made["id"]
        assert made == {
            "name": "bob",
            "id": parse(key).kid,
            "shown": f"ag_{parse(key).kid}_…{key[-4:]}",
            "team": "default",
            "models": ["tts-*"],
            "upstreams": ["a"],
            "limits": [
                {"measure": "usd", "per": "month", "amount": "0.5", "burst": None},
                {"measure": "concurrency", "per": None, "amount": 4, "burst": None},
                {"measure": "requests", "per": "minute", "amount": 60, "burst": 10},
            ],
            "ips": None,
            "expires": "2099-01-01T00:00:00Z",
            "exact": True,
            "note": "for it",
            "state": "active",
            "origin": "admin",
            "created": made["created"],
            "previous_until": None,
        }
        assert (await speak(gateway, key)).status_code == 200
        shown = await done(admin.get("/admin/keys/bob"))
        standing = {row["measure"]: (row["limit"], row["burst"]) for row in shown.pop("standing")}
        assert standing == {"usd": ("0.5", None), "concurrency": (4, None), "requests": (60, 10)}
        assert shown == made
        assert [row["name"] for row in (await done(admin.get("/admin/keys")))["data"]] == ["alice", "bob"]
        changed = await done(admin.patch("/admin/keys/bob", json={"models": ["whisper-1"], "limits": None}))
        assert changed == {**made, "models": ["whisper-1"], "limits": []}
        assert (await speak(gateway, key)).status_code == 404
        changed = await done(admin.patch("/admin/keys/bob", json={"models": None, "expires": None}))
        assert (changed["models"], changed["expires"], changed["note"]) == (None, None, "for it")
        assert changed["exact"] is True, "what is left out stays as it is"
        for asked_for in ({"exact": False}, {"exact": None}):
            assert (await done(admin.patch("/admin/keys/bob", json={"exact": True})))["exact"] is True
            assert (await done(admin.patch("/admin/keys/bob", json=asked_for)))["exact"] is False
        assert (await speak(gateway, key)).status_code == 200
        assert (await done(admin.post("/admin/keys/bob/revoke")))["state"] == "revoked"
        assert "revoked" in (await refused(speak(gateway, key), 401))["message"]
        everything = json.dumps([await done(admin.get(path)) for path in ("/admin/keys", "/admin/audit?limit=1000")])
        assert key[14:46] not in everything


async def test_a_rotated_key_goes_on_and_its_old_text_is_told_so(store_url: str, data: Path) -> None:
    async with opened(store_url, data) as (gateway, admin):
        old = (await done(admin.post("/admin/keys", json={"name": "bob"}), 201))["key"]
        assert "x-audiogate-key" not in (await speak(gateway, old)).headers
        new = await done(admin.post("/admin/keys/bob/rotate"))
        notice = f"rotated; use the new key before {new['previous_until']}"
        async with gateway.client(old) as client:
            answers = [
                await speak(gateway, old),
                await client.post("/audio/speech", json={**SPEECH, "model": "nope"}),
                await client.get("/models"),
                await client.get("/usage"),
            ]
        assert [answer.status_code for answer in answers] == [200, 404, 200, 200]
        assert [answer.headers["x-audiogate-key"] for answer in answers] == [notice] * 4
        answer = await speak(gateway, new["key"])
        assert (answer.status_code, "x-audiogate-key" in answer.headers) == (200, False)
        last = await done(admin.post("/admin/keys/bob/rotate", json={"overlap_seconds": 0}))
        assert last["previous_until"] is None
        said = [(await speak(gateway, key)).status_code for key in (old, new["key"], last["key"])]
        assert said == [401, 401, 200]


async def test_a_key_is_used_from_its_networks_alone(store_url: str, data: Path) -> None:
    async with opened(store_url, data) as (gateway, admin):
        asked = {"name": "bob", "ips": ["192.0.2.0/24", "2001:db8::/32"]}
        key = (await done(admin.post("/admin/keys", json=asked), 201))["key"]
        error = await refused(speak(gateway, key), 401)
        assert "may not be used from 127.0.0.1" in error["message"]
        # The server takes the word of the proxy in its configuration.
        assert (await speak(gateway, key, **{"x-forwarded-for": "192.0.2.9"})).status_code == 200
        assert (await speak(gateway, key, **{"x-forwarded-for": "2001:db8::9"})).status_code == 200
        assert (await speak(gateway, key, **{"x-forwarded-for": "192.0.3.9"})).status_code == 401
        async with gateway.client(key) as client:
            for path in ("/models", "/usage"):
                assert (await client.get(path)).status_code == 401
        await done(admin.patch("/admin/keys/bob", json={"ips": ["127.0.0.0/8"]}))
        assert (await speak(gateway, key)).status_code == 200


async def test_teams_are_made_shown_and_changed(store_url: str, data: Path) -> None:
    async with opened(store_url, data) as (gateway, admin):
        limits = [{"measure": "requests", "per": "day", "amount": 1, "burst": None}]
        made = await done(admin.post("/admin/teams", json={"name": "red", "limits": limits}), 201)
        assert (made["origin"], made["limits"], made["models"]) == ("admin", limits, None)
        assert made["timezone"] == "UTC"
        key = (await done(admin.post("/admin/keys", json={"name": "bob", "team": "red"}), 201))["key"]
        assert [(await speak(gateway, key)).status_code for _ in range(2)] == [200, 429]
        shown = await done(admin.get("/admin/teams/red"))
        (row,) = shown["standing"]
        assert (row["limit"], row["used"] + row["reserved"]) == (1, 1)
        changed = await done(admin.patch("/admin/teams/red", json={"limits": [], "note": "x"}))
        assert (changed["limits"], changed["note"], changed["timezone"]) == ([], "x", "UTC")
        assert (await speak(gateway, key)).status_code == 200
        assert [one["name"] for one in (await done(admin.get("/admin/teams")))["data"]] == ["default", "red"]


async def test_a_team_s_days_end_where_its_time_zone_says(store_url: str, data: Path) -> None:
    async with opened(store_url, data) as (_, admin):
        limits = [{"measure": "usd", "per": "day", "amount": 1}, {"measure": "usd", "per": "month", "amount": 9}]
        asked = {"name": "red", "limits": limits, "timezone": "Asia/Shanghai"}
        assert (await done(admin.post("/admin/teams", json=asked), 201))["timezone"] == "Asia/Shanghai"
        await done(admin.post("/admin/keys", json={"name": "bob", "team": "red", "limits": limits}), 201)
        resets = {}
        for zone in ("Asia/Shanghai", "Asia/Kolkata", None):
            changed = await done(admin.patch("/admin/teams/red", json={"timezone": zone}))
            assert changed["timezone"] == (zone or "UTC")
            found = [await done(admin.get(path)) for path in ("/admin/teams/red", "/admin/keys/bob")]
            times = {row["resets"][10:] for one in found for row in one["standing"]}
            resets[zone] = times
        assert resets == {
            "Asia/Shanghai": {"T16:00:00Z"},
            "Asia/Kolkata": {"T18:30:00Z"},
            None: {"T00:00:00Z"},
        }
        error = await refused(admin.patch("/admin/teams/red", json={"timezone": "Asia/Peking"}), 400)
        assert (error["param"], error["type"]) == ("timezone", "invalid_request_error")
        await refused(admin.patch("/admin/keys/bob", json={"timezone": "UTC"}), 400)


async def test_a_burst_is_told_with_what_is_left_of_it(store_url: str, data: Path) -> None:
    async with opened(store_url, data) as (gateway, admin):
        limits = [{"measure": "requests", "per": "hour", "amount": 60, "burst": 2}]
        key = (await done(admin.post("/admin/keys", json={"name": "bob", "limits": limits}), 201))["key"]
        answers = [await speak(gateway, key) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, 200, 429]
        assert [answer.headers["x-ratelimit-remaining-requests"] for answer in answers] == ["1", "0", "0"]
        assert {answer.headers["x-ratelimit-limit-requests"] for answer in answers} == {"60"}
        assert 50_000 < int(answers[2].headers["retry-after-ms"]) <= 60_000, "one a minute"
        (row,) = (await done(admin.get("/admin/keys/bob")))["standing"]
        assert (row["limit"], row["burst"], row["used"], row["reserved"]) == (60, 2, 2, 0)
        bad = [{"measure": "requests", "per": "day", "amount": 60, "burst": 2}]
        error = await refused(admin.patch("/admin/keys/bob", json={"limits": bad}), 400)
        assert error["param"] == "limits[0].burst"


async def test_a_holder_is_told_where_the_limits_of_key_and_team_stand(store_url: str, data: Path) -> None:
    async with opened(store_url, data) as (gateway, admin):
        limits = [{"measure": "characters", "per": "total", "amount": 100}]
        key = (await done(admin.post("/admin/keys", json={"name": "bob", "limits": limits}), 201))["key"]
        assert (await speak(gateway, key)).status_code == 200
        await gateway.idle()
        async with gateway.client(key) as client:
            found = (await client.get("/usage")).json()
    assert found["object"] == "usage"
    assert found["key"] == {
        "name": "bob",
        "limits": [
            {
                "measure": "characters",
                "per": "total",
                "limit": 100,
                "burst": None,
                "used": 5,
                "reserved": 0,
                "resets": None,
            }
        ],
    }
    (row,) = found["team"]["limits"]
    assert found["team"]["name"] == "default"
    assert (row["measure"], row["per"], row["limit"], row["used"], row["reserved"]) == (
        "usd",
        "month",
        "20",
        "0.000075",
        "0",
    )
    assert row["resets"].endswith("-01T00:00:00Z")


async def test_what_the_file_declares_is_shown_and_not_changed(store_url: str, data: Path) -> None:
    async with opened(store_url, data) as (_, admin):
        assert (await done(admin.get("/admin/keys/alice")))["origin"] == "config"
        for answer in (
            admin.patch("/admin/keys/alice", json={"note": "x"}),
            admin.post("/admin/keys/alice/rotate"),
            admin.post("/admin/keys/alice/revoke"),
            admin.patch("/admin/teams/default", json={"note": "x"}),
            admin.post("/admin/teams", json={"name": "default"}),
            admin.post("/admin/keys", json={"name": "alice"}),
        ):
            error = await refused(answer, 409)
            assert error["code"] == "declared_in_file"
            assert "gateway.yaml" in error["message"]


BAD = {
    "a name twice": ("/admin/keys", {"name": "bob"}, 409, "name_taken", None),
    "no name": ("/admin/keys", {}, 400, "invalid_value", "body.name"),
    "a bad name": ("/admin/keys", {"name": "a b"}, 400, "invalid_value", "name"),
    "an unknown field": ("/admin/keys", {"name": "x", "kh": "y"}, 400, "invalid_value", "body.kh"),
    "a text of its own": ("/admin/keys", {"name": "x", "key": "ag_"}, 400, "invalid_value", "body.key"),
    "an unknown team": ("/admin/keys", {"name": "x", "team": "nope"}, 400, "invalid_value", "team"),
    "an unknown upstream": ("/admin/keys", {"name": "x", "upstreams": ["b"]}, 400, "invalid_value", "upstreams[0]"),
    "a bad network": ("/admin/keys", {"name": "x", "ips": ["10.0.0.1/8"]}, 400, "invalid_value", "ips[0]"),
    "a bad date": ("/admin/keys", {"name": "x", "expires": "soon"}, 400, "invalid_value", "expires"),
    "a bad measure": (
        "/admin/teams",
        {"name": "x", "limits": [{"measure": "usb", "amount": 1}]},
        400,
        "invalid_value",
        "body.limits.0.measure",
    ),
    "no period": (
        "/admin/teams",
        {"name": "x", "limits": [{"measure": "usd", "amount": 1}]},
        400,
        "invalid_value",
        "limits[0].per",
    ),
    "an overlap below 0": (
        "/admin/keys/bob/rotate",
        {"overlap_seconds": -1},
        400,
        "invalid_value",
        "body.overlap_seconds",
    ),
    "nobody": ("/admin/keys/zoe/rotate", {}, 404, "not_found", None),
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
async def test_what_does_not_fit_is_refused_in_openais_shape(
    store_url: str, data: Path, bad: tuple[str, object, int, str, str | None]
) -> None:
    path, body, status, code, param = bad
    async with opened(store_url, data) as (_, admin):
        await done(admin.post("/admin/keys", json={"name": "bob"}), 201)
        before = (await done(admin.get("/admin/keys")), await done(admin.get("/admin/teams")))
        error = await refused(admin.post(path, json=body), status)
        assert (error["code"], error["param"]) == (code, param), error
        assert (await done(admin.get("/admin/keys")), await done(admin.get("/admin/teams"))) == before


@pytest.mark.parametrize("authorization", ["", "Bearer", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN} x"])
async def test_without_the_token_every_route_is_shut_whatever_the_body(
    store_url: str, data: Path, authorization: str
) -> None:
    async with opened(store_url, data) as (gateway, admin):
        for number, (method, path) in enumerate(ROUTES):
            for body in (b"{", b'{"name": "eve"}'):
                headers = {"authorization": authorization, "content-type": "application/json"}
                headers["x-forwarded-for"] = f"198.51.100.{number}"  # who tries too often is not heard
                error = await refused(admin.request(method, path, content=body, headers=headers), 401)
                assert error["code"] == "invalid_admin_token"
                assert TOKEN not in str(error)
        error = await refused(admin.get("/admin/keys", headers={"authorization": f"Bearer {gateway.key}"}), 401)
        audit = await done(admin.get("/admin/audit"))
    assert not [row for row in audit["data"] if row["door"] == "api"], (
        "who has no token leaves no trace to flood it with"
    )


async def test_the_operators_token_is_no_key(store_url: str, data: Path) -> None:
    async with opened(store_url, data) as (gateway, _):
        assert (await speak(gateway, TOKEN)).status_code == 401


async def test_without_a_token_in_the_file_nothing_is_there(store_url: str, data: Path) -> None:
    async with opened(store_url, data, token="") as (_, admin):
        for method, path in ROUTES:
            for headers in ({}, {"authorization": "Bearer"}, {"authorization": f"Bearer {TOKEN}"}):
                assert (await admin.request(method, path, headers=headers)).status_code == 404
        document = (await admin.get("/openapi.json")).json()
        assert not [path for path in document["paths"] if path.startswith("/admin")]


async def test_a_long_body_is_not_read(store_url: str, data: Path) -> None:
    async with opened(store_url, data) as (gateway, admin):
        error = await refused(admin.post("/admin/keys", content=b" " * 70_000), 413)
        assert "65536" in error["message"]
        async with dial(gateway) as wire:
            await wire.begin("POST", "/admin/keys", "Content-Length: 10000000000", key="wrong")
            assert (await wire.answer()).status == 401


async def test_reads_and_writes_are_written_down(store_url: str, data: Path) -> None:
    async with opened(store_url, data) as (_, admin):
        await done(admin.post("/admin/keys", json={"name": "bob"}), 201)
        await done(admin.get("/admin/keys"))
        await refused(admin.get("/admin/keys/zoe"), 404)
        await done(admin.post("/admin/keys/bob/revoke"))
        found = (await done(admin.get("/admin/audit?limit=4")))["data"]
        assert [(row["door"], row["action"], row["what"], row["result"]) for row in found] == [
            ("api", "keys.revoke", "bob", "ok"),
            ("api", "keys.show", "zoe", "none"),
            ("api", "keys.list", "*", "ok"),
            ("api", "keys.create", "bob", "ok"),
        ]
        assert all(row["time"].endswith("Z") for row in found)
        older = (await done(admin.get(f"/admin/audit?limit=1&before={found[-1]['id']}")))["data"]
        assert older[0]["door"] == "config"
        assert (await done(admin.get("/admin/audit?limit=1")))["data"][0]["action"] == "audit.list"
        for query in ("limit=0", "limit=1001", "before=x", "before=1-1-1"):
            assert (await refused(admin.get(f"/admin/audit?{query}"), 400))["code"] == "invalid_value"


async def test_the_document_describes_every_route_and_field(store_url: str, data: Path) -> None:
    async with opened(store_url, data) as (_, admin):
        document = (await admin.get("/openapi.json")).json()
    described = {
        (method.upper(), path.replace("{name}", "red" if "teams" in path else "bob")): operation
        for path, row in document["paths"].items()
        for method, operation in row.items()
        if path.startswith("/admin/")
    }
    assert set(described) == set(ROUTES)
    for operation in described.values():
        assert operation["security"] == [{"admin": []}]
        assert operation["summary"]
        assert "422" not in operation["responses"]
    for name in ("NewKey", "KeyChange", "NewTeam", "LimitAsked", "Rotation", "StandingRow"):
        fields = document["components"]["schemas"][name]["properties"]
        assert all("description" in field for field in fields.values()), name
