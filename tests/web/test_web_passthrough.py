"""Audio routes that we do not know: passed through as they are, still with a key, a price, limits and a record."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.config.model import Key
from gateway.policy.limits import Limit
from tests.running import WHISPER, configured, key_text, running, serving, upstream
from tests.stub import Answer, failed, said, stub
from tests.wire import END, FORM, dial, file, text

LIST = b'{"object":"list","data":[]}'


async def test_a_list_is_fetched_and_charged_per_request(store_url: str, data: Path) -> None:
    async with serving(store_url, data, Answer(pieces=(LIST,))) as (gateway, one), gateway.client() as client:
        answer = await client.get("/audio/voices?limit=2&after=v_1")
        (record,) = await gateway.records()
        await gateway.idle()
    assert (answer.status_code, answer.content) == (200, LIST)
    assert (one.seen[0].method, one.seen[0].target) == ("GET", "/v1/audio/voices?limit=2&after=v_1")
    assert one.seen[0].body == b""
    assert "content-type" not in one.seen[0].headers
    assert (record["route"], record["path"], record["cost_micro_usd"]) == ("other", "/v1/audio/voices", "1000")
    assert (record["model"], record["source"]) == ("", "none")


async def test_a_form_is_passed_on_byte_for_byte(store_url: str, data: Path) -> None:
    body = (
        text("name", "me")
        + text("language", "")
        + file(b"\x00\r\n--bogus\xff" * 1000, "A b.wav", name="audio_sample")
        + END
    )
    async with serving(store_url, data) as (gateway, one), dial(gateway) as wire:
        assert (await wire.post("/v1/audio/voices", body)).status == 200
        await gateway.records()
    assert bytes(one.seen[0].body) == body
    assert one.seen[0].headers["content-type"] == FORM
    assert int(one.seen[0].headers["content-length"]) == len(body)


async def test_a_deletion_has_no_body_either_way(store_url: str, data: Path) -> None:
    gone = Answer(status=204, pieces=())
    async with serving(store_url, data, gone) as (gateway, one), gateway.client() as client:
        answer = await client.delete("/audio/voices/voice_1")
        (record,) = await gateway.records()
    assert (answer.status_code, answer.content) == (204, b"")
    assert (one.seen[0].method, one.seen[0].target) == ("DELETE", "/v1/audio/voices/voice_1")
    assert (record["method"], record["status"]) == ("DELETE", "204")


@pytest.mark.parametrize("method", ["PUT", "PATCH", "OPTIONS", "PROPFIND"])
async def test_any_method_is_passed_through(store_url: str, data: Path, method: str) -> None:
    async with serving(store_url, data) as (gateway, one), gateway.client() as client:
        answer = await client.request(method, "/audio/voices/v_1", content=b'{"a":1}')
        await gateway.records()
    assert answer.status_code == 200
    assert (one.seen[0].method, bytes(one.seen[0].body)) == (method, b'{"a":1}')


async def test_a_body_of_unknown_length_goes_on_as_it_comes(store_url: str, data: Path) -> None:
    go_on = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield b"first"
        await go_on.wait()
        yield b"second"

    async with serving(store_url, data) as (gateway, one), gateway.client() as client:
        sending = asyncio.ensure_future(client.post("/audio/dubbing", content=body()))
        await (await one.request()).has(5)
        assert not one.seen[0].whole
        go_on.set()
        assert (await sending).status_code == 200
        await gateway.records()
    assert bytes(one.seen[0].body) == b"firstsecond"


@pytest.mark.parametrize(
    "query",
    [
        "a=1&a=2&b=",
        "q=a+b&r=a%20b",
        "text=%E4%BD%A0%2B1",
        "url=http%3A%2F%2Fx%2Fy",
    ],
)
async def test_a_query_is_kept_as_it_is(store_url: str, data: Path, query: str) -> None:
    async with serving(store_url, data) as (gateway, one), dial(gateway) as wire:
        await wire.begin("GET", f"/v1/audio/voices?{query}")
        assert (await wire.answer()).status == 200
        await gateway.records()
    assert one.seen[0].target == f"/v1/audio/voices?{query}"


@pytest.mark.parametrize(
    "path",
    [
        "/v1/audio/../chat/completions",
        "/v1/audio/%2e%2e/chat/completions",
        "/v1/audio/..%2f..%2fapi/user",
        "/v1/audio/voices/..",
        "/v1/audio/./transcriptions",
        "/v1/audio/x/../transcriptions",
        "/v1/audio/%74ranscriptions/..",
        "/v1/audio/transcriptions%2F..%2F..%2Fchat",
    ],
)
async def test_nobody_climbs_out_of_the_audio_routes(store_url: str, data: Path, path: str) -> None:
    async with serving(store_url, data) as (gateway, one), dial(gateway) as wire:
        await wire.begin("POST", path, "Content-Length: 0")
        said = await wire.answer()
        await gateway.idle()
    assert said.status == 404
    assert said.error["message"] == f"Invalid URL (POST {path})"
    assert one.seen == []


@pytest.mark.parametrize("name", ["a%2Fb", "x%3Fadmin=1", "%23x", "a%25b"])
async def test_an_escaped_character_in_a_path_stays_escaped_or_is_refused(
    store_url: str, data: Path, name: str
) -> None:
    async with serving(store_url, data) as (gateway, one), dial(gateway) as wire:
        await wire.begin("GET", f"/v1/audio/voices/{name}")
        answer = await wire.answer()
        await gateway.idle()
    targets = [seen.target for seen in one.seen]
    assert (answer.status, targets) in [(200, [f"/v1/audio/voices/{name}"]), (404, [])]


@pytest.mark.parametrize(
    "path",
    [
        "/v1/audio/transcriptions/",
        "/v1/audio//transcriptions",
    ],
)
async def test_a_known_route_in_another_spelling_is_no_way_round_its_price(
    store_url: str, data: Path, path: str
) -> None:
    body = text("model", "whisper-1") + file(b"x" * 5000) + END
    async with serving(store_url, data) as (gateway, one), dial(gateway) as wire:
        answer = await wire.post(path, body)
        await gateway.idle()
        routes = [record["route"] for record in await gateway.records(len(one.seen))]
    assert answer.status == 404 or routes == ["transcription"]


async def test_without_a_price_nothing_is_passed_through(store_url: str, data: Path) -> None:
    prices = {"whisper-1": WHISPER, "*": WHISPER}  # a glob for models is no price for routes without one
    async with serving(store_url, data, prices=prices) as (gateway, one), dial(gateway) as wire:
        await wire.begin("GET", "/v1/audio/voices")
        said_ = await wire.answer()
        await gateway.idle()
    assert (said_.status, said_.error["code"]) == (403, "upstream_not_allowed")
    assert one.seen == []


async def test_without_a_key_nothing_is_passed_through(store_url: str, data: Path) -> None:
    async with serving(store_url, data) as (gateway, one), dial(gateway) as wire:
        await wire.begin("GET", "/v1/audio/voices", key="")
        assert (await wire.answer()).status == 401
    assert one.seen == []


async def test_limits_count_here_too(store_url: str, data: Path) -> None:
    keys = {"alice": Key("alice", "default", key_text(), limits=(Limit("requests", "day", 1),))}
    async with serving(store_url, data, keys=keys) as (gateway, one), gateway.client() as client:
        assert (await client.get("/audio/voices")).status_code == 200
        await gateway.records()
        refused = await client.get("/audio/voices")
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "insufficient_quota")
    assert len(one.seen) == 1


async def test_what_the_upstream_says_of_an_unknown_route_is_passed_on(store_url: str, data: Path) -> None:
    async with serving(store_url, data, failed(404, "Invalid URL (GET /v1/audio/x)", type="invalid_request_error")) as (
        gateway,
        _,
    ):
        async with gateway.client() as client:
            answer = await client.get("/audio/x")
        (record,) = await gateway.records()
    assert answer.status_code == 404
    assert answer.json()["error"]["message"] == "Invalid URL (GET /v1/audio/x)"
    assert record["cost_micro_usd"] == "0"


async def test_an_upstream_without_such_routes_is_passed_over(store_url: str, data: Path) -> None:
    async with stub() as one, stub() as two:
        two.answers = [said("from two")]
        can = upstream("a", one.url).can
        narrow = type(can)(routes=frozenset({"transcription"}))
        config = configured(data, upstream("a", one.url, can=narrow), upstream("b", two.url, priority=2))
        async with running(config, url=store_url) as gateway, gateway.client() as client:
            assert (await client.get("/audio/voices")).json() == {"text": "from two"}
            await gateway.records()
    assert one.seen == []
