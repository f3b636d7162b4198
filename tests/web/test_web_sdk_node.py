"""The OpenAI SDK for Node, which sends streams without a length, the file before the model."""

import asyncio
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from gateway.config.model import Uploads
from tests.media import make
from tests.running import Running, serving
from tests.stub import Answer, failed, said

NODE = Path(__file__).parent.parent / "node"
pytestmark = [
    pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed"),
    pytest.mark.skipif(not (NODE / "node_modules" / "openai").exists(), reason="tests/node has no node_modules"),
]
WAV = make("wav", 2.0)


@pytest.fixture
def audio(tmp_path: Path) -> Path:
    """A recording on disk."""
    path = tmp_path / "recording.wav"
    path.write_bytes(WAV)
    return path


async def node(gateway: Running, scenario: str, audio: Path) -> Any:
    """What a scenario of tests/node/sdk.mjs printed."""
    program = await asyncio.create_subprocess_exec(
        "node", str(NODE / "sdk.mjs"), scenario,
        env={"PATH": os.environ["PATH"], "BASE_URL": gateway.url, "API_KEY": gateway.key, "AUDIO": str(audio)},
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, problems = await program.communicate()
    assert program.returncode == 0, problems.decode()
    return json.loads(out)


@pytest.mark.parametrize("kind", ["openai", "newapi"])
async def test_a_read_stream_is_transcribed(store_url: str, data: Path, audio: Path, kind: str) -> None:
    async with serving(store_url, data, kind=kind) as (gateway, one):
        assert await node(gateway, "stream", audio) == {"text": "hello"}
        (record,) = await gateway.records()
    seen = one.seen[0]
    assert seen.fields == [("file", WAV), ("model", b"whisper-1"), ("language", b"en")]
    assert (seen.parts[0].get_filename(), seen.parts[0].get_content_type()) == ("audio.wav", "audio/wav")
    assert int(seen.headers["content-length"]) == len(seen.body)  # the file came first, so it was whole by then
    assert (record["audio_ms"], record["source"]) == ("2000", "packets")


async def test_files_are_transcribed(store_url: str, data: Path, audio: Path) -> None:
    plain = Answer(pieces=(b"three\n",), content_type="text/plain; charset=utf-8")
    async with serving(store_url, data, said("one"), said("two"), plain) as (gateway, one):
        assert await node(gateway, "files", audio) == ["one", "two", "three\n"]
        await gateway.records(3)
    assert [dict(seen.fields)["file"] == WAV for seen in one.seen] == [True] * 3


async def test_every_option_reaches_the_upstream(store_url: str, data: Path, audio: Path) -> None:
    async with serving(store_url, data) as (gateway, one):
        await node(gateway, "options", audio)
        await gateway.records()
    fields = one.seen[0].fields
    found = dict(fields)
    assert found["prompt"] in (b"one\ntwo", b"one\r\ntwo")
    assert [value for name, value in fields if name == "timestamp_granularities[]"] == [b"word", b"segment"]
    assert (found["include[]"], found["chunking_strategy[threshold]"]) == (b"logprobs", b"0.4")
    assert len(found["known_speaker_references[]"]) == 300_022


EVENTS = (
    b'data: {"type":"transcript.text.delta","delta":"hel"}\n\n',
    b'data: {"type":"transcript.text.done","text":"hello"}\n\n',
)


async def test_events_arrive(store_url: str, data: Path, audio: Path) -> None:
    events = Answer(pieces=EVENTS, content_type="text/event-stream", chunked=True)
    async with serving(store_url, data, events) as (gateway, _):
        got = await node(gateway, "events", audio)
        await gateway.records()
    assert got == {"types": ["transcript.text.delta", "transcript.text.done"]}


async def test_events_that_stop_are_an_api_error(store_url: str, data: Path, audio: Path) -> None:
    events = Answer(pieces=EVENTS[:1], content_type="text/event-stream", chunked=True, cut=True)
    async with serving(store_url, data, events) as (gateway, _):
        got = await node(gateway, "events", audio)
        await gateway.records()
    assert (got["types"], got["name"], got["code"]) == (["transcript.text.delta"], "APIError", "upstream_failed")


async def test_speech_is_heard(store_url: str, data: Path, audio: Path) -> None:
    speech = Answer(pieces=tuple(bytes(9000) for _ in range(20)), content_type="audio/mpeg", chunked=True)
    async with serving(store_url, data, speech) as (gateway, one):
        assert await node(gateway, "speech", audio) == {"type": "audio/mpeg", "size": 180_000}
        (record,) = await gateway.records()
    assert one.seen[0].json == {"model": "tts-1", "voice": "alloy", "input": "héllo"}
    assert record["characters"] == "5"


async def test_models_are_listed(store_url: str, data: Path, audio: Path) -> None:
    async with serving(store_url, data) as (gateway, _):
        got = await node(gateway, "models", audio)
    assert (got["names"], got["one"]) == (["whisper-1", "gpt-4o-transcribe", "tts-1"], "tts-1")
    assert (got["none"]["name"], got["none"]["status"]) == ("NotFoundError", 404)


async def test_errors_are_what_the_sdk_makes_of_openais(store_url: str, data: Path, audio: Path) -> None:
    uploads = Uploads(max_bytes=1_000_000)
    async with serving(store_url, data, failed(401), uploads=uploads) as (gateway, one):
        got = await node(gateway, "errors", audio)
        await gateway.idle()
        assert await gateway.cost() == 0
    assert {name: (row["name"], row["status"], row["code"]) for name, row in got.items()} == {
        "key": ("AuthenticationError", 401, "invalid_api_key"),
        "model": ("NotFoundError", 404, "model_not_found"),
        "format": ("BadRequestError", 400, "invalid_value"),
        "input": ("BadRequestError", 400, "missing_required_parameter"),
        "large": ("APIError", 413, None),
        "upstream": ("InternalServerError", 502, "upstream_refused"),
    }
    assert all(row["requestID"].startswith("req_") for row in got.values())
    assert got["input"]["param"] == "input"
    assert len([seen for seen in one.seen if seen.whole]) == 1


async def test_a_form_that_nobody_could_serve_is_sent_once(store_url: str, data: Path, audio: Path) -> None:
    async with serving(store_url, data, failed(500)) as (gateway, one):
        got = await node(gateway, "patient", audio)
        await gateway.records()
    assert (got["status"], len(one.seen)) == (502, 2)  # the gateway itself tried twice


async def test_a_download_that_is_cancelled_frees_the_upstream(store_url: str, data: Path, audio: Path) -> None:
    endless = Answer(pieces=(b"ID3", b"never"), content_type="audio/mpeg", gate=asyncio.Event())
    async with serving(store_url, data, endless) as (gateway, one):
        assert await node(gateway, "cancelled", audio) == {"size": 3}
        async with asyncio.timeout(2):
            await one.seen[0].closed.wait()
        (record,) = await gateway.records()
        await gateway.idle()
    assert (record["status"], record["error"]) == ("499", "client_gone")
