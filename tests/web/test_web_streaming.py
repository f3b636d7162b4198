"""Uploads and answers that pass while they are on their way, in every framing, and callers that go away."""

import random
from pathlib import Path

import pytest

from gateway.config.model import Uploads
from gateway.upstreams.base import Capabilities
from tests.media import make
from tests.running import configured, running, serving, until, upstream
from tests.stub import Answer, said, stub
from tests.wire import BOUNDARY, END, FORM, MODEL, chunked, dial, file, framed, pieces_of, text

TARGET = "/v1/audio/transcriptions"
WAV = make("wav", 1.0)
SPEECH = b'{"model":"tts-1","input":"hello","voice":"x"}'
FIVE_MB = random.Random(1).randbytes(5_000_000)
JSON_ONLY = Capabilities(formats=frozenset({"json"}))


@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_the_first_sound_arrives_while_the_caller_is_still_sending(
    store_url: str, data: Path, framing: str
) -> None:
    body = text("prompt", "go") + MODEL + file(WAV) + END
    header, sent = framed(body, framing)
    cut = len(sent) - 2000
    async with serving(store_url, data) as (gateway, one), dial(gateway) as wire:
        await wire.begin("POST", TARGET, f"Content-Type: {FORM}", header)
        await wire.send(sent[:cut])
        seen = await one.request()
        await seen.has(len(WAV) // 2)
        assert not seen.whole
        await wire.send(sent[cut:])
        assert (await wire.answer()).status == 200
        await gateway.records()
    assert seen.fields == [("prompt", b"go"), ("model", b"whisper-1"), ("file", WAV)]
    assert ("content-length" in seen.headers) == (framing == "length")


async def test_an_aggregator_gets_a_length_even_when_the_caller_told_none(store_url: str, data: Path) -> None:
    sent = chunked(pieces_of(MODEL + file(WAV) + END, seed=1, largest=9000))
    async with serving(store_url, data, kind="newapi") as (gateway, one), dial(gateway) as wire:
        await wire.begin("POST", TARGET, f"Content-Type: {FORM}", "Transfer-Encoding: chunked")
        await wire.send(sent[:-2000])
        held = gateway.app.connection.client
        await until(lambda: held.hlen("{ag}:held"), lambda count: count == 1)  # it is admitted, and waits
        assert one.seen == []
        await wire.send(sent[-2000:])
        assert (await wire.answer()).status == 200
        await gateway.records()
    assert "transfer-encoding" not in one.seen[0].headers
    assert int(one.seen[0].headers["content-length"]) == len(one.seen[0].body)
    assert one.seen[0].fields == [("model", b"whisper-1"), ("file", WAV)]


@pytest.mark.parametrize("kind", ["openai", "newapi"])
@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("order", ["fields first", "file first"])
async def test_five_megabytes_arrive_as_they_were_sent(
    store_url: str, data: Path, order: str, framing: str, kind: str
) -> None:
    fields, sound = [MODEL, text("language", "")], file(FIVE_MB, "x.mp3")
    body = b"".join([*fields, sound] if order == "fields first" else [sound, *fields]) + END
    header, sent = framed(body, framing)
    async with serving(store_url, data, kind=kind) as (gateway, one), dial(gateway) as wire:
        await wire.begin("POST", TARGET, f"Content-Type: {FORM}", header)
        for piece in pieces_of(sent, seed=2, largest=200_000):
            await wire.send(piece)
        answer = await wire.answer()
        assert answer.status == 200, answer.body
        (record,) = await gateway.records()
        await gateway.idle()
    found = dict(one.seen[0].fields)
    assert found == {"model": b"whisper-1", "file": FIVE_MB}
    assert record["bytes_in"] == str(len(body))
    assert len(one.seen) == 1


async def test_a_form_in_pieces_of_one_byte_arrives_as_it_was_sent(store_url: str, data: Path) -> None:
    cut = f"\r\n--{BOUNDARY[:9]}".encode()
    sound = cut + b"\r--" + cut + b"-" + WAV[:300] + cut
    sent = chunked(bytes([one]) for one in MODEL + file(sound) + text("prompt", "\r\n-") + END)
    async with serving(store_url, data) as (gateway, one), dial(gateway) as wire:
        await wire.begin("POST", TARGET, f"Content-Type: {FORM}", "Transfer-Encoding: chunked")
        await wire.send(sent)
        assert (await wire.answer()).status == 200
        await gateway.records()
    assert one.seen[0].fields == [("model", b"whisper-1"), ("file", sound), ("prompt", b"\r\n-")]


@pytest.mark.parametrize("line", ["\r\n--{} \r\n", "\r\n--{}\t\r\n", "\n--{}\n", "\r\n--{}\n", "\r--{}\r"])
@pytest.mark.parametrize("order", ["file first", "fields first"])
async def test_no_sound_can_smuggle_a_field_to_an_upstream_that_reads_forms_loosely(
    store_url: str, data: Path, order: str, line: str
) -> None:
    begun = line.format(BOUNDARY) + 'Content-Disposition: form-data; name="model"\r\n\r\ngpt-4o-transcribe'
    smuggled = file(b"RIFF" + begun.encode())
    body = smuggled + MODEL + END if order == "file first" else MODEL + smuggled + END
    async with serving(store_url, data) as (gateway, one), dial(gateway) as wire:
        answer = await wire.post(TARGET, body)
        await gateway.idle()
    assert answer.status in (200, 400)
    models = [value for seen in one.seen if seen.whole for name, value in seen.fields if name == "model"]
    assert models == [b"whisper-1"] * len(models)


@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_a_format_named_behind_the_file_moves_the_upload_to_whoever_can_give_it(
    store_url: str, data: Path, framing: str
) -> None:
    header, sent = framed(MODEL + file(FIVE_MB) + text("response_format", "srt") + END, framing)
    async with stub() as one, stub() as two:
        two.answers = [Answer(pieces=(b"1\n00:00",), content_type="text/plain")]
        config = configured(data, upstream("a", one.url, can=JSON_ONLY), upstream("b", two.url, priority=2))
        async with running(config, url=store_url) as gateway, dial(gateway) as wire:
            await wire.begin("POST", TARGET, f"Content-Type: {FORM}", header)
            await wire.send(sent[: len(sent) // 2])
            await (await one.request()).has(1_000_000)
            await wire.send(sent[len(sent) // 2 :])
            answer = await wire.answer()
            (record,) = await gateway.records()
            await gateway.idle()
            await one.seen[0].closed.wait()
    assert (answer.status, bytes(answer.body)) == (200, b"1\n00:00")
    assert not any(seen.whole for seen in one.seen)
    assert two.seen[0].fields == [("model", b"whisper-1"), ("file", FIVE_MB), ("response_format", b"srt")]
    assert (record["upstream"], record["attempts"]) == ("b", "2")


async def test_a_format_named_too_late_for_anybody_is_refused(store_url: str, data: Path) -> None:
    body = MODEL + file(FIVE_MB) + text("response_format", "srt") + END
    async with stub() as one:
        config = configured(data, upstream("a", one.url, can=JSON_ONLY))
        async with running(config, url=store_url) as gateway, dial(gateway) as wire:
            await wire.begin("POST", TARGET, f"Content-Type: {FORM}", f"Content-Length: {len(body)}")
            await wire.send(body[:2_000_000])
            await (await one.request()).has(1_000_000)
            await wire.send(body[2_000_000:])
            answer = await wire.answer()
            (record,) = await gateway.records()
            await gateway.idle()
    assert (answer.status, answer.error["code"], answer.error["param"]) == (400, "unsupported_value", "response_format")
    assert "Use 'json' instead" in str(answer.error["message"])
    assert not any(seen.whole for seen in one.seen)
    assert record["cost_micro_usd"] == "0"


async def test_a_format_nobody_can_give_is_refused_before_the_file_is_read(store_url: str, data: Path) -> None:
    async with stub() as one:
        config = configured(data, upstream("a", one.url, can=JSON_ONLY))
        async with running(config, url=store_url) as gateway, dial(gateway) as wire:
            await wire.begin("POST", TARGET, f"Content-Type: {FORM}", "Content-Length: 9999999")
            await wire.send(text("response_format", "vtt") + MODEL + file(WAV, end=b""))
            assert (await wire.answer()).error["code"] == "unsupported_value"
            await gateway.idle()
    assert one.seen == []


async def test_a_form_that_ends_without_its_last_boundary_is_never_completed(store_url: str, data: Path) -> None:
    async with serving(store_url, data) as (gateway, one), dial(gateway) as wire:
        answer = await wire.post(TARGET, MODEL + file(FIVE_MB, end=b""))
        (record,) = await gateway.records()
        await gateway.idle()
    assert (answer.status, answer.error["code"]) == (400, "incomplete_multipart")
    assert not any(seen.whole for seen in one.seen)
    assert record["cost_micro_usd"] == "0"


async def test_an_upload_too_long_for_the_cap_is_never_completed(store_url: str, data: Path) -> None:
    sent = chunked(pieces_of(MODEL + file(FIVE_MB) + END, seed=3, largest=90_000))
    uploads = Uploads(max_bytes=4_000_000)
    async with serving(store_url, data, uploads=uploads) as (gateway, one), dial(gateway) as wire:
        await wire.begin("POST", TARGET, f"Content-Type: {FORM}", "Transfer-Encoding: chunked")
        await wire.send(sent)
        answer = await wire.answer()
        await gateway.idle()
    assert answer.status == 413
    assert not any(seen.whole for seen in one.seen)


async def test_a_slow_caller_does_not_make_the_gateway_keep_the_answer(store_url: str, data: Path) -> None:
    long = Answer(pieces=tuple(bytes(100_000) for _ in range(300)), content_type="audio/pcm", chunked=True)
    async with serving(store_url, data, long) as (gateway, _), dial(gateway) as wire:
        answer = await wire.post("/v1/audio/speech", SPEECH, content_type="application/json")
        (record,) = await gateway.records()
    assert (len(answer.body), answer.whole) == (30_000_000, True)
    assert record["bytes_out"] == "30000000"


async def test_two_requests_on_one_connection_do_not_mix(store_url: str, data: Path) -> None:
    async with serving(store_url, data, said("one"), said("two")) as (gateway, one), dial(gateway) as wire:
        first = await wire.post(TARGET, file(WAV) + MODEL + END)
        second = await wire.post("/v1/audio/speech", SPEECH, content_type="application/json")
        await gateway.records(2)
    assert (first.json, second.json) == ({"text": "one"}, {"text": "two"})
    assert one.seen[1].json == {"model": "tts-1", "input": "hello", "voice": "x"}
    assert first.headers["x-request-id"] != second.headers["x-request-id"]
