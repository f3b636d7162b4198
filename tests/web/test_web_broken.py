"""Answers that stop before their end, and what of headers and codings passes the gateway."""

import asyncio
import json
from pathlib import Path

import pytest

from tests.running import configured, running, serving, upstream
from tests.stub import Answer, said, stub
from tests.wire import END, MODEL, Said, dial, file

BODY = MODEL + file(b"not really sound" * 100) + END
TARGET = "/v1/audio/transcriptions"
SPEECH = b'{"model":"tts-1","input":"hello","voice":"x"}'


async def answer_that_stops(store_url: str, data: Path, answer: Answer) -> tuple[Said, dict[str, str]]:
    async with stub() as one:
        one.answers = [answer]
        config = configured(data, upstream("a", one.url, idle_timeout=0.2))
        async with running(config, url=store_url) as gateway, dial(gateway) as wire:
            got = await wire.post("/v1/audio/speech", SPEECH, content_type="application/json")
            (record,) = await gateway.records()
            await gateway.idle()
    return got, record


STOPPING = {
    "cut off in chunks": Answer(pieces=(b"abc", b"def"), content_type="audio/mpeg", chunked=True, cut=True),
    "cut off before its length": Answer(
        pieces=(b"abc", b"def"), headers={"content-length": "99"}, content_type="audio/mpeg", cut=True
    ),
    "silent in the middle": Answer(pieces=(b"abcdef", b"x"), content_type="audio/mpeg", gate=asyncio.Event()),
}


@pytest.mark.parametrize("answer", STOPPING.values(), ids=STOPPING)
async def test_an_answer_that_stops_is_never_taken_for_whole(store_url: str, data: Path, answer: Answer) -> None:
    got, record = await answer_that_stops(store_url, data, answer)
    assert (got.status, bytes(got.body), got.whole) == (200, b"abcdef", False)
    assert (record["error"], record["cost_micro_usd"], record["bytes_out"]) == ("upstream_failed", "75", "6")


async def test_events_that_stop_end_with_an_error_event(store_url: str, data: Path) -> None:
    event = b'data: {"type":"speech.audio.delta","audio":"AAAA"}\n\n'
    events = Answer(pieces=(event,), content_type="text/event-stream", chunked=True, cut=True)
    got, record = await answer_that_stops(store_url, data, events)
    assert got.whole
    assert got.body.startswith(event)
    error = json.loads(got.body.removeprefix(event).removeprefix(b"data: "))["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["code"] == record["error"] == "upstream_failed"
    assert got.body.endswith(b"\n\n")


async def test_events_that_stop_in_the_middle_of_one_are_never_taken_for_whole(store_url: str, data: Path) -> None:
    half = b'data: {"type":"speech.audio.delta","au'
    events = Answer(pieces=(half,), content_type="text/event-stream", chunked=True, cut=True)
    got, _ = await answer_that_stops(store_url, data, events)
    last = got.body.decode().strip().split("\n\n")[-1]
    assert not got.whole or json.loads(last.removeprefix("data: "))["error"]["code"] == "upstream_failed"


async def test_events_of_a_stated_length_that_stop_are_never_taken_for_whole(store_url: str, data: Path) -> None:
    events = Answer(
        pieces=(b"data: {}\n\n",), headers={"content-length": "99"}, content_type="text/event-stream", cut=True
    )
    got, record = await answer_that_stops(store_url, data, events)
    assert not got.whole or b"upstream_failed" in got.body
    assert record["error"] == "upstream_failed"


async def test_only_the_headers_that_may_pass_do(store_url: str, data: Path) -> None:
    answer = said()
    answer.headers = {
        "set-cookie": "a=b",
        "server": "nginx/of-the-upstream",
        "x-request-id": "req_upstream",
        "x-oneapi-request-id": "2026",
        "openai-organization": "org-upstream",
        "x-ratelimit-limit-requests": "9",
        "openai-processing-ms": "12",
        "via": "1.1 cdn",
    }
    secrets = {
        "Cookie": "session=1",
        "OpenAI-Organization": "org-1",
        "OpenAI-Project": "proj-1",
        "X-Forwarded-For": "10.0.0.1",
        "X-Real-IP": "10.0.0.1",
        "Forwarded": "for=10.0.0.1",
        "api-key": "k",
        "x-api-key": "k",
        "X-Stainless-Lang": "python",
        "Referer": "http://intranet/",
        "Accept": "application/json",
        "Accept-Encoding": "gzip",
        "User-Agent": "secret-app/1",
        "OpenAI-Beta": "x=v1",
        "Proxy-Authorization": "Basic YTpi",
    }
    async with serving(store_url, data, answer) as (gateway, one), dial(gateway) as wire:
        got = await wire.post(TARGET, BODY, *(f"{name}: {value}" for name, value in secrets.items()))
        (record,) = await gateway.records()
    sent = one.seen[0].headers
    ours = {"host", "accept-encoding", "user-agent", "authorization", "content-type", "content-length"}
    assert set(sent) == ours | {"accept", "openai-beta"}
    assert (sent["accept-encoding"], sent["authorization"]) == ("identity", "Bearer sk-secret-of-a")
    assert sent["user-agent"] == "audiogate"
    back = {"content-type", "content-length", "openai-processing-ms", "openai-version", "x-request-id", "date"}
    assert set(got.headers) == back
    assert got.headers["x-request-id"] == record["id"]
    assert record["upstream_request"] == "2026"


async def test_an_answer_that_is_compressed_all_the_same_is_passed_on_as_it_is(store_url: str, data: Path) -> None:
    answer = Answer(headers={"content-encoding": "gzip"}, pieces=(b"\x1f\x8b not really",))
    async with serving(store_url, data, answer) as (gateway, _), dial(gateway) as wire:
        got = await wire.post(TARGET, BODY)
        await gateway.records()
    assert (got.headers["content-encoding"], bytes(got.body)) == ("gzip", b"\x1f\x8b not really")
