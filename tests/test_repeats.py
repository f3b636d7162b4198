"""Requests with an Idempotency-Key, through a real gateway: one execution and one charge, whatever is sent again."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from openai import AsyncOpenAI
from redis.exceptions import ConnectionError as RedisConnectionError

from gateway.config.model import Key, Uploads
from gateway.errors import refuse
from gateway.policy.limits import Limit
from gateway.repeats import first
from gateway.store import repeats as room
from tests.media import make
from tests.running import Running, key_text, serving, until
from tests.stub import Answer, Stub, failed, said
from tests.wire import END, MODEL, Said, chunked, dial, file, pieces_of, text

WAV = make("wav", 1.0)
TRANSCRIBE, SPEAK = "/v1/audio/transcriptions", "/v1/audio/speech"
ONE = "Idempotency-Key: the-first-one"
SPEECH = b'{"model":"tts-1","input":"hello","voice":"x"}'
EVENTS = (b'data: {"type":"transcript.text.delta","delta":"a"}\n\n', b'data: {"type":"transcript.text.done"}\n\n')


def form(boundary: str, *, model: bytes = MODEL, sound: bytes = WAV, first: bytes = b"") -> tuple[str, bytes]:
    """A form with a boundary of its own: its content type, and its bytes."""
    body = first + model + file(sound) + END
    return f"multipart/form-data; boundary={boundary}", body.replace(END[2:-4], boundary.encode())


async def post(
    gateway: Running, body: tuple[str, bytes], *headers: str, target: str = TRANSCRIBE, key: str | None = None
) -> Said:
    """Send a request on a connection of its own."""
    async with dial(gateway) as wire:
        content_type, data = body
        size = f"Content-Length: {len(data)}"
        await wire.begin("POST", target, f"Content-Type: {content_type}", size, *headers, key=key)
        await wire.send(data)
        return await wire.answer()


async def repeats(gateway: Running, answer: str) -> float:
    """How often this was said to who sent something again."""
    found = gateway.app.metrics.registry.get_sample_value("audiogate_repeats_total", {"answer": answer})
    return found or 0.0


async def charged_once(gateway: Running, one: Stub) -> dict[str, str]:
    """One execution, one record, nothing held: the record."""
    (record,) = await gateway.records()
    await gateway.idle()
    assert len(one.seen) == 1
    assert int(record["cost_micro_usd"]) > 0
    return record


def told(answer: Said) -> tuple[int, str | None]:
    """Status and code of a refusal."""
    return answer.status, answer.error["code"]


async def under_way(gateway: Running, count: int = 1) -> None:
    """Wait until so many requests are let in."""
    held = gateway.app.connection.client
    await until(lambda: held.hlen("{ag}:held"), lambda found: found == count)


# -- C-17: repeated


@pytest.mark.parametrize("other", ["as long", "longer-than-the-first-one-and-more", "b"])
async def test_C_17_a_form_sent_again_gets_its_answer_whatever_its_boundary(
    store_url: str, data: Path, other: str
) -> None:
    first = "----a-boundary-of-a-client"
    again = other if other != "as long" else first[::-1].replace("-", "x")
    async with serving(store_url, data, said("hello", usage={"type": "duration", "seconds": 60})) as (gateway, one):
        one.answers[0].headers = {"openai-processing-ms": "7", "x-request-id": "theirs"}
        before = await post(gateway, form(first), ONE)
        record = await charged_once(gateway, one)
        after = await post(gateway, form(again), ONE)
        await charged_once(gateway, one)
        assert await repeats(gateway, "replayed") == 1
        assert gateway.app.parts.spools._left == Uploads().total_bytes
        assert gateway.app.parts.repeats.room == room.MEMORY_BYTES
    assert (before.status, after.status, after.whole) == (200, 200, True)
    assert after.body == before.body
    assert after.headers["idempotency-replayed"] == "true"
    assert after.headers["x-original-request-id"] == before.headers["x-request-id"] == record["id"]
    assert after.headers["x-request-id"] != before.headers["x-request-id"]
    kept = ("content-type", "content-length", "openai-processing-ms")
    assert [after.headers[name] for name in kept] == [before.headers[name] for name in kept]
    assert "idempotency-replayed" not in before.headers


async def test_C_17_the_length_may_be_told_or_not_and_the_pieces_may_be_others(store_url: str, data: Path) -> None:
    async with serving(store_url, data) as (gateway, one):
        content_type, body = form("bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb", first=text("prompt", "-" * 3000))
        assert (await post(gateway, (content_type, body), ONE)).status == 200
        for seed, largest in ((1, 50), (2, 9000)):
            async with dial(gateway) as wire:
                await wire.begin("POST", TRANSCRIBE, f"Content-Type: {content_type}", "Transfer-Encoding: chunked", ONE)
                await wire.send(chunked(pieces_of(body, seed=seed, largest=largest)))
                assert (await wire.answer()).headers["idempotency-replayed"] == "true"
        await charged_once(gateway, one)


async def test_C_17_speech_sent_again_gets_the_same_sound(store_url: str, data: Path) -> None:
    sound = bytes(range(256)) * 700
    spoken = Answer(pieces=(sound[:1000], sound[1000:]), content_type="audio/mpeg", chunked=True)
    async with serving(store_url, data, spoken) as (gateway, one):
        answers = [await post(gateway, ("application/json", SPEECH), ONE, target=SPEAK) for _ in range(3)]
        await charged_once(gateway, one)
        assert await repeats(gateway, "replayed") == 2
    assert [(answer.status, bytes(answer.body)) for answer in answers] == [(200, sound)] * 3
    assert answers[1].headers["content-type"] == "audio/mpeg"


async def test_C_17_events_are_kept_as_they_came(store_url: str, data: Path) -> None:
    stream = Answer(pieces=EVENTS, content_type="text/event-stream", chunked=True)
    async with serving(store_url, data, stream) as (gateway, one):
        body = form("streaming", first=text("stream", "true"))
        answers = [await post(gateway, body, ONE) for _ in range(2)]
        await charged_once(gateway, one)
    assert [bytes(answer.body) for answer in answers] == [b"".join(EVENTS)] * 2
    assert answers[1].headers["content-type"] == "text/event-stream"


async def test_C_17_a_form_that_is_passed_on_unread_is_compared_without_its_boundary(
    store_url: str, data: Path
) -> None:
    async with serving(store_url, data) as (gateway, one):
        statuses = []
        for boundary, sound in (("one", WAV), ("another-one", WAV), ("another-one", WAV + b"x")):
            answer = await post(gateway, form(boundary, sound=sound), ONE, target="/v1/audio/voices")
            statuses.append((answer.status, "idempotency-replayed" in answer.headers))
        assert len(one.seen) == 1
    assert statuses == [(200, False), (200, True), (400, False)]


async def test_C_17_an_sdk_that_tries_again_is_answered_from_what_was_kept(store_url: str, data: Path) -> None:
    """The SDK's own form, with a random boundary each time."""
    async with (
        serving(store_url, data) as (gateway, one),
        AsyncOpenAI(api_key=gateway.key, base_url=gateway.url) as client,
    ):
        for replayed in (None, "true"):
            answer = await client.audio.transcriptions.with_raw_response.create(
                model="whisper-1", file=("x.wav", WAV), extra_headers={"Idempotency-Key": "from-an-sdk"}
            )
            assert answer.headers.get("idempotency-replayed") == replayed
            assert answer.parse().text == "hello"
        await charged_once(gateway, one)


# -- C-17: concurrent


async def test_C_17_while_the_first_is_under_way_others_are_told_to_wait(store_url: str, data: Path) -> None:
    hold = asyncio.Event()
    async with serving(store_url, data, Answer(hold=hold)) as (gateway, one):
        first = asyncio.ensure_future(post(gateway, form("one"), ONE))
        await one.request()
        second = await post(gateway, form("two"), ONE)
        assert told(second) == (409, "request_in_progress")
        assert second.headers["retry-after"] == "1"
        assert second.headers["x-should-retry"] == "true"
        hold.set()
        assert (await first).status == 200
        assert (await post(gateway, form("three"), ONE)).headers["idempotency-replayed"] == "true"
        await charged_once(gateway, one)
        assert await repeats(gateway, "under_way") == 1


async def test_C_17_of_twenty_at_once_one_is_executed_and_charged(store_url: str, data: Path) -> None:
    async with serving(store_url, data) as (gateway, one):
        answers = await asyncio.gather(*(post(gateway, form(f"boundary-{n}"), ONE) for n in range(20)))
        record = await charged_once(gateway, one)
        later = await post(gateway, form("later"), ONE)
        await charged_once(gateway, one)
    served = [answer for answer in answers if answer.status == 200]
    assert len([answer for answer in served if "idempotency-replayed" not in answer.headers]) == 1
    assert all(told(answer) == (409, "request_in_progress") for answer in answers if answer.status != 200)
    assert later.headers["x-original-request-id"] == record["id"]
    print("C-17", len(served), "of 20 answered at once; 1 execution, 1 charge of", record["cost_micro_usd"])


async def test_C_17_whoever_has_seen_an_answer_whole_finds_it_kept(store_url: str, data: Path) -> None:
    """With a length and without, however fast they come back."""
    answers = [said("a"), Answer(chunked=True), said("b"), Answer(chunked=True)]
    async with serving(store_url, data, *answers) as (gateway, one), dial(gateway) as wire:
        for number in range(4):
            body = form("one")
            for _ in range(2):
                again = await wire.post(TRANSCRIBE, body[1], f"Idempotency-Key: n{number}", content_type=body[0])
                assert again.status == 200, bytes(again.body)
            assert again.headers["idempotency-replayed"] == "true"
        assert len(one.seen) == 4


@pytest.mark.parametrize("is_chunked", [False, True])
async def test_C_17_an_answer_is_kept_before_its_caller_can_know_that_it_is_whole(
    store_url: str, data: Path, monkeypatch: pytest.MonkeyPatch, is_chunked: bool
) -> None:
    asked, gate, finish = asyncio.Event(), asyncio.Event(), room.Repeats._finish

    async def slow(*args: Any, **more: Any) -> str:
        asked.set()
        await gate.wait()
        return await finish(*args, **more)

    monkeypatch.setattr(room.Repeats, "_finish", staticmethod(slow))
    async with serving(store_url, data, Answer(chunked=is_chunked)) as (gateway, one), gateway.client() as client:
        first = asyncio.ensure_future(post(gateway, form("one"), ONE))
        await asked.wait()
        assert (await client.get(f"{gateway.origin}/livez")).status_code == 200  # what was written has arrived
        assert not first.done()
        gate.set()
        assert (await first).json == {"text": "hello"}
        await charged_once(gateway, one)


# -- C-17: other body


@pytest.mark.parametrize(
    "other",
    [
        form("one", sound=WAV + b"x"),
        form("one", model=text("model", "gpt-4o-transcribe")),
        form("one", first=text("language", "de")),
        form("one", first=text("prompt", "x"), sound=WAV[:-1]),
    ],
    ids=["file", "model", "field", "fields"],
)
async def test_C_17_another_request_under_the_same_name_is_refused(
    store_url: str, data: Path, other: tuple[str, bytes]
) -> None:
    async with serving(store_url, data) as (gateway, one):
        assert (await post(gateway, form("one"), ONE)).status == 200
        answer = await post(gateway, other, ONE)
        assert told(answer) == (400, "idempotency_key_reused")
        assert answer.headers["x-should-retry"] == "false"
        assert (await post(gateway, form("two"), ONE)).headers["idempotency-replayed"] == "true"
        await charged_once(gateway, one)
        assert gateway.app.parts.spools._left == Uploads().total_bytes


async def test_C_17_another_route_or_query_is_another_request(store_url: str, data: Path) -> None:
    async with serving(store_url, data) as (gateway, one):
        assert (await post(gateway, form("one"), ONE)).status == 200
        for target in ("/v1/audio/translations", TRANSCRIBE + "?x=1"):
            assert told(await post(gateway, form("one"), ONE, target=target)) == (400, "idempotency_key_reused")
        await charged_once(gateway, one)


async def test_C_17_a_repeat_that_cannot_be_read_is_refused_as_any_other(store_url: str, data: Path) -> None:
    async with serving(store_url, data, uploads=Uploads(max_bytes=100_000)) as (gateway, one):
        assert (await post(gateway, form("one"), ONE)).status == 200
        large = form("one", sound=bytes(100_000))
        assert told(await post(gateway, large, ONE)) == (413, None)
        async with dial(gateway) as wire:
            await wire.begin("POST", TRANSCRIBE, f"Content-Type: {large[0]}", "Transfer-Encoding: chunked", ONE)
            await wire.send(chunked([large[1]]))
            assert (await wire.answer()).status == 413
        cut = form("one")
        assert told(await post(gateway, (cut[0], cut[1][:-9]), ONE)) == (400, "incomplete_multipart")
        await charged_once(gateway, one)


# -- C-17: after a failure


@pytest.mark.parametrize(
    "failure", [failed(400, "bad sound"), failed(500), Answer(refuse=True)], ids=["400", "500", "reset"]
)
async def test_C_17_what_no_upstream_served_may_be_tried_again(store_url: str, data: Path, failure: Answer) -> None:
    async with serving(store_url, data, failure) as (gateway, one):
        refused = await post(gateway, form("one"), ONE)
        assert refused.status >= 400
        tried = len(one.seen)
        one.answers = [said("now")]
        answer = await until(lambda: post(gateway, form("two"), ONE), lambda found: found.status not in (429, 502, 503))
        assert (answer.status, answer.json) == (200, {"text": "now"})
        assert "idempotency-replayed" not in answer.headers
        assert len(one.seen) == tried + 1


async def test_C_17_what_was_refused_may_be_tried_again(store_url: str, data: Path) -> None:
    async with serving(store_url, data) as (gateway, one):
        for body in (form("one", sound=b""), form("one", model=text("model", "nobody-knows-it")), ("text/plain", b"x")):
            assert (await post(gateway, body, ONE)).status in (400, 404)
        assert (await post(gateway, form("one"), ONE)).status == 200
        await charged_once(gateway, one)


async def test_C_17_a_caller_who_goes_away_in_mid_upload_may_try_again(store_url: str, data: Path) -> None:
    async with serving(store_url, data) as (gateway, one):
        content_type, body = form("one")
        async with dial(gateway) as wire:
            size = f"Content-Length: {len(body)}"
            await wire.begin("POST", TRANSCRIBE, f"Content-Type: {content_type}", size, ONE)
            await wire.send(body[: len(body) // 2])
            await one.request()
            wire.hang_up()
        answer = await until(lambda: post(gateway, form("one"), ONE), lambda found: found.status != 409)
        assert (answer.status, answer.json) == (200, {"text": "hello"})
        await gateway.idle()
        assert [seen.whole for seen in one.seen] == [False, True]


# -- C-17: after a broken answer


async def lost(gateway: Running, one: Stub, body: tuple[str, bytes] = form("two"), *, target: str = TRANSCRIBE) -> str:
    """The request was executed, and is not executed again: why there is no answer."""

    async def ask() -> Said:
        return await post(gateway, body, ONE, target=target)

    answer = await until(ask, lambda found: found.status != 409 or found.error["code"] != "request_in_progress")
    assert told(answer) == (409, "answer_not_kept")
    assert answer.headers["x-should-retry"] == "false"
    await charged_once(gateway, one)
    return str(answer.error["message"])


@pytest.mark.parametrize("stream", [False, True])
async def test_C_17_an_answer_that_broke_off_is_not_had_again(store_url: str, data: Path, stream: bool) -> None:
    kind = "text/event-stream" if stream else "application/json"
    broken = Answer(pieces=EVENTS[:1], content_type=kind, chunked=stream, cut=True)
    broken.headers = {} if stream else {"content-length": "1000"}
    async with serving(store_url, data, broken) as (gateway, one):
        await post(gateway, form("one"), ONE)
        assert "broke off" in await lost(gateway, one)
        other = await post(gateway, form("one", sound=WAV * 2), ONE)
        assert told(other) == (400, "idempotency_key_reused")


async def test_C_17_a_caller_who_leaves_in_mid_answer_has_had_it(store_url: str, data: Path) -> None:
    spoken = Answer(pieces=(b"a" * 1000, b"b"), content_type="audio/mpeg", gate=asyncio.Event())
    async with serving(store_url, data, spoken) as (gateway, one):
        async with dial(gateway) as wire:
            await wire.begin("POST", SPEAK, "Content-Type: application/json", f"Content-Length: {len(SPEECH)}", ONE)
            await wire.send(SPEECH)
            await wire.head()
            wire.hang_up()
        assert "broke off" in await lost(gateway, one, ("application/json", SPEECH), target=SPEAK)


async def test_C_17_a_caller_who_leaves_while_the_upstream_works_is_not_served_twice(
    store_url: str, data: Path
) -> None:
    async with serving(store_url, data, Answer(hold=asyncio.Event())) as (gateway, one):
        async with dial(gateway) as wire:
            content_type, body = form("one")
            size = f"Content-Length: {len(body)}"
            await wire.begin("POST", TRANSCRIBE, f"Content-Type: {content_type}", size, ONE)
            await wire.send(body)
            seen = await one.request()
            await seen.has(len(WAV))
            await until(lambda: _whole(seen), bool)
            wire.hang_up()
        await lost(gateway, one)


async def _whole(seen: object) -> bool:
    return bool(getattr(seen, "whole", False))


async def test_C_17_an_answer_too_large_to_keep_passes_and_is_not_had_again(
    store_url: str, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.repeats.first.MOST_BYTES", 100_000)
    spoken = Answer(pieces=(b"a" * 60_000,) * 2, content_type="audio/mpeg", chunked=True)
    async with serving(store_url, data, spoken) as (gateway, one):
        answer = await post(gateway, ("application/json", SPEECH), ONE, target=SPEAK)
        assert (answer.status, len(answer.body)) == (200, 120_000)
        assert "bytes" in await lost(gateway, one, ("application/json", SPEECH), target=SPEAK)
        assert gateway.app.parts.repeats.room == room.MEMORY_BYTES


async def test_C_17_an_answer_that_came_before_the_request_was_whole_is_not_kept(store_url: str, data: Path) -> None:
    async with serving(store_url, data, Answer(early=True)) as (gateway, one), dial(gateway) as wire:
        content_type, body = form("one", sound=WAV * 10)
        await wire.begin("POST", TRANSCRIBE, f"Content-Type: {content_type}", f"Content-Length: {len(body)}", ONE)
        await wire.send(body[:-5000])
        assert (await wire.answer()).status == 200
        assert "before all of it was read" in await lost(gateway, one, form("one"))


async def test_C_17_events_pass_while_they_are_kept(store_url: str, data: Path) -> None:
    gate = asyncio.Event()
    stream = Answer(pieces=EVENTS, content_type="text/event-stream", gate=gate)
    async with serving(store_url, data, stream) as (gateway, one), dial(gateway) as wire:
        content_type, body = form("one", first=text("stream", "true"))
        await wire.begin("POST", TRANSCRIBE, f"Content-Type: {content_type}", f"Content-Length: {len(body)}", ONE)
        await wire.send(body)
        await wire.head()
        assert (await wire.reader.readuntil(b"\n\n")).endswith(EVENTS[0])
        gate.set()
        await wire.reader.readuntil(b"0\r\n\r\n")
        await charged_once(gateway, one)


async def test_C_17_what_this_process_holds_of_answers_has_a_bound(store_url: str, data: Path) -> None:
    async with serving(store_url, data) as (gateway, one):
        repeats = gateway.app.parts.repeats
        assert (await post(gateway, form("one"), "Idempotency-Key: kept")).status == 200
        repeats.room = 10
        assert told(await post(gateway, form("one"), "Idempotency-Key: kept")) == (503, "overloaded")
        one.seen.clear()
        assert (await post(gateway, form("one"), ONE)).status == 200
        answer = await post(gateway, form("one"), ONE)
        assert (told(answer), "no room" in answer.error["message"]) == ((409, "answer_not_kept"), True)
        assert (len(one.seen), repeats.room) == (1, 10)
        repeats.room = room.MEMORY_BYTES
        assert (await post(gateway, form("one"), "Idempotency-Key: kept")).status == 200


async def test_C_17_a_caller_who_leaves_in_mid_replay_leaves_nothing_behind(store_url: str, data: Path) -> None:
    spoken = Answer(pieces=(bytes(6_000_000),), content_type="audio/mpeg")
    async with serving(store_url, data, spoken) as (gateway, one):
        assert (await post(gateway, ("application/json", SPEECH), ONE, target=SPEAK)).status == 200
        async with dial(gateway) as wire:
            await wire.begin("POST", SPEAK, "Content-Type: application/json", f"Content-Length: {len(SPEECH)}", ONE)
            await wire.send(SPEECH)
            assert (await wire.head()).headers["idempotency-replayed"] == "true"
            wire.hang_up()

        async def left() -> int:
            return gateway.app.parts.repeats.room

        await until(left, lambda found: found == room.MEMORY_BYTES)
        again = await post(gateway, ("application/json", SPEECH), ONE, target=SPEAK)
        assert (again.status, len(again.body)) == (200, 6_000_000)
        await charged_once(gateway, one)


async def test_C_17_a_day_that_ends_between_two_looks_is_no_failure(
    store_url: str, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(store_url, data) as (gateway, one):
        assert (await post(gateway, form("one"), ONE)).status == 200

        async def none(*args: Any) -> None:
            return None

        monkeypatch.setattr(room.Repeats, "body", none)
        assert told(await post(gateway, form("one"), ONE)) == (409, "request_in_progress")
        assert gateway.app.parts.repeats.room == room.MEMORY_BYTES
        await charged_once(gateway, one)


# -- C-17: the header itself


@pytest.mark.parametrize("name", ["", "with a space", "x" * 256, "ä", "tab\there"])
async def test_C_17_a_name_that_cannot_be_one_is_refused(store_url: str, data: Path, name: str) -> None:
    async with serving(store_url, data) as (gateway, one):
        answer = await post(gateway, form("one"), f"Idempotency-Key: {name}")
        assert told(answer) == (400, "invalid_idempotency_key")
        assert (await post(gateway, form("one"), f"Idempotency-Key: {'x' * 255}")).status == 200
        await charged_once(gateway, one)


async def test_C_17_what_only_reads_is_passed_on(store_url: str, data: Path) -> None:
    async with serving(store_url, data) as (gateway, one), gateway.client() as client:
        for _ in range(2):
            answer = await client.get("/audio/voices", headers={"Idempotency-Key": "a b"})
            assert answer.status_code == 200
        assert len(one.seen) == 2


async def test_C_17_the_name_is_not_told_to_upstreams(store_url: str, data: Path) -> None:
    async with serving(store_url, data) as (gateway, one):
        await post(gateway, form("one"), ONE)
        await post(gateway, form("one"))
        assert all("idempotency-key" not in seen.headers for seen in one.seen)
        boundaries = [seen.headers["content-type"].rpartition("=")[2] for seen in one.seen]
    assert len({one[-16:] for one in boundaries}) == 2, "each has a secret of its own"


async def test_C_17_a_replay_has_its_line_and_no_record(
    store_url: str, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[dict[str, object]] = []
    monkeypatch.setattr("gateway.ledger.requests.note", lambda record, _: lines.append(dict(record)))
    async with serving(store_url, data) as (gateway, one):
        for _ in range(2):
            answer = await post(gateway, form("one"), ONE)
        record = await charged_once(gateway, one)
        await until(lambda: _count(lines), lambda count: count == 2)
    lines.sort(key=lambda line: str(line["id"]))
    assert lines[0]["id"] == record["id"]
    told = {name: lines[1][name] for name in ("id", "status", "step", "attempts", "cost_micro_usd", "source", "key")}
    assert told == {
        "id": answer.headers["x-request-id"],
        "status": 200,
        "step": "replay",
        "attempts": 0,
        "cost_micro_usd": 0,
        "source": "none",
        "key": record["key"],
    }
    assert lines[1]["bytes_out"] == len(answer.body)
    assert lines[1]["bytes_in"] == lines[0]["bytes_in"]


async def _count(lines: list[dict[str, object]]) -> int:
    return len(lines)


async def test_C_17_a_replay_needs_a_key_that_is_good_and_no_limit(store_url: str, data: Path) -> None:
    keys = {"alice": Key("alice", "default", key_text(), limits=(Limit("requests", "day", 1),))}
    async with serving(store_url, data, keys=keys) as (gateway, one):
        assert (await post(gateway, form("one"), ONE)).status == 200
        assert (await post(gateway, form("one"), "Idempotency-Key: another")).status == 429
        numbers = await gateway.numbers(f"{{ag}}:k:{gateway.key[3:13]}")
        assert (await post(gateway, form("one"), ONE)).headers["idempotency-replayed"] == "true"
        assert await gateway.numbers(f"{{ag}}:k:{gateway.key[3:13]}") == numbers
        await gateway.app.connection.client.hset(f"{{ag}}:k:{gateway.key[3:13]}", "st", "revoked")
        assert (await post(gateway, form("one"), ONE)).status == 401
        assert (await post(gateway, form("one"), ONE, key=key_text(7))).status == 401
        await charged_once(gateway, one)


# -- S-10 and Q-20


async def test_S_10_idempotency_scope_is_the_key(store_url: str, data: Path) -> None:
    keys = {name: Key(name, "default", key_text(n)) for n, name in enumerate(("alice", "bob"), 1)}
    async with serving(store_url, data, said("for alice"), said("for bob"), keys=keys) as (gateway, one):
        for _ in range(2):
            for number, name in ((1, "alice"), (2, "bob")):
                answer = await post(gateway, form("one"), ONE, key=key_text(number))
                assert answer.json == {"text": f"for {name}"}
        assert len(one.seen) == 2
        assert len({record["key"] for record in await gateway.records(2)}) == 2


async def test_Q_20_idempotency_without_a_store_nothing_is_risked(store_url: str, data: Path) -> None:
    async with serving(store_url, data) as (gateway, one):
        assert (await post(gateway, form("one"))).status == 200

        async def away(*args: object) -> object:
            raise RedisConnectionError("away")

        kept = gateway.app.connection._evaluate
        gateway.app.connection._evaluate = away  # type: ignore[method-assign]
        assert told(await post(gateway, form("one"), ONE)) == (503, "store_unavailable")
        in_grace = await post(gateway, form("one"))
        gateway.app.connection._evaluate = kept  # type: ignore[method-assign]
        assert (in_grace.status, len(one.seen)) == (200, 2), "others go on in grace"
        answer = await until(lambda: post(gateway, form("one"), ONE), lambda found: found.status == 200)
        assert "idempotency-replayed" not in answer.headers
        assert len(one.seen) == 3


async def test_Q_20_idempotency_a_store_that_is_full_keeps_no_answer_and_nothing_is_done_twice(
    store_url: str, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "KEY_BYTES", 10)
    async with serving(store_url, data) as (gateway, one):
        assert (await post(gateway, form("one"), ONE)).status == 200
        assert "no room" in await lost(gateway, one)


async def test_Q_20_idempotency_a_store_without_memory_claims_nothing_and_forgets_nothing(
    store_url: str, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It claims a name for nobody, and takes no answer; nothing is executed twice once it has memory again."""
    monkeypatch.setattr(first, "TRIES", (0.0,))
    hold = asyncio.Event()
    async with serving(store_url, data, Answer(hold=hold)) as (gateway, one):
        store = gateway.app.connection.client
        waiting = asyncio.ensure_future(post(gateway, form("one"), ONE))
        await one.request()
        await store.config_set("maxmemory", "1mb")
        try:
            assert told(await post(gateway, form("one"), "Idempotency-Key: other")) == (503, "store_unavailable")
            hold.set()
            assert (await waiting).json == {"text": "hello"}
        finally:
            await store.config_set("maxmemory", "0")
        assert told(await post(gateway, form("one"), ONE)) == (409, "request_in_progress")
        await end_of_leases(gateway)
        assert "nobody knows" in await lost(gateway, one)


async def test_Q_20_idempotency_an_answer_that_the_store_does_not_take_is_not_given_twice(
    store_url: str, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes out all the same; the claim's lease ends, and tells no more than that it may have been served."""
    monkeypatch.setattr(first, "TRIES", (0.0, 0.0))

    async def away(*args: object, **more: object) -> str:
        raise refuse("store_down", retry_after=1)

    async with serving(store_url, data) as (gateway, one):
        monkeypatch.setattr(room.Repeats, "_finish", staticmethod(away))
        assert (await post(gateway, form("one"), ONE)).status == 200
        assert told(await post(gateway, form("one"), ONE)) == (409, "request_in_progress")
        await end_of_leases(gateway)
        assert "nobody knows" in await lost(gateway, one)


async def end_of_leases(gateway: Running) -> None:
    """The leases of all claims are over."""
    store = gateway.app.connection.client
    async for name in store.scan_iter("{ag}:once:*"):
        await store.hset(name, "until", 1)


async def test_Q_20_idempotency_a_day_later_it_is_a_new_request(store_url: str, data: Path) -> None:
    async with serving(store_url, data) as (gateway, one):
        assert (await post(gateway, form("one"), ONE)).status == 200
        store = gateway.app.connection.client
        (name,) = [name async for name in store.scan_iter("{ag}:once:*")]
        assert 24 * 3600 - 60 < await store.ttl(name) <= 24 * 3600
        await store.expire(name, 0)
        answer = await post(gateway, form("one"), ONE)
        assert "idempotency-replayed" not in answer.headers
        assert len(one.seen) == 2
        keys = [name async for name in store.scan_iter("{ag}:kept*")]
        assert [await store.ttl(name) > 0 for name in keys] == [True, True]
