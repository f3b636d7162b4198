"""Transcriptions and translations by the demo upstream, as OpenAI's own SDK sees them."""

import asyncio
import json
import re
from collections.abc import Callable

import httpx2
import openai
import pytest

from gateway.demo.sample import SENTENCE, sample_path
from gateway.demo.sound import Sound, decode

SAID = "this is a short test of the audio gateway"
SECONDS = 2.84

Clip = tuple[str, bytes]


def events(body: str) -> list[dict[str, object]]:
    return [json.loads(block.removeprefix("data: ")) for block in body.split("\n\n") if block]


def test_the_sample_comes_back_word_for_word(sdk: openai.OpenAI) -> None:
    answer = sdk.audio.transcriptions.create(model="whisper-1", file=sample_path())
    assert answer.text == SENTENCE.lower().replace(",", "").rstrip(".")
    assert answer.usage is not None
    assert answer.usage.type == "duration"
    assert answer.usage.seconds == pytest.approx(5, abs=0.5)


@pytest.mark.parametrize("model", ["gpt-4o-transcribe", "gpt-4o-mini-transcribe", "gpt-4o-transcribe-diarize"])
def test_every_model_transcribes(sdk: openai.OpenAI, clip: Clip, model: str) -> None:
    assert sdk.audio.transcriptions.create(model=model, file=clip).text == SAID


def test_text_is_the_text_and_a_line_end(http: httpx2.Client, clip: Clip) -> None:
    answer = http.post(
        "/v1/audio/transcriptions", data={"model": "whisper-1", "response_format": "text"}, files={"file": clip}
    )
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.text == SAID + "\n"
    assert re.fullmatch("req_[0-9a-f]{32}", answer.headers["x-request-id"])


def test_srt_numbers_its_cues(sdk: openai.OpenAI, clip: Clip) -> None:
    answer = sdk.audio.transcriptions.create(model="whisper-1", file=clip, response_format="srt")
    cue = r"1\n00:00:00,\d{3} --> 00:00:02,\d{3}\n" + SAID + r"\n\n"
    assert re.fullmatch(cue, answer)


def test_vtt_has_its_header(sdk: openai.OpenAI, clip: Clip) -> None:
    answer = sdk.audio.transcriptions.create(model="whisper-1", file=clip, response_format="vtt")
    assert re.fullmatch(r"WEBVTT\n\n00:00:00\.\d{3} --> 00:00:02\.\d{3}\n" + SAID + r"\n\n", answer)


def test_verbose_json_has_segments_unless_words_are_asked_for(sdk: openai.OpenAI, clip: Clip) -> None:
    answer = sdk.audio.transcriptions.create(model="whisper-1", file=clip, response_format="verbose_json")
    assert (answer.language, answer.duration, answer.words) == ("english", SECONDS, None)
    assert answer.usage is not None
    assert answer.usage.seconds == SECONDS
    assert answer.segments is not None
    assert [segment.text for segment in answer.segments] == [answer.text]
    assert 0 <= answer.segments[0].start < answer.segments[0].end <= SECONDS


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
    assert answer.duration == SECONDS


def test_a_stream_has_a_delta_per_segment_and_an_end(
    sdk: openai.OpenAI, clip: Clip, in_wav: Callable[[Sound], bytes]
) -> None:
    sound = decode(clip[1])
    twice = Sound(sound.samples + bytes(3 * sound.rate) + sound.samples, sound.rate)
    file = ("twice.wav", in_wav(twice))
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
    assert answer.json()["text"] == SAID


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")  # the SDK's word on the route
def test_a_translation_is_what_was_said(sdk: openai.OpenAI, clip: Clip) -> None:
    assert sdk.audio.translations.create(model="whisper-1", file=clip).text == SAID
    verbose = sdk.audio.translations.create(model="whisper-1", file=clip, response_format="verbose_json")
    assert verbose.to_dict()["task"] == "translate"


def test_requests_are_served_side_by_side(upstream: str, clip: Clip) -> None:
    async def ask() -> list[str]:
        async with openai.AsyncOpenAI(base_url=f"{upstream}/v1", api_key="sk-demo-1", max_retries=0) as client:
            made = [client.audio.transcriptions.create(model="whisper-1", file=clip) for _ in range(4)]
            return [answer.text for answer in await asyncio.gather(*made)]

    texts = asyncio.run(ask())
    assert len(set(texts)) == 1
    assert texts[0] == SAID
