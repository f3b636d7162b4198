"""The OpenAI SDK for Python, as anybody would use it; nothing but the base URL and the key are ours."""

import asyncio
import base64
import io
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import openai
import pytest

from gateway.config.model import Key, Uploads
from gateway.policy.limits import Limit
from tests.media import make
from tests.running import Running, key_text, serving
from tests.stub import Answer, Stub, failed, said

WAV = make("wav", 1.0)


@asynccontextmanager
async def sdk(
    store_url: str, data: Path, *answers: Answer, **more: Any
) -> AsyncIterator[tuple[openai.AsyncOpenAI, Running, Stub]]:
    """The asynchronous client of a gateway before one upstream."""
    async with (
        serving(store_url, data, *answers, **more) as (gateway, one),
        openai.AsyncOpenAI(base_url=gateway.url, api_key=gateway.key, max_retries=0, timeout=20) as client,
    ):
        yield client, gateway, one


def file_of(how: str, folder: Path) -> Any:
    """A file argument, and what it needs of the disk."""
    path = folder / "Recording No 1.wav"
    path.write_bytes(WAV)
    if how == "an open file":
        return path.open("rb")
    return {"a path": path, "bytes": WAV, "a buffer": io.BytesIO(WAV), "a tuple": ("a/b.MP3", WAV, "audio/mpeg")}[how]


FILES = ["an open file", "a path", "bytes", "a buffer", "a tuple"]


@pytest.mark.parametrize("how", FILES)
async def test_any_kind_of_file_is_transcribed(store_url: str, data: Path, tmp_path: Path, how: str) -> None:
    file = file_of(how, tmp_path)
    async with sdk(store_url, data, said("hello", usage={"type": "duration", "seconds": 1})) as (client, gateway, one):
        got = await client.audio.transcriptions.create(model="whisper-1", file=file, language="en", temperature=0.2)
        await gateway.records()
    if how == "an open file":
        file.close()
    assert (got.text, got.usage.type) == ("hello", "duration")  # type: ignore[union-attr]
    fields = one.seen[0].fields
    assert (dict(fields)["model"], dict(fields)["language"], fields[-1]) == (b"whisper-1", b"en", ("file", WAV))
    part = one.seen[0].parts[-1]
    assert (part.get_filename(), part.get_content_type()) == ("audio.wav", "audio/wav")


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")  # so the SDK calls translations
@pytest.mark.parametrize("how", FILES)
async def test_the_synchronous_client_does_the_same(store_url: str, data: Path, tmp_path: Path, how: str) -> None:
    def work(url: str, key: str) -> str:
        file = file_of(how, tmp_path)
        with openai.OpenAI(base_url=url, api_key=key, max_retries=0, timeout=20) as client:
            text = client.audio.translations.create(model="whisper-1", file=file).text
        if how == "an open file":
            file.close()
        return text

    async with serving(store_url, data) as (gateway, one):
        assert await asyncio.to_thread(work, gateway.url, gateway.key) == "hello"
        (record,) = await gateway.records()
    assert record["route"] == "translation"
    assert one.seen[0].fields[-1] == ("file", WAV)


FORMATS = {
    "json": ("application/json", '{"text":"hé"}'),
    "text": ("text/plain; charset=utf-8", "hé\n"),
    "srt": ("text/plain; charset=utf-8", "1\n00:00:00,000 --> 00:00:01,000\nhé\n\n"),
    "vtt": ("text/vtt", "WEBVTT\n\n00:00.000 --> 00:01.000\nhé\n"),
    "verbose_json": (
        "application/json",
        '{"task":"transcribe","language":"french","duration":1.0,"text":"hé","segments":[{"id":0,"seek":0,"start":0.0,'
        '"end":1.0,"text":"hé","tokens":[1],"temperature":0.0,"avg_logprob":-0.1,"compression_ratio":1.0,'
        '"no_speech_prob":0.0}],"words":[{"word":"hé","start":0.0,"end":1.0}]}',
    ),
    "diarized_json": (
        "application/json",
        '{"task":"transcribe","duration":1.0,"text":"hé","segments":[{"type":"transcript.text.segment","id":"s0",'
        '"start":0.0,"end":1.0,"text":"hé","speaker":"A"}]}',
    ),
}


@pytest.mark.parametrize(("name", "content_type", "body"), [(name, *row) for name, row in FORMATS.items()])
async def test_every_format_comes_through_byte_for_byte(
    store_url: str, data: Path, name: Any, content_type: str, body: str
) -> None:
    answer = Answer(pieces=(body.encode(),), content_type=content_type)
    async with sdk(store_url, data, answer, answer) as (client, gateway, one):
        create = client.audio.transcriptions.with_raw_response.create
        raw = await create(model="whisper-1", file=WAV, response_format=name)
        got: Any = await client.audio.transcriptions.create(model="whisper-1", file=WAV, response_format=name)
        await gateway.records(2)
    assert raw.http_response.content == body.encode()
    assert raw.headers["content-type"] == content_type
    assert (got if isinstance(got, str) else got.text).count("hé")
    assert dict(one.seen[0].fields)["response_format"] == name.encode()
    if name == "verbose_json":
        assert (got.duration, got.words[0].word, got.segments[0].id) == (1.0, "hé", 0)
    if name == "diarized_json":
        assert got.segments[0].speaker == "A"


async def test_every_parameter_reaches_the_upstream(store_url: str, data: Path) -> None:
    clip = "data:audio/wav;base64," + base64.b64encode(bytes(300_000)).decode()
    async with sdk(store_url, data) as (client, gateway, one):
        await client.audio.transcriptions.create(
            model="gpt-4o-transcribe",
            file=WAV,
            include=["logprobs"],
            timestamp_granularities=["word", "segment"],
            chunking_strategy={"type": "server_vad", "threshold": 0.4, "prefix_padding_ms": 200},
            known_speaker_names=["ann", "bob"],
            known_speaker_references=[clip, clip],
            prompt="line one\nline two",
            extra_body={"vendor_option": True, "hotwords": ["a", "b"]},
            extra_query={"tier": "gold", "q": "a b"},
            extra_headers={"X-Secret": "1"},
        )
        await gateway.records()
    seen = one.seen[0]
    fields = seen.fields
    assert fields[-1] == ("file", WAV)
    assert [value for name, value in fields if name == "known_speaker_references[]"] == [clip.encode()] * 2
    found = {name: value for name, value in fields if "reference" not in name}
    assert found["include[]"] == b"logprobs"
    assert [value for name, value in fields if name == "timestamp_granularities[]"] == [b"word", b"segment"]
    assert found["chunking_strategy[threshold]"] == b"0.4"
    assert found["vendor_option"] == b"true"
    assert found["prompt"] == b"line one\nline two"
    assert seen.target.startswith("/v1/audio/transcriptions?tier=gold&q=a")
    assert "x-secret" not in seen.headers
    assert not [name for name in seen.headers if name.startswith("x-stainless")]


async def test_a_transcript_is_streamed_as_it_is_made(store_url: str, data: Path) -> None:
    delta = b'data: {"type":"transcript.text.delta","delta":"hel"}\n\n'
    done = b': still here\n\ndata: {"type":"transcript.text.done","text":"hello"}\n\ndata: [DONE]\n\n'
    events = Answer(pieces=(delta, done), content_type="text/event-stream", gate=asyncio.Event())
    async with sdk(store_url, data, events) as (client, gateway, one):
        stream = await client.audio.transcriptions.create(model="gpt-4o-transcribe", file=WAV, stream=True)
        first = await anext(stream)
        assert first.type == "transcript.text.delta"
        assert events.gate is not None
        events.gate.set()
        rest = [event.type async for event in stream]
        await gateway.records()
    assert rest == ["transcript.text.done"]
    assert dict(one.seen[0].fields)["stream"] == b"true"


async def test_an_upstream_that_fails_in_mid_stream_is_an_api_error(store_url: str, data: Path) -> None:
    delta = b'data: {"type":"transcript.text.delta","delta":"hel"}\n\n'
    events = Answer(pieces=(delta,), content_type="text/event-stream", chunked=True, cut=True)
    async with sdk(store_url, data, events) as (client, gateway, _):
        stream = await client.audio.transcriptions.create(model="gpt-4o-transcribe", file=WAV, stream=True)
        with pytest.raises(openai.APIError) as caught:
            [event async for event in stream]
        await gateway.records()
    assert caught.value.code == "upstream_failed"


async def test_speech_is_read_whole(store_url: str, data: Path, tmp_path: Path) -> None:
    mp3 = make("mp3", 1.0)
    async with sdk(store_url, data, Answer(pieces=(mp3,), content_type="audio/mpeg")) as (client, gateway, one):
        got = await client.audio.speech.create(
            model="tts-1", input="héllo", voice={"id": "voice_1"}, instructions="slowly", speed=1.5
        )
        got.write_to_file(tmp_path / "x.mp3")
        await gateway.records()
    assert got.content == mp3 == (tmp_path / "x.mp3").read_bytes()
    asked = {"model": "tts-1", "input": "héllo", "voice": {"id": "voice_1"}, "instructions": "slowly", "speed": 1.5}
    assert one.seen[0].json == asked


async def test_the_first_sound_of_speech_is_heard_before_the_last_is_made(store_url: str, data: Path) -> None:
    sound = Answer(pieces=(b"ID3first", b"last"), content_type="audio/mpeg", gate=asyncio.Event())
    async with sdk(store_url, data, sound) as (client, gateway, _):
        speech = client.audio.speech.with_streaming_response
        async with speech.create(model="tts-1", input="hello", voice="alloy", response_format="mp3") as got:
            assert got.headers["content-type"] == "audio/mpeg"
            pieces = got.iter_bytes()
            first = await anext(pieces)
            assert sound.gate is not None
            sound.gate.set()
            rest = [piece async for piece in pieces]
        await gateway.records()
    assert (first, b"".join(rest)) == (b"ID3first", b"last")


async def test_speech_as_events_is_passed_on(store_url: str, data: Path) -> None:
    body = b'data: {"type":"speech.audio.delta","audio":"AAAA"}\n\ndata: {"type":"speech.audio.done","usage":{}}\n\n'
    async with sdk(store_url, data, Answer(pieces=(body,), content_type="text/event-stream")) as (client, gateway, one):
        speech = client.audio.speech.with_streaming_response
        async with speech.create(model="tts-1", input="hello", voice="alloy", stream_format="sse") as got:
            lines = [line async for line in got.iter_lines() if line]
        await gateway.records()
    assert "\n\n".join(lines) + "\n\n" == body.decode()
    assert one.seen[0].json["stream_format"] == "sse"


async def test_models_can_be_listed_and_fetched(store_url: str, data: Path) -> None:
    async with sdk(store_url, data) as (client, _, _):
        listed = [model.id async for model in client.models.list()]
        one = await client.models.retrieve("tts-1")
        with pytest.raises(openai.NotFoundError):
            await client.models.retrieve("gpt-9")
    assert listed == ["whisper-1", "gpt-4o-transcribe", "tts-1"]
    assert (one.id, one.owned_by) == ("tts-1", "audiogate")


Call = Callable[[openai.AsyncOpenAI], Any]


def heard(model: str = "whisper-1", file: bytes = WAV, **more: Any) -> Call:
    return lambda client: client.audio.transcriptions.create(model=model, file=file, **more)


def other_key(client: openai.AsyncOpenAI) -> Any:
    return heard()(client.with_options(api_key=key_text(77)))


ERRORS: dict[str, tuple[Call, Answer, type[openai.APIStatusError], int, str | None, str]] = {
    "a bad format": (heard(response_format="xml"), said(), openai.BadRequestError, 400, "invalid_value", "'xml'"),
    "a wrong key": (other_key, said(), openai.AuthenticationError, 401, "invalid_api_key", "Incorrect API key"),
    "no such model": (heard("gpt-9"), said(), openai.NotFoundError, 404, "model_not_found", "`gpt-9`"),
    "too large": (heard(file=bytes(400_000)), said(), openai.APIStatusError, 413, None, "Maximum content size"),
    "no quota": (heard("tts-1"), said(), openai.RateLimitError, 429, "insufficient_quota", "key alice"),
    "a broken upstream": (heard(), failed(500), openai.InternalServerError, 502, "upstream_failed", "upstream failed"),
    "no upstream": (heard(), Answer(refuse=True), openai.InternalServerError, 503, "upstream_unreachable", "reached"),
    "a refusing upstream": (heard(), failed(401), openai.InternalServerError, 502, "upstream_refused", "key is fine"),
    "the upstream's word": (heard(), failed(400, "too short"), openai.BadRequestError, 400, None, "too short"),
}


@pytest.mark.parametrize(("call", "answer", "kind", "status", "code", "words"), ERRORS.values(), ids=ERRORS)
async def test_errors_are_what_the_sdk_makes_of_openais(
    store_url: str,
    data: Path,
    call: Call,
    answer: Answer,
    kind: type[openai.APIStatusError],
    status: int,
    code: str | None,
    words: str,
) -> None:
    limits = (Limit("requests", "day", 0),) if code == "insufficient_quota" else ()
    keys = {"alice": Key("alice", "default", key_text(), limits=limits)}
    more: dict[str, Any] = {"keys": keys, "uploads": Uploads(max_bytes=300_000)}
    async with sdk(store_url, data, answer, **more) as (client, gateway, _):
        with pytest.raises(kind) as caught:
            await call(client)
        await gateway.idle()
    error = caught.value
    assert (error.status_code, error.code) == (status, code)
    assert words in error.message
    assert (error.request_id or "").startswith("req_")
    assert isinstance(error.body, dict)
    assert set(error.body) == {"message", "type", "param", "code"}


async def test_the_sdk_asks_again_for_speech_and_not_for_forms(store_url: str, data: Path) -> None:
    async with sdk(store_url, data, failed(500)) as (client, gateway, one):
        patient = client.with_options(max_retries=1)
        with pytest.raises(openai.InternalServerError):
            await patient.audio.transcriptions.create(model="whisper-1", file=WAV)
        assert len(one.seen) == 2  # the gateway itself tries twice
        with pytest.raises(openai.InternalServerError):
            await patient.audio.speech.create(model="tts-1", input="hi", voice="alloy")
        assert len(one.seen) == 2 + 2 * 2
        await gateway.records(3)


async def test_a_hundred_at_once_do_not_mix(store_url: str, data: Path) -> None:
    async with sdk(store_url, data) as (client, gateway, one):
        texts = [f"text {number}" for number in range(100)]
        asking = (client.audio.speech.create(model="tts-1", input=text, voice="alloy") for text in texts)
        await asyncio.gather(*asking)
        records = await gateway.records(100)
        await gateway.idle()
    assert sorted(str(json.loads(seen.body)["input"]) for seen in one.seen) == sorted(texts)
    assert len({record["id"] for record in records}) == 100
