"""Everything that is no audio route: models, the OpenAPI document, what machines ask, and paths nobody knows."""

from dataclasses import replace
from pathlib import Path

import pytest

from gateway.config.model import Key, Team
from tests.faults.stores import mortal
from tests.running import configured, key_text, running, serving, upstream
from tests.stub import stub
from tests.wire import dial


async def test_a_key_sees_the_models_it_may_use(store_url: str, data: Path) -> None:
    async with stub() as one:
        ups = [
            upstream("a", one.url, models={"whisper-1": "x", "tts-1": "tts-1", "gpt-4o-*": "*"}),
            upstream("b", one.url, models={"tts-1-hd": "tts-1-hd", "whisper-1": "whisper-1"}, priority=2),
        ]
        keys = {
            "alice": Key("alice", "default", key_text()),
            "narrow": Key("narrow", "default", key_text(2), models=("tts-*",)),
            "there": Key("there", "default", key_text(3), upstreams=("b",)),
            "teamed": Key("teamed", "readers", key_text(4)),
        }
        teams = {"default": Team("default"), "readers": Team("readers", models=("whisper-*",), upstreams=("a",))}
        seen = []
        async with running(configured(data, *ups, keys=keys, teams=teams), url=store_url) as gateway:
            for number in range(1, 5):
                async with gateway.client(key_text(number)) as client:
                    answer = (await client.get("/models")).json()
                assert answer["object"] == "list"
                assert all(set(row) == {"id", "object", "created", "owned_by"} for row in answer["data"])
                seen.append([row["id"] for row in answer["data"]])
    assert seen == [
        ["whisper-1", "tts-1", "tts-1-hd"],
        ["tts-1", "tts-1-hd"],
        ["tts-1-hd", "whisper-1"],
        ["whisper-1"],
    ]
    assert one.seen == []


async def test_one_model_is_told_or_not_found(store_url: str, data: Path) -> None:
    async with serving(store_url, data) as (gateway, _), dial(gateway) as wire:
        await wire.begin("GET", "/v1/models/whisper-1")
        found = await wire.answer()
        await wire.begin("GET", "/v1/models/some/thing")
        lost = await wire.answer()
    assert (found.status, found.json["id"], found.json["object"]) == (200, "whisper-1", "model")
    assert (lost.status, lost.error["code"], lost.error["param"]) == (404, "model_not_found", "model")


@pytest.mark.parametrize("key", ["", key_text(77), "sk-nonsense"])
@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/whisper-1", "/v1/usage"])
async def test_models_are_for_keys_alone(store_url: str, data: Path, path: str, key: str) -> None:
    async with serving(store_url, data) as (gateway, _), dial(gateway) as wire:
        await wire.begin("GET", path, key=key)
        said = await wire.answer()
    assert (said.status, said.error["type"]) == (401, "invalid_request_error")


LOST = {
    ("GET", "/page"): 404,
    ("DELETE", "/"): 405,
    ("GET", "/v1"): 404,
    ("POST", "/v1/audio"): 404,
    ("POST", "/v1/chat/completions"): 404,
    ("GET", "/docs"): 404,
    ("POST", "/v1/models"): 405,
    ("DELETE", "/v1/models/whisper-1"): 405,
    ("POST", "/livez"): 405,
}


@pytest.mark.parametrize(("method", "path", "status"), [(*where, status) for where, status in LOST.items()])
async def test_paths_and_methods_nobody_knows_are_refused_in_openais_shape(
    store_url: str, data: Path, method: str, path: str, status: int
) -> None:
    async with serving(store_url, data) as (gateway, one), dial(gateway) as wire:
        await wire.begin(method, path, "Content-Length: 2")
        await wire.send(b"{}")
        said = await wire.answer()
    error = said.error
    assert (said.status, error["type"], error["param"], error["code"]) == (status, "invalid_request_error", None, None)
    assert method in str(error["message"])
    assert "set-cookie" not in said.headers
    assert one.seen == []


async def test_a_path_that_would_break_a_header_in_two_is_refused_at_the_door(store_url: str, data: Path) -> None:
    async with serving(store_url, data) as (gateway, one), dial(gateway) as wire:
        await wire.begin("GET", "/v1/nothing%0d%0aset-cookie:a=b", "Content-Length: 2")
        await wire.send(b"{}")
        said = await wire.answer()
    assert (said.status, said.error["code"]) == (400, "bad_request")
    assert "set-cookie" not in said.headers
    assert one.seen == []


async def test_one_document_names_every_route(store_url: str, data: Path) -> None:
    async with serving(store_url, data) as (gateway, _), gateway.client() as client:
        answer = await client.get(f"{gateway.origin}/openapi.json")
    document = answer.json()
    methods = {path: set(operations) for path, operations in document["paths"].items()}
    assert methods == {
        "/v1/audio/transcriptions": {"post"},
        "/v1/audio/translations": {"post"},
        "/v1/audio/speech": {"post"},
        "/v1/audio/{path}": {"get", "post", "put", "patch", "delete"},
        "/v1/models": {"get"},
        "/v1/models/{model}": {"get"},
        "/v1/usage": {"get"},
        "/livez": {"get"},
        "/readyz": {"get"},
        "/healthz": {"get"},
        "/metrics": {"get"},
    }
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    names = [operation["operationId"] for operation in operations]
    assert len(set(names)) == len(names)
    assert document["openapi"].startswith("3.1")
    for path, row in document["paths"].items():
        for operation in row.values():
            assert ("security" in operation) == path.startswith("/v1/")
            assert "422" not in operation["responses"]


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/healthz"])
async def test_probes_need_no_key(store_url: str, data: Path, path: str) -> None:
    async with serving(store_url, data) as (gateway, _), dial(gateway) as wire:
        await wire.begin("GET", path, key="")
        said = await wire.answer()
    assert (said.status, said.json) == (200, {"status": "ok"})


async def test_metrics_are_told_without_a_key_and_name_no_secret(store_url: str, data: Path) -> None:
    async with serving(store_url, data) as (gateway, _), gateway.client() as client:
        await client.post("/audio/speech", json={"model": "tts-1", "input": "hello"})
        await gateway.records()
        await gateway.idle()
        async with dial(gateway) as wire:
            await wire.begin("GET", "/metrics", key="")
            said = await wire.answer()
    body = said.body.decode()
    assert said.status == 200
    assert said.headers["content-type"].startswith("text/plain")
    assert 'upstream="a"' in body
    assert gateway.key not in body
    assert "sk-secret" not in body


async def test_without_its_store_the_gateway_lives_and_is_not_ready(data: Path) -> None:
    async with mortal(data) as store, serving(store.url, data) as (gateway, one), dial(gateway) as wire:
        await store.kill()
        answers = {}
        for path in ("/livez", "/readyz", "/v1/models"):
            await wire.begin("GET", path)
            answers[path] = await wire.answer()
        body = b'{"model":"tts-1","input":"hello"}'
        speech = await wire.post("/v1/audio/speech", body, content_type="application/json")
    assert answers["/livez"].status == 200
    assert (answers["/readyz"].status, answers["/readyz"].error["code"]) == (503, "not_ready")
    for said in (answers["/v1/models"], speech):
        assert (said.status, said.error["code"], said.headers["retry-after"]) == (503, "store_unavailable", "1")
    assert one.seen == []


async def test_the_gateway_says_it_is_not_ready_while_it_shuts_down(store_url: str, data: Path) -> None:
    async with serving(store_url, data) as (gateway, _), dial(gateway) as wire:
        gateway.app.draining = True
        await wire.begin("GET", "/readyz")
        said = await wire.answer()
    assert (said.status, said.error["code"]) == (503, "not_ready")


async def test_every_upstream_may_be_left_out_of_a_key(store_url: str, data: Path) -> None:
    async with stub() as one:
        config = configured(data, upstream("a", one.url))
        config = replace(config, keys={"none": Key("none", "default", key_text(), upstreams=())})
        async with running(config, url=store_url) as gateway, gateway.client() as client:
            assert (await client.get("/models")).json()["data"] == []
