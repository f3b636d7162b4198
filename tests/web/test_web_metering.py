"""What a request is charged for: every container the API takes, counted where the answer does not say."""

import hashlib
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from gateway.policy.pricing import FREE, Price
from tests.media import make
from tests.running import configured, running, serving, upstream
from tests.stub import Answer, said, stub
from tests.wire import END, MODEL, dial, file, text

TARGET = "/v1/audio/transcriptions"
SECONDS = 3.0
PLAIN = Answer(pieces=(b"hello\n",), content_type="text/plain; charset=utf-8")

# By the kind of tests/media.py: extension and content type that the upstream must see.
CONTAINERS = {
    "webm": ("webm", "audio/webm"),
    "webm_live": ("webm", "audio/webm"),
    "mp3": ("mp3", "audio/mpeg"),
    "mp3_vbr": ("mp3", "audio/mpeg"),
    "mp4": ("mp4", "video/mp4"),
    "mp4_fragmented": ("mp4", "video/mp4"),
    "mpeg": ("mpeg", "video/mpeg"),
    "mpga": ("mp3", "audio/mpeg"),
    "m4a": ("m4a", "audio/mp4"),
    "wav": ("wav", "audio/wav"),
    "wav_stream": ("wav", "audio/wav"),
    "ogg": ("ogg", "audio/ogg"),
    "oga": ("ogg", "audio/ogg"),
    "flac": ("flac", "audio/flac"),
    "flac_stream": ("flac", "audio/flac"),
}


@pytest.mark.parametrize("order", ["file first", "fields first"])
@pytest.mark.parametrize("kind", CONTAINERS)
async def test_a_file_arrives_as_it_was_sent_and_is_billed_for_its_length(
    store_url: str, data: Path, kind: str, order: str
) -> None:
    sound = make(kind, SECONDS)
    sent = file(sound, f"recording.{kind.partition('_')[0].upper()}")
    fields = MODEL + text("response_format", "text")
    body = (sent + fields if order == "file first" else fields + sent) + END
    async with serving(store_url, data, PLAIN) as (gateway, one), dial(gateway) as wire:
        answer = await wire.post(TARGET, body)
        (record,) = await gateway.records()
        await gateway.idle()
    assert (answer.status, bytes(answer.body)) == (200, b"hello\n")
    part = next(part for part in one.seen[0].parts if part.get_filename())
    got = dict(one.seen[0].fields)["file"]
    assert hashlib.sha256(got).hexdigest() == hashlib.sha256(sound).hexdigest()
    extension, content_type = CONTAINERS[kind]
    assert (part.get_filename(), part.get_content_type()) == (f"audio.{extension}", content_type)
    assert record["source"] == "packets"
    billed = int(record["audio_ms"]) / 1000
    assert abs(billed - SECONDS) <= max(0.1, 0.02 * SECONDS), billed
    assert abs(int(record["cost_micro_usd"]) - billed * 100) <= 1


async def test_a_file_of_any_other_kind_is_billed_by_its_bytes(store_url: str, data: Path) -> None:
    body = MODEL + file(b"no sound at all" * 1000, "notes.TXT") + END
    async with serving(store_url, data, PLAIN) as (gateway, one), dial(gateway) as wire:
        assert (await wire.post(TARGET, body)).status == 200
        (record,) = await gateway.records()
    assert one.seen[0].parts[1].get_filename() == "audio.txt"
    assert record["source"] == "estimate"
    assert 15_000 <= int(record["audio_ms"]) <= 15_100


SAID = {
    "usage of a duration": ({"usage": {"type": "duration", "seconds": 3}}, "upstream", 3000, 0),
    "a duration": ({"duration": 3.04}, "upstream", 3040, 0),
    "a duration in quotes": ({"duration": "3.0"}, "upstream", 3000, 0),
    "more than the file has": ({"usage": {"type": "duration", "seconds": 60}}, "upstream", 60_000, 1),
    "less than the file has": ({"duration": 0.5}, "packets", 3000, 1),
    "nothing": ({}, "packets", 3000, 0),
    "an endless duration": ({"duration": 1e300}, "packets", 3000, 0),
    "a negative duration": ({"duration": -4}, "packets", 3000, 0),
    "no number": ({"usage": {"type": "duration", "seconds": "many"}}, "packets", 3000, 0),
}


@pytest.mark.parametrize(("words", "source", "ms", "disputed"), SAID.values(), ids=SAID)
async def test_the_upstreams_word_counts_where_it_can_be_true(
    store_url: str, data: Path, words: dict[str, Any], source: str, ms: int, disputed: int
) -> None:
    async with serving(store_url, data, said("hi", **words)) as (gateway, _), dial(gateway) as wire:
        assert (await wire.post(TARGET, MODEL + file(make("wav", SECONDS)) + END)).status == 200
        (record,) = await gateway.records()
    assert (record["source"], record["disputed"]) == (source, str(disputed))
    assert abs(int(record["audio_ms"]) - ms) <= 30


async def test_a_wav_header_that_lies_is_disputed(store_url: str, data: Path) -> None:
    sound = make("wav", 10.0)
    at = sound.index(b"fmt ") + 8
    rate = int.from_bytes(sound[at + 4 : at + 8], "little")
    forged = sound[: at + 4] + (rate * 20).to_bytes(4, "little") + (rate * 40).to_bytes(4, "little") + sound[at + 12 :]
    async with serving(store_url, data, said("hi", duration=10.0)) as (gateway, _), dial(gateway) as wire:
        assert (await wire.post(TARGET, MODEL + file(forged) + END)).status == 200
        (record,) = await gateway.records()
    assert (record["source"], record["audio_ms"], record["disputed"]) == ("upstream", "10000", "1")


EVENTS = (
    b'data: {"type":"transcript.text.delta","delta":"hel"}\n\n'
    b'data: {"type":"transcript.text.done","text":"hello","usage":{"type":"tokens","input_tokens":30,'
    b'"input_token_details":{"text_tokens":10,"audio_tokens":20},"output_tokens":7,"total_tokens":37}}\n\n'
)


async def test_tokens_in_the_last_event_are_charged(store_url: str, data: Path) -> None:
    prices = {"gpt-4o-transcribe": Price(per_1m_input_tokens=Decimal(1000), per_1m_output_tokens=Decimal(10_000))}
    cut = tuple(EVENTS[at : at + 7] for at in range(0, len(EVENTS), 7))
    events = Answer(pieces=cut, content_type="text/event-stream; charset=utf-8", chunked=True)
    body = text("model", "gpt-4o-transcribe") + text("stream", "true") + file(make("wav", 1.0)) + END
    async with serving(store_url, data, events, prices=prices) as (gateway, _), dial(gateway) as wire:
        answer = await wire.post(TARGET, body)
        (record,) = await gateway.records()
    assert bytes(answer.body) == EVENTS
    assert (record["input_tokens"], record["output_tokens"]) == ("30", "7")
    assert record["cost_micro_usd"] == str(30 * 1000 + 7 * 10_000)


async def test_speech_is_charged_by_the_characters_of_its_input(store_url: str, data: Path) -> None:
    async with serving(store_url, data) as (gateway, _), gateway.client() as client:
        for words in ("a", "ü", "你", "👍🏽", "e\u0301"):
            await client.post("/audio/speech", json={"model": "tts-1", "input": words})
        records = await gateway.records(5)
    assert sorted(record["characters"] for record in records) == ["1", "1", "1", "2", "2"]
    assert {record["source"] for record in records} == {"input"}


async def test_a_model_that_is_free_costs_nothing_and_is_still_counted(store_url: str, data: Path) -> None:
    async with serving(store_url, data, PLAIN, prices={"whisper-1": FREE}) as (gateway, _), dial(gateway) as wire:
        assert (await wire.post(TARGET, MODEL + file(make("mp3", SECONDS)) + END)).status == 200
        (record,) = await gateway.records()
    assert (record["cost_micro_usd"], record["source"]) == ("0", "packets")
    assert abs(int(record["audio_ms"]) - 3000) <= 100


async def test_the_price_is_that_of_the_upstream_that_served(store_url: str, data: Path) -> None:
    async with stub() as one, stub() as two:
        one.answers = [Answer(status=500)]
        two.answers = [said("hi", duration=60)]
        config = configured(data, upstream("a", one.url), upstream("b", two.url, priority=2))
        dear = Price(per_minute=Decimal("0.03"))
        config = replace(
            config, market=replace(config.market, prices={**config.market.prices, "b": {"whisper-1": dear}})
        )
        async with running(config, url=store_url) as gateway, dial(gateway) as wire:
            assert (await wire.post(TARGET, MODEL + file(make("mp3", 60.0)) + END)).status == 200
            (record,) = await gateway.records()
    assert (record["upstream"], record["cost_micro_usd"]) == ("b", "30000")


async def test_a_record_tells_who_asked_for_what_and_where_it_went(store_url: str, data: Path) -> None:
    async with stub() as one:
        config = configured(data, upstream("a", one.url, models={"whisper-1": "whisper-large-v3"}))
        async with running(config, url=store_url) as gateway, dial(gateway) as wire:
            body = MODEL + file(make("wav", 1.0)) + END
            answer = await wire.post(TARGET, body)
            (record,) = await gateway.records()
    assert one.seen[0].fields[0] == ("model", b"whisper-large-v3")
    facts = {"route": "transcription", "method": "POST", "path": TARGET, "status": "200", "error": "", "step": "relay"}
    facts |= {"key_name": "alice", "team": "default", "model": "whisper-1", "model_sent": "whisper-large-v3"}
    facts |= {"upstream": "a", "attempts": "1", "bytes_in": str(len(body)), "bytes_out": str(len(answer.body))}
    assert {name: record[name] for name in facts} == facts
    assert record["id"] == answer.headers["x-request-id"]
    assert 0 <= int(record["first_byte_ms"]) <= int(record["latency_ms"])
