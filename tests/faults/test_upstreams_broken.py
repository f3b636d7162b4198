"""Upstreams that fall silent or break off, at every point of an exchange, and callers that do."""

import asyncio
import random
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest

from tests.faults.checker import served
from tests.faults.upstreams import BOTH_WAYS, fleet, in_turn, never, noted, statuses, upload
from tests.stub import Answer, Seen

SOON = 0.15  # seconds that an upstream has where a test waits for it in vain


def silent() -> Answer:
    """Takes all of it, and says nothing."""
    return Answer(hold=never())


# -- U-3: before its answer


@pytest.mark.parametrize("kind", BOTH_WAYS)
async def test_U_3_an_upstream_that_says_nothing_is_given_up(store_url: str, data: Path, kind: str) -> None:
    async with fleet(store_url, data, silent, served, first_byte_timeout=SOON) as one:
        told = await one.crowd(20, kind, at_once=20)
        rows = await one.records(20)
        await until_closed(one.oracles[0].stub.seen)
        figures = await one.books()
    print("U-3", figures)
    assert statuses(told) == {504: 20}
    assert {row["error"] for row in rows} == {"upstream_timeout"}
    assert {row["cost_micro_usd"] for row in rows} == {"0"}
    assert one.seen == [20, 0]


@pytest.mark.parametrize("kind", BOTH_WAYS)
async def test_U_3_or_asked_for_elsewhere_where_that_is_wanted(store_url: str, data: Path, kind: str) -> None:
    async with fleet(store_url, data, silent, served, first_byte_timeout=SOON, retry_timeouts=True) as one:
        told = await one.crowd(20, kind)
        rows = await one.records(20)
        figures = await one.books()
    print("U-3", figures)
    assert statuses(told) == {200: 20}
    assert {row["upstream"] for row in rows} == {"b"}
    assert one.seen[1] == 20


async def test_U_3_who_has_more_to_hear_has_more_time(
    store_url: str, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no time is configured it goes by the audio's length: here ten seconds for the tenth of one that is sent."""
    monkeypatch.setattr("gateway.policy.deadlines.LEAST", SOON)
    monkeypatch.setattr("gateway.policy.deadlines.PER_AUDIO_SECOND", 100.0)

    def late() -> Answer:
        answer = served()
        answer.hold = asyncio.Event()
        asyncio.get_running_loop().call_later(3 * SOON, answer.hold.set)
        return answer

    async with fleet(store_url, data, late) as one:
        assert (await one.ask("fields first")).status == 200
        monkeypatch.setattr("gateway.policy.deadlines.PER_AUDIO_SECOND", 0.0)
        assert (await one.ask("fields first")).status == 504
        print("U-3", await one.books())


async def until_closed(seen: Iterable[Seen]) -> None:
    """Wait until the connections of these requests are gone."""
    async with asyncio.timeout(5):
        for each in seen:
            await each.closed.wait()


async def test_U_3_a_slow_caller_is_not_counted_against_the_upstream(store_url: str, data: Path) -> None:
    """Another request is given up meanwhile: so the time of this one, too, would be over."""
    answers = in_turn(served(), silent(), served())
    async with fleet(store_url, data, answers, first_byte_timeout=SOON, idle_timeout=SOON) as one:
        async with one.by_hand("fields first") as (wire, told):
            body = told.job.body
            await wire.send(body[:-4000])
            seen = await one.oracles[0].stub.request()
            await seen.has(len(body) - 8000)
            for _ in range(2):
                assert (await one.ask()).status in (504, 200)
            await wire.send(body[-4000:])
            await noted(wire, told, await wire.head())
        figures = await one.books()
    print("U-3", figures)
    assert (told.status, told.whole) == (200, True)


# -- U-4, U-6, U-7: after it began


FRAMED = {
    "with a length": b"Content-Length: 100\r\n\r\nbegun",
    "in chunks": b"Transfer-Encoding: chunked\r\n\r\n5\r\nbegun\r\n",
    "within a chunk": b"Transfer-Encoding: chunked\r\n\r\n64\r\nbegun",
    "before the last chunk's end": b"Transfer-Encoding: chunked\r\n\r\n5\r\nbegun\r\n0\r\n",
    "with nothing of its body": b"Content-Length: 100\r\n\r\n",
}
ENDS = {
    "reset": lambda answer: replace(answer, cut=True, reset=True),
    "closed": lambda answer: replace(answer, cut=True),
    "silent": lambda answer: replace(answer, pieces=(*answer.pieces, b"never"), gate=never()),
}
MEDIA = {"speech": b"audio/mpeg", "fields first": b"application/json", "file first": b"text/event-stream"}


def begun(framed: bytes, media: bytes, *, go_on: asyncio.Event) -> Answer:
    """An answer that is begun, and goes no further; what becomes of it then is up to `go_on`."""
    start = b"HTTP/1.1 200 OK\r\nContent-Type: " + media + b"\r\n" + framed
    return Answer(raw=True, pieces=(start, b""), gate=go_on)


async def broken_off(store_url: str, data: Path, end: str) -> None:
    """Each kind of request, each framing: the caller has what was begun, and then sees it break off."""
    ways = [(kind, framed) for kind in BOTH_WAYS for framed in FRAMED.values()]
    gates = [asyncio.Event() for _ in ways]
    given = iter(
        ENDS[end](begun(framed, MEDIA[kind], go_on=gate)) for (kind, framed), gate in zip(ways, gates, strict=True)
    )
    async with fleet(store_url, data, lambda: next(given), served) as one:
        for (kind, framed), gate in zip(ways, gates, strict=True):
            one.forget()
            async with one.by_hand(kind) as (wire, told):
                await wire.send(told.job.body)
                head = await wire.head()
                if b"begun" in framed:
                    await wire.reader.readuntil(b"begun" if "content-length" in head.headers else b"begun\r\n")
                gate.set()
                rest = await wire.reader.read()
                told.status, told.rid = head.status, head.headers["x-request-id"]
            assert told.status == 200
            assert rest == b"", "nothing of it may look like a proper end"
        rows = await one.records(len(ways))
        figures = await one.books()
    print("U-6, U-7", end, figures)
    assert {(row["error"], row["attempts"]) for row in rows} == {("upstream_failed", "1")}
    assert {int(row["cost_micro_usd"]) > 0 for row in rows} == {True}
    assert one.seen == [len(ways), 0]


async def test_U_6_an_answer_that_is_reset_is_broken_off_and_charged_once(store_url: str, data: Path) -> None:
    await broken_off(store_url, data, "reset")


async def test_U_7_an_answer_that_ends_early_is_never_taken_for_whole(store_url: str, data: Path) -> None:
    await broken_off(store_url, data, "closed")


async def test_U_7_a_client_library_sees_it_too(store_url: str, data: Path) -> None:
    given = iter(
        ENDS["closed"](begun(framed, media, go_on=done())) for media in MEDIA.values() for framed in FRAMED.values()
    )
    count = len(MEDIA) * len(FRAMED)
    async with fleet(store_url, data, lambda: next(given)) as one, one.gateway.client() as client:
        for _ in range(count):
            one.forget()
            with pytest.raises(httpx2.RemoteProtocolError):
                await client.post("/audio/speech", json={"model": "tts-1", "voice": "x", "input": "hello"})
        assert len(await one.records(count)) == count


def done() -> asyncio.Event:
    """What has come already."""
    event = asyncio.Event()
    event.set()
    return event


async def test_U_4_an_answer_that_falls_silent_is_broken_off(store_url: str, data: Path) -> None:
    silent_ones = [
        ENDS["silent"](begun(framed, media, go_on=never())) for framed in FRAMED.values() for media in MEDIA.values()
    ]
    count = len(silent_ones)
    async with fleet(store_url, data, in_turn(*silent_ones), served, idle_timeout=SOON) as one:
        told = await one.crowd(count, *BOTH_WAYS, at_once=count)
        rows = await one.records(count)
        await until_closed(one.oracles[0].stub.seen)
        figures = await one.books()
    print("U-4", figures)
    assert {(each.status, each.whole) for each in told} == {(200, False)}
    assert {(row["error"], row["attempts"]) for row in rows} == {("upstream_failed", "1")}
    assert one.seen == [count, 0]


async def test_U_4_between_two_events_it_is_told_as_an_event(store_url: str, data: Path) -> None:
    events = b'data: {"type":"transcript.text.delta","delta":"hel"}\n\n'
    answer = Answer(content_type="text/event-stream", pieces=(events, b"never"), gate=never())
    async with fleet(store_url, data, lambda: answer, idle_timeout=SOON) as one:
        told = await one.ask("fields first")
        (row,) = await one.records()
        figures = await one.books()
    print("U-4", figures)
    assert told.body.startswith(events)
    assert b'"code": "upstream_failed"' in told.body.removeprefix(events)
    assert row["error"] == "upstream_failed"


# -- U-5: before its answer, with a reset


def resets(at: str) -> Answer:
    """The connection is reset before anything was read, or once all of it was."""
    if at == "unread":
        return Answer(refuse=True)
    return Answer(raw=True, pieces=(), cut=True, reset=at == "reset")


@pytest.mark.parametrize("at", ["unread", "reset", "closed"])
async def test_U_5_a_reset_before_the_answer_sends_the_request_elsewhere(store_url: str, data: Path, at: str) -> None:
    async with fleet(store_url, data, lambda: resets(at), served) as one:
        told = await one.crowd(60, *BOTH_WAYS)
        rows = await one.records(60)
        figures = await one.books()
    print("U-5", at, figures)
    assert statuses(told) == {200: 60}
    assert {row["upstream"] for row in rows} == {"b"}
    assert "2" in {row["attempts"] for row in rows}


@pytest.mark.parametrize("order", ["fields first", "file first"])
async def test_U_5_the_second_attempt_begins_while_the_upload_still_comes(
    store_url: str, data: Path, order: str
) -> None:
    """It starts at its first byte, and follows what is written behind it; with the file first it has to be all here."""
    job = upload(random.Random(5).randbytes(1_000_000), order)
    half = len(job.body) // 2
    async with fleet(store_url, data, lambda: Answer(refuse=True), served) as one:
        async with one.by_hand(job) as (wire, told):
            await wire.send(job.body[:half])
            if order == "fields first":
                seen = await one.oracles[1].stub.request()
                await seen.has(half // 2)
                assert not seen.whole
            await wire.send(job.body[half:])
            await noted(wire, told, await wire.head())
        (row,) = await one.records()
        figures = await one.books()
    print("U-5", figures)
    assert (told.status, told.whole) == (200, True)
    assert (row["upstream"], row["attempts"]) == ("b", "2")
    assert one.seen == [1, 1]
