"""Speech by the demo upstream, as OpenAI's own SDK sees it."""

import base64
import json
from collections.abc import Callable
from contextlib import AbstractContextManager

import httpx2
import openai
import pytest

from gateway.demo.engines import Engines, Speechless, Transcriber
from gateway.demo.sample import SENTENCE
from gateway.demo.sound import CONTENT_TYPES, Sound, decode


def events(body: str) -> list[dict[str, object]]:
    return [json.loads(block.removeprefix("data: ")) for block in body.split("\n\n") if block]


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


def test_a_speech_engine_that_fails_is_a_server_error(
    transcriber: Transcriber, run_upstream: Callable[[Engines], AbstractContextManager[str]]
) -> None:
    class Broken:
        name = "broken"

        def speak(self, text: str, *, speed: float) -> Sound:
            raise Speechless("no breath")

    with run_upstream(Engines(transcriber=transcriber, speaker=Broken())) as url:
        asked = {"model": "tts-1", "voice": "alloy", "input": "One."}
        answer = httpx2.post(f"{url}/v1/audio/speech", json=asked)
        assert (answer.status_code, answer.json()["error"]["type"]) == (500, "server_error")
        assert "breath" not in answer.text
        # without a key in its settings the upstream asks for none
        assert httpx2.get(f"{url}/v1/models").status_code == 200
