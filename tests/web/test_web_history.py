"""/admin/usage, /admin/requests and /admin/export: what was used, for operators' programs."""

import asyncio
import csv
import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest

from gateway.config.model import Key, Server, Team, Usage
from gateway.policy.exports import COLUMNS
from gateway.store.history import History
from tests.running import Running, configured, key_text, running, until, upstream
from tests.stub import failed, said, stub

TOKEN = "a token of operators"
FORM = {"model": "whisper-1"}
FILE = {"file": ("x.wav", b"RIFF" + bytes(3000))}


@asynccontextmanager
async def opened(store_url: str, data: Path, **usage: Any) -> AsyncIterator[tuple[Running, httpx2.AsyncClient]]:
    """A gateway with the keys alice (team default) and bob (team red), and a client with the operators' token."""
    async with stub() as one:
        one.answers = [said(usage={"type": "duration", "seconds": 90.5})]
        keys = {"alice": Key("alice", "default", key_text()), "bob": Key("bob", "red", key_text(2))}
        teams = {"default": Team("default"), "red": Team("red")}
        config = configured(data, upstream("a", one.url), keys=keys, teams=teams)
        config = replace(config, server=Server(admin_token=TOKEN), usage=Usage(**usage))
        async with running(config, url=store_url) as gateway:
            headers = {"authorization": f"Bearer {TOKEN}"}
            async with httpx2.AsyncClient(base_url=gateway.origin, headers=headers, timeout=20) as admin:
                yield gateway, admin


async def transcribe(gateway: Running, number: int = 1, **more: str) -> httpx2.Response:
    """A transcription of alice (1) or bob (2), once it is in the books."""
    client: Any = gateway.app.connection.client
    before = await client.xlen("{ag}:usage")
    async with gateway.client(key_text(number)) as caller:
        answer = await caller.post("/audio/transcriptions", data={**FORM, **more}, files=FILE)

    async def length() -> int:
        return int(await client.xlen("{ag}:usage"))

    await until(length, lambda found: found > before)
    return answer


def history(gateway: Running, **usage: Any) -> History:
    """The gateway's records."""
    return History(gateway.app.connection, Usage(**usage), metrics=gateway.app.metrics)


async def done(answer: Any) -> dict[str, Any]:
    said = await answer
    assert said.status_code == 200, said.text
    assert said.headers["cache-control"] == "no-store"
    return dict(said.json())


async def refused(answer: Any, status: int) -> dict[str, Any]:
    said = await answer
    assert said.status_code == status, said.text
    return dict(said.json()["error"])


async def test_sums_by_any_columns(store_url: str, data: Path) -> None:
    async with opened(store_url, data) as (gateway, admin):
        for number in (1, 1, 2):
            assert (await transcribe(gateway, number)).status_code == 200
        today = datetime.now(UTC).strftime("%Y-%m-%d")
        found = await done(admin.get("/admin/usage?by=day,team,key,model,upstream,route&since=1d"))
        common = {"day": today, "model": "whisper-1", "upstream": "a", "route": "transcription", "errors": 0}
        zero = {"characters": 0, "input_tokens": 0, "output_tokens": 0}
        assert found["object"] == "list"
        assert found["data"] == [
            {**common, "team": "default", "key": "alice", "requests": 2, "audio_seconds": 181, "cost_usd": "0.0181",
             "upstream_cost_usd": "0.0181", **zero},
            {**common, "team": "red", "key": "bob", "requests": 1, "audio_seconds": 90.5, "cost_usd": "0.00905",
             "upstream_cost_usd": "0.00905", **zero},
        ]  # fmt: skip
        assert (found["since"], found["until"][11:]) == (f"{today}T00:00:00Z", "00:00:00Z")
        found = await done(admin.get("/admin/usage?by=month,team&since=2d&team=red"))
        (row,) = found["data"]
        assert (row["month"], row["team"], row["cost_usd"]) == (today[:7], "red", "0.00905")
        assert "day" not in row
        hours = await done(admin.get("/admin/usage?by=hour&since=24h"))
        assert sum(row["requests"] for row in hours["data"]) == 3
        assert hours["data"][-1]["hour"].endswith(":00Z")
        (row,) = (await done(admin.get("/admin/usage?by=&key=alice&model=whisper-1&upstream=a&route=transcription")))[
            "data"
        ]
        assert set(row) == {"requests", "errors", "audio_seconds", "cost_usd", "upstream_cost_usd", *zero}
        assert row["requests"] == 2
        assert (await done(admin.get("/admin/usage?model=tts-1")))["data"] == []


@pytest.mark.parametrize(
    ("query", "param", "words"),
    [
        ("by=day,colour", "by", "colour is none of hour, day, month, team, key, model, upstream, route"),
        ("since=yesterday", "since", "got 'yesterday'"),
        ("until=never", "until", "got 'never'"),
        ("since=401d", "since", "sums of days are kept for 400 days"),
        ("since=2161h", "since", "sums of hours are kept for 90 days"),
        ("since=2d&until=3d", "since", "is later than the end"),
    ],
)
async def test_what_cannot_be_summed_is_told(store_url: str, data: Path, query: str, param: str, words: str) -> None:
    async with opened(store_url, data) as (_, admin):
        error = await refused(admin.get(f"/admin/usage?{query}"), 400)
        assert (error["code"], error["param"]) == ("invalid_value", param)
        assert words in error["message"]


async def test_a_key_that_never_was_is_told(store_url: str, data: Path) -> None:
    async with opened(store_url, data) as (_, admin):
        assert "no key called 'alcie'" in (await refused(admin.get("/admin/usage?key=alcie"), 404))["message"]


async def test_a_request_is_shown_by_the_id_that_its_answer_had(store_url: str, data: Path) -> None:
    async with opened(store_url, data, keep=86_400) as (gateway, admin):
        rid = (await transcribe(gateway)).headers["x-request-id"]
        (row,) = (await done(admin.get(f"/admin/requests/{rid}")))["data"]
        assert (row["id"], row["key_name"], row["team"], row["status"]) == (rid, "alice", "default", 200)
        assert (row["audio_ms"], row["cost_micro_usd"], row["upstream_micro_usd"]) == (90_500, 9050, 9050)
        assert datetime.fromisoformat(row["time"]).tzinfo is not None
        assert "takes_back" not in row
        other = rid[:-1] + ("0" if rid[-1] != "0" else "1")
        error = await refused(admin.get(f"/admin/requests/{other}"), 404)
        assert error["code"] == "not_found"
        assert "Records are kept for 24 hours, and until they are exported." in error["message"]
        for bad in ("x", rid[:-1], rid + "0", rid.upper()):
            assert (await refused(admin.get(f"/admin/requests/{bad}"), 400))["code"] == "invalid_value"
        answer = await admin.get(f"/admin/requests/{rid}%0A")  # such a path comes to nobody
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad_request")


async def test_requests_are_listed_newest_first(store_url: str, data: Path) -> None:
    async with opened(store_url, data) as (gateway, admin):
        rids = [(await transcribe(gateway, number)).headers["x-request-id"] for number in (1, 2, 1, 2)]

        async def listed(query: str = "") -> list[str]:
            return [row["id"] for row in (await done(admin.get(f"/admin/requests{query}")))["data"]]

        assert await listed() == rids[::-1]
        first = await done(admin.get("/admin/requests?limit=3"))
        assert first["next"] == first["data"][-1]["cursor"]
        assert await listed(f"?before={first['next']}") == rids[:1]
        assert (await done(admin.get("/admin/requests")))["next"] is None
        assert await listed("?key=bob") == await listed("?team=red") == [rids[3], rids[1]]
        assert await listed("?errors=true") == []
        for query in ("limit=0", "limit=1001", "before=x", "before=1-1-1", "errors=perhaps"):
            assert (await refused(admin.get(f"/admin/requests?{query}"), 400))["code"] == "invalid_value"


async def test_failed_requests_are_listed_alone(store_url: str, data: Path) -> None:
    async with opened(store_url, data) as (gateway, admin), stub() as bad:
        await transcribe(gateway)
        bad.answers = [failed(400, "no such language")]
        gateway.app.parts.market = replace(gateway.app.parts.market, upstreams=(upstream("a", bad.url),))
        assert (await transcribe(gateway)).status_code == 400
        (row,) = (await done(admin.get("/admin/requests?errors=true")))["data"]
        assert row["status"] == 400


async def test_records_are_handed_out_page_by_page_and_committed(store_url: str, data: Path) -> None:
    async with opened(store_url, data) as (gateway, admin):
        empty = await admin.get("/admin/export")
        assert (empty.status_code, empty.content, empty.headers["x-audiogate-cursor"]) == (200, b"", "0-0")
        rids = [(await transcribe(gateway)).headers["x-request-id"] for _ in range(5)]
        rows, cursor = list[dict[str, Any]](), ""
        while True:
            page = await admin.get("/admin/export", params={"after": cursor, "limit": 2})
            assert page.headers["content-type"] == "application/jsonl; charset=utf-8"
            assert page.headers["cache-control"] == "no-store"
            some = [json.loads(line) for line in page.text.splitlines()]
            if not some:
                assert page.headers["x-audiogate-cursor"] == cursor
                break
            assert len(some) <= 2
            cursor = page.headers["x-audiogate-cursor"]
            assert some[-1]["cursor"] == cursor
            rows += some
        assert [row["id"] for row in rows] == rids
        assert rows[0]["cost_micro_usd"] == 9050
        for asked in (rows[1]["cursor"], rows[1]["cursor"], cursor):
            assert await done(admin.post("/admin/export", json={"cursor": asked})) == {"cursor": asked}
        error = await refused(admin.post("/admin/export", json={"cursor": rows[1]["cursor"]}), 400)
        assert (error["param"], f"it is at {cursor} already" in error["message"]) == ("cursor", True)
        error = await refused(admin.post("/admin/export", json={"cursor": "99999999999999-0"}), 400)
        assert f"no record has it yet; everything up to {cursor} is exported" in error["message"]
        assert await history(gateway).stream().cursor() == cursor


async def test_a_page_may_be_csv(store_url: str, data: Path) -> None:
    async with opened(store_url, data) as (gateway, admin):
        rids = [(await transcribe(gateway, model="whisper-1", prompt="x")).headers["x-request-id"] for _ in range(3)]
        page = await admin.get("/admin/export?format=csv")
        assert page.headers["content-type"] == "text/csv; charset=utf-8"
        rows = list(csv.DictReader(io.StringIO(page.text, newline=""), strict=True))
        assert tuple(rows[0]) == COLUMNS
        assert [row["id"] for row in rows] == rids
        assert page.headers["x-audiogate-cursor"] == rows[-1]["cursor"]
        empty = await admin.get("/admin/export", params={"format": "csv", "after": rows[-1]["cursor"]})
        assert empty.text == ",".join(COLUMNS) + "\r\n"


@pytest.mark.parametrize(
    ("method", "query", "body"),
    [
        ("GET", "after=x", None),
        ("GET", "limit=0", None),
        ("GET", "limit=5001", None),
        ("GET", "format=xml", None),
        ("GET", "shard=1", None),
        ("POST", "", {"cursor": "x"}),
        ("POST", "", {"cursor": ""}),
        ("POST", "", {}),
        ("POST", "", {"cursor": "1-0", "force": True}),
        ("POST", "shard=1", {"cursor": "1-0"}),
    ],
)
async def test_what_does_not_fit_is_refused(store_url: str, data: Path, method: str, query: str, body: object) -> None:
    async with opened(store_url, data) as (gateway, admin):
        error = await refused(admin.request(method, f"/admin/export?{query}", json=body), 400)
        assert error["code"] == "invalid_value"
        assert await history(gateway).stream().cursor() == ""


async def test_every_call_leaves_a_line_in_the_audit(store_url: str, data: Path) -> None:
    async with opened(store_url, data) as (gateway, admin):
        rid = (await transcribe(gateway)).headers["x-request-id"]
        await done(admin.get("/admin/usage"))
        await done(admin.get("/admin/requests"))
        await done(admin.get(f"/admin/requests/{rid}"))
        cursor = (await admin.get("/admin/export")).headers["x-audiogate-cursor"]
        await refused(admin.post("/admin/export", json={"cursor": "99999999999999-0"}), 400)
        await done(admin.post("/admin/export", json={"cursor": cursor}))
        found = (await done(admin.get("/admin/audit?limit=6")))["data"]
        assert [(row["action"], row["what"], row["result"]) for row in reversed(found)] == [
            ("usage.show", "*", "ok"),
            ("requests.list", "*", "ok"),
            ("requests.show", rid, "ok"),
            ("export.read", "0-0", "ok"),
            ("export.commit", "99999999999999-0", "beyond"),
            ("export.commit", cursor, "ok"),
        ]
        assert {row["door"] for row in found} == {"api"}


async def test_the_background_job_lets_go_of_what_is_exported_and_old(store_url: str, data: Path) -> None:
    async with opened(store_url, data, keep=3600) as (gateway, admin):
        client: Any = gateway.app.connection.client
        for cursor in ("1-0", "2-0"):
            await client.xadd("{ag}:usage", {"id": "old"}, id=cursor)
        await transcribe(gateway)
        await done(admin.post("/admin/export", json={"cursor": "1-0"}))
        names = {task.get_name() for task in asyncio.all_tasks()}
        assert "watch the records" in names
        await history(gateway, keep=3600).trim()
        text = (await admin.get("/metrics")).text
        assert "audiogate_usage_records 2.0" in text
        assert "audiogate_usage_unexported 2.0" in text
        assert (await admin.get("/admin/export?after=1-0")).status_code == 200
        assert (await admin.get("/admin/export?after=0-1")).status_code == 400, "1-0 is gone"


async def test_the_document_describes_every_parameter_and_field(store_url: str, data: Path) -> None:
    async with opened(store_url, data) as (_, admin):
        document = (await admin.get("/openapi.json")).json()
    for path in ("/admin/usage", "/admin/requests", "/admin/requests/{id}", "/admin/export"):
        for operation in document["paths"][path].values():
            assert operation["security"] == [{"admin": []}]
            for parameter in operation.get("parameters", []):
                assert parameter["description"], (path, parameter)
    for name in ("UsageRow", "RequestRow", "Cursor"):
        fields = document["components"]["schemas"][name]["properties"]
        assert all("description" in field for field in fields.values()), name
    assert set(document["components"]["schemas"]["RequestRow"]["properties"]) == set(COLUMNS)
    content = document["paths"]["/admin/export"]["get"]["responses"]["200"]["content"]
    assert set(content) == {"application/jsonl", "text/csv"}
