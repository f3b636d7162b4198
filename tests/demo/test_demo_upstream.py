"""The demo upstream over real sockets, mostly as OpenAI's own SDK sees it."""

import asyncio
import base64
import io
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import wave
from collections.abc import Iterator

import httpx2
import openai
import pytest
import uvicorn

from gateway.demo.engines import Engines, Speaker, Transcriber
from gateway.demo.sample import SENTENCE, sample_path
from gateway.demo.sound import CONTENT_TYPES, Sound, decode
from gateway.demo.upstream import create_upstream

KEY = "sk-demo-1"
SAID = "this is a short test"


class Running:
    """The upstream in a thread, at `url`."""

    def __init__(self, *, key: str | None, engines: Engines) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        config = uvicorn.Config(create_upstream(key=key, engines=engines), log_level="error")
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.socket]})

    def __enter__(self) -> "Running":
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.should_exit = True
        self.thread.join(10)
        self.socket.close()


@pytest.fixture(scope="module")
def transcriber() -> Transcriber:
    return Transcriber()


@pytest.fixture(scope="module")
def upstream(transcriber: Transcriber) -> Iterator[str]:
    with Running(key=KEY, engines=Engines(transcriber=transcriber)) as running:
        yield running.url


@pytest.fixture
def sdk(upstream: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{upstream}/v1", api_key=KEY, max_retries=0, timeout=30) as client:
        yield client


@pytest.fixture
def http(upstream: str) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=upstream, headers={"authorization": f"Bearer {KEY}"}, timeout=30) as client:
        yield client


@pytest.fixture(scope="module")
def clip() -> tuple[str, bytes]:
    """The first words of the sample, two seconds long, as a file to upload."""
    return "clip.wav", in_wav(decode(sample_path().read_bytes()), seconds=1.6)


def in_wav(sound: Sound, *, seconds: float) -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sound.rate)
        file.writeframes(sound.samples[: 2 * round(sound.rate * seconds)])
    return out.getvalue()


Clip = tuple[str, bytes]


def events(body: str) -> list[dict[str, object]]:
    return [json.loads(block.removeprefix("data: ")) for block in body.split("\n\n") if block]


# Transcriptions


def test_the_sample_comes_back_word_for_word(sdk: openai.OpenAI) -> None:
    answer = sdk.audio.transcriptions.create(model="whisper-1", file=sample_path())
    assert answer.text == SENTENCE.lower().replace(",", "").rstrip(".")
    assert answer.usage is not None
    assert answer.usage.type == "duration"
    assert answer.usage.seconds == pytest.approx(5, abs=0.5)


@pytest.mark.parametrize("model", ["gpt-4o-transcribe", "gpt-4o-mini-transcribe", "gpt-4o-transcribe-diarize"])
def test_every_model_transcribes(sdk: openai.OpenAI, clip: Clip, model: str) -> None:
    assert sdk.audio.transcriptions.create(model=model, file=clip).text.startswith(SAID)


def test_text_is_the_text_and_a_line_end(http: httpx2.Client, clip: Clip) -> None:
    answer = http.post(
        "/v1/audio/transcriptions", data={"model": "whisper-1", "response_format": "text"}, files={"file": clip}
    )
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.text.startswith(SAID)
    assert answer.text.endswith("\n")
    assert re.fullmatch("req_[0-9a-f]{32}", answer.headers["x-request-id"])


def test_srt_numbers_its_cues(sdk: openai.OpenAI, clip: Clip) -> None:
    answer = sdk.audio.transcriptions.create(model="whisper-1", file=clip, response_format="srt")
    cue = r"1\n00:00:00,\d{3} --> 00:00:01,\d{3}\n" + SAID + r"[a-z ]*\n\n"
    assert re.fullmatch(cue, answer)


def test_vtt_has_its_header(sdk: openai.OpenAI, clip: Clip) -> None:
    answer = sdk.audio.transcriptions.create(model="whisper-1", file=clip, response_format="vtt")
    assert re.fullmatch(r"WEBVTT\n\n00:00:00\.\d{3} --> 00:00:01\.\d{3}\n" + SAID + r"[a-z ]*\n\n", answer)


def test_verbose_json_has_segments_unless_words_are_asked_for(sdk: openai.OpenAI, clip: Clip) -> None:
    answer = sdk.audio.transcriptions.create(model="whisper-1", file=clip, response_format="verbose_json")
    assert (answer.language, answer.duration, answer.words) == ("english", 1.6, None)
    assert answer.usage is not None
    assert answer.usage.seconds == 1.6
    assert answer.segments is not None
    assert [segment.text for segment in answer.segments] == [answer.text]
    assert 0 <= answer.segments[0].start < answer.segments[0].end <= 1.6


@pytest.mark.parametrize("asked", [["word"], ["word", "segment"]])
def test_verbose_json_has_the_words_when_asked(sdk: openai.OpenAI, clip: Clip, asked: list[str]) -> None:
    answer = sdk.audio.transcriptions.create(
        model="whisper-1",
        file=clip,
        response_format="verbose_json",
        timestamp_granularities=asked,  # type: ignore[arg-type]
    )
    assert answer.words is not None
    assert " ".join(word.word for word in answer.words) == answer.text
    assert (answer.segments is not None) == ("segment" in asked)


def test_diarized_json_names_one_speaker(sdk: openai.OpenAI, clip: Clip) -> None:
    answer = sdk.audio.transcriptions.create(
        model="gpt-4o-transcribe-diarize", file=clip, response_format="diarized_json", chunking_strategy="auto"
    )
    assert [(segment.speaker, segment.id) for segment in answer.segments] == [("A", "seg_0")]
    assert answer.segments[0].text == answer.text
    assert answer.duration == 1.6


def test_a_stream_has_a_delta_per_segment_and_an_end(sdk: openai.OpenAI, clip: Clip) -> None:
    sound = decode(clip[1])
    twice = Sound(sound.samples + bytes(3 * sound.rate) + sound.samples, sound.rate)
    file = ("twice.wav", in_wav(twice, seconds=twice.seconds))
    with sdk.audio.transcriptions.create(model="gpt-4o-transcribe", file=file, stream=True) as stream:
        seen = list(stream)
    *deltas, done = seen
    assert [event.type for event in deltas] == ["transcript.text.delta"] * 2
    assert done.type == "transcript.text.done"
    assert "".join(event.delta for event in deltas if event.type == "transcript.text.delta") == done.text
    assert done.usage is not None
    assert done.usage.input_tokens == round(twice.seconds * 10)
    assert done.usage.total_tokens == done.usage.input_tokens + done.usage.output_tokens


def test_the_diarizing_model_streams_its_segments(sdk: openai.OpenAI, clip: Clip) -> None:
    with sdk.audio.transcriptions.create(
        model="gpt-4o-transcribe-diarize", file=clip, response_format="diarized_json", stream=True
    ) as stream:
        seen = list(stream)
    kinds = [event.type for event in seen]
    assert kinds == ["transcript.text.delta", "transcript.text.segment", "transcript.text.done"]


def test_a_stream_is_plain_server_sent_events(http: httpx2.Client, clip: Clip) -> None:
    answer = http.post(
        "/v1/audio/transcriptions", data={"model": "gpt-4o-transcribe", "stream": "true"}, files={"file": clip}
    )
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert [event["type"] for event in events(answer.text)] == ["transcript.text.delta", "transcript.text.done"]


def test_whisper_ignores_the_wish_to_stream(http: httpx2.Client, clip: Clip) -> None:
    answer = http.post("/v1/audio/transcriptions", data={"model": "whisper-1", "stream": "true"}, files={"file": clip})
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["text"].startswith(SAID)


def test_a_translation_is_what_was_said(sdk: openai.OpenAI, clip: Clip) -> None:
    assert sdk.audio.translations.create(model="whisper-1", file=clip).text.startswith(SAID)
    verbose = sdk.audio.translations.create(model="whisper-1", file=clip, response_format="verbose_json")
    assert verbose.to_dict()["task"] == "translate"


def test_requests_are_served_side_by_side(upstream: str, clip: Clip) -> None:
    async def ask() -> list[str]:
        async with openai.AsyncOpenAI(base_url=f"{upstream}/v1", api_key=KEY, max_retries=0) as client:
            made = [client.audio.transcriptions.create(model="whisper-1", file=clip) for _ in range(4)]
            return [answer.text for answer in await asyncio.gather(*made)]

    texts = asyncio.run(ask())
    assert len(set(texts)) == 1
    assert texts[0].startswith(SAID)


# Speech


@pytest.mark.parametrize("response_format", CONTENT_TYPES)
def test_speech_comes_in_every_format(sdk: openai.OpenAI, response_format: str) -> None:
    with sdk.audio.speech.with_streaming_response.create(
        model="tts-1",
        voice="alloy",
        input="Good morning to all of you.",
        response_format=response_format,  # type: ignore[arg-type]
    ) as answer:
        assert answer.headers["content-type"] == CONTENT_TYPES[response_format]
        assert "content-length" not in answer.headers  # it is streamed
        file = answer.read()
    seconds = len(file) / 2 / 24_000 if response_format == "pcm" else decode(file).seconds
    assert 1 < seconds < 4


def test_speech_is_understood_by_the_transcription(sdk: openai.OpenAI, upstream: str) -> None:
    if httpx2.get(f"{upstream}/healthz").json()["speaker"] != "flite":
        pytest.skip("only flite is understood by the recogniser")
    sentence = "my brother works in a hospital near the river"
    speech = sdk.audio.speech.create(model="gpt-4o-mini-tts", voice="nova", input=sentence, response_format="wav")
    answer = sdk.audio.transcriptions.create(model="whisper-1", file=("speech.wav", speech.content))
    assert len(set(answer.text.split()) & set(sentence.split())) >= 7


def test_speed_shortens_the_speech(sdk: openai.OpenAI) -> None:
    def length(speed: float) -> int:
        speech = sdk.audio.speech.create(
            model="tts-1", voice="alloy", input=SENTENCE, response_format="pcm", speed=speed
        )
        return len(speech.content)

    assert length(2.0) < 0.7 * length(1.0)


def test_a_custom_voice_is_accepted(sdk: openai.OpenAI) -> None:
    speech = sdk.audio.speech.create(model="tts-1", voice={"id": "voice_1"}, input="One.")
    assert decode(speech.content).seconds > 0.1


def test_speech_events_carry_the_file_and_the_usage(http: httpx2.Client) -> None:
    asked = {"model": "gpt-4o-mini-tts", "voice": "alloy", "input": "Good morning.", "stream_format": "sse"}
    answer = http.post("/v1/audio/speech", json=asked)
    assert answer.headers["content-type"].startswith("text/event-stream")
    *deltas, done = events(answer.text)
    assert {event["type"] for event in deltas} == {"speech.audio.delta"}
    assert len(deltas) > 1
    assert decode(b"".join(base64.b64decode(str(event["audio"])) for event in deltas)).seconds > 0.5
    assert done["type"] == "speech.audio.done"
    usage = done["usage"]
    assert isinstance(usage, dict)
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"] > 4


def test_a_speech_engine_that_fails_is_a_server_error(transcriber: Transcriber) -> None:
    class Broken:
        name = "broken"

        def speak(self, text: str, *, speed: float) -> Sound:
            from gateway.demo.engines import Speechless

            raise Speechless("no breath")

    speaker: Speaker = Broken()
    with Running(key=None, engines=Engines(transcriber=transcriber, speaker=speaker)) as running:
        asked = {"model": "tts-1", "voice": "alloy", "input": "One."}
        answer = httpx2.post(f"{running.url}/v1/audio/speech", json=asked)
        assert (answer.status_code, answer.json()["error"]["type"]) == (500, "server_error")
        assert "breath" not in answer.text
        # without a key in its settings the upstream asks for none
        assert httpx2.get(f"{running.url}/v1/models").status_code == 200


# Lists


def test_the_models_are_listed(sdk: openai.OpenAI) -> None:
    names = {model.id for model in sdk.models.list()}
    assert {"whisper-1", "gpt-4o-transcribe-diarize", "tts-1", "gpt-4o-mini-tts"} < names
    assert sdk.models.retrieve("tts-1-hd").id == "tts-1-hd"
    with pytest.raises(openai.NotFoundError):
        sdk.models.retrieve("gpt-9")


def test_the_voices_are_listed(http: httpx2.Client) -> None:
    answer = http.get("/v1/audio/voices").json()
    assert {"id": "alloy", "object": "audio.voice", "name": "Alloy"} in answer["voices"]
    assert answer["data"] == answer["voices"]


# Errors


def assert_envelope(answer: httpx2.Response, status: int, *, param: str | None, code: str | None) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"].startswith("req_")
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["param"], error["code"]) == (param, code)
    assert error["type"] == "invalid_request_error"
    assert isinstance(error["message"], str)


@pytest.mark.parametrize(
    ("header", "code"),
    [(None, None), ("Basic x", None), ("Bearer ", None), ("Bearer sk-wrong", "invalid_api_key")],
)
def test_a_wrong_key_is_refused(upstream: str, header: str | None, code: str | None) -> None:
    headers = {} if header is None else {"authorization": header}
    answer = httpx2.post(f"{upstream}/v1/audio/speech", json={}, headers=headers)
    assert_envelope(answer, 401, param=None, code=code)


def test_health_needs_no_key(upstream: str) -> None:
    assert httpx2.get(f"{upstream}/healthz").json()["status"] == "ok"


def test_unknown_paths_and_methods_are_told(http: httpx2.Client) -> None:
    assert_envelope(http.post("/v1/nowhere"), 404, param=None, code=None)
    assert_envelope(http.get("/v1/audio/speech"), 405, param=None, code=None)


@pytest.mark.parametrize(
    ("fields", "status", "param", "code"),
    [
        ({}, 400, "model", "missing_required_parameter"),
        ({"model": "whisper-9"}, 404, "model", "model_not_found"),
        ({"model": "tts-1"}, 404, "model", "model_not_found"),
        ({"model": "gpt-4o-transcribe", "response_format": "srt"}, 400, "response_format", "unsupported_value"),
        ({"model": "whisper-1", "response_format": "diarized_json"}, 400, "response_format", "unsupported_value"),
        ({"model": "whisper-1", "temperature": "warm"}, 400, "temperature", "invalid_value"),
        ({"model": "whisper-1", "temperature": "2"}, 400, "temperature", "invalid_value"),
        (
            {"model": "whisper-1", "timestamp_granularities[]": "word"},
            400,
            "timestamp_granularities",
            "invalid_value",
        ),
        (
            {"model": "whisper-1", "timestamp_granularities[]": "letter", "response_format": "verbose_json"},
            400,
            "timestamp_granularities",
            "invalid_value",
        ),
    ],
)
def test_bad_fields_are_told(
    http: httpx2.Client, clip: Clip, fields: dict[str, str], status: int, param: str, code: str
) -> None:
    answer = http.post("/v1/audio/transcriptions", data=fields, files={"file": clip})
    assert_envelope(answer, status, param=param, code=code)


def test_a_missing_file_is_told(http: httpx2.Client) -> None:
    answer = http.post("/v1/audio/transcriptions", data={"model": "whisper-1"})
    assert_envelope(answer, 400, param="file", code="missing_required_parameter")


def test_a_file_without_sound_is_told(sdk: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="corrupted or unsupported") as refused:
        sdk.audio.transcriptions.create(model="whisper-1", file=("a.wav", b"no sound at all"))
    assert refused.value.code == "invalid_value"


def test_a_broken_form_is_told(http: httpx2.Client) -> None:
    answer = http.post(
        "/v1/audio/transcriptions",
        content=b"--x\r\nnonsense",
        headers={"content-type": "multipart/form-data; boundary=y"},
    )
    assert answer.status_code == 400
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


def test_translations_are_whispers_alone(http: httpx2.Client, clip: Clip) -> None:
    answer = http.post("/v1/audio/translations", data={"model": "gpt-4o-transcribe"}, files={"file": clip})
    assert_envelope(answer, 404, param="model", code="model_not_found")


@pytest.mark.parametrize(
    ("change", "status", "param", "code"),
    [
        ({"model": None}, 400, "model", "missing_required_parameter"),
        ({"model": "whisper-1"}, 404, "model", "model_not_found"),
        ({"model": ["tts-1"]}, 404, "model", "model_not_found"),
        ({"input": None}, 400, "input", "missing_required_parameter"),
        ({"input": " \n"}, 400, "input", "invalid_value"),
        ({"input": 7}, 400, "input", "invalid_value"),
        ({"input": "a" * 4097}, 400, "input", None),
        ({"voice": None}, 400, "voice", "missing_required_parameter"),
        ({"voice": "caruso"}, 400, "voice", "invalid_value"),
        ({"response_format": "midi"}, 400, "response_format", "invalid_value"),
        ({"response_format": ["mp3"]}, 400, "response_format", "invalid_value"),
        ({"speed": 4.1}, 400, "speed", "invalid_value"),
        ({"speed": "fast"}, 400, "speed", "invalid_value"),
        ({"stream_format": "sse"}, 400, "stream_format", "invalid_value"),
    ],
)
def test_bad_speech_is_told(
    http: httpx2.Client, change: dict[str, object], status: int, param: str, code: str | None
) -> None:
    asked = {"model": "tts-1", "voice": "alloy", "input": "Hello.", **change}
    assert_envelope(http.post("/v1/audio/speech", json=asked), status, param=param, code=code)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff"])
def test_speech_that_is_no_json_object_is_told(http: httpx2.Client, body: bytes) -> None:
    assert_envelope(http.post("/v1/audio/speech", content=body), 400, param=None, code=None)


# As a process


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_process_says_where_it_listens_and_stops_when_told(number: signal.Signals) -> None:
    command = [sys.executable, "-m", "gateway.demo.upstream", "--host", "127.0.0.1", "--port", "0", "--key", KEY]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            found = re.fullmatch(r"listening (http://127\.0\.0\.1:\d+)\n", line)
            assert found is not None
            assert httpx2.get(f"{found[1]}/v1/models").status_code == 401
            started = time.monotonic()
            process.send_signal(number)
            rest, errors = process.communicate(timeout=10)
        finally:
            process.kill()
    assert (process.returncode, rest, errors) == (0, "", "")
    assert time.monotonic() - started < 5


def test_a_port_in_use_ends_the_process_with_a_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "gateway.demo.upstream", "--port", port]
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    assert done.returncode == 1
    assert done.stderr.startswith("demo upstream: ")
    assert "Traceback" not in done.stderr
