"""The gateway's end of a connection: turns, ends, and how much of what nobody takes is kept."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from gateway.config.model import Key, Server
from gateway.web.audio import AHEAD, Visit
from gateway.web.door import Door
from tests.running import Running, key_text, serving, until
from tests.stub import Answer, said
from tests.web.test_web_hang_up import hesitant
from tests.wire import END, FORM, MODEL, Wire, chunked, dial, file

TARGET, JSON = "/v1/audio/speech", "application/json"
SPEECH = b'{"model":"tts-1","input":"hello","voice":"x"}'
SOUND = bytes(5_000_000)
READ = 256 * 1024  # bytes that an event loop reads at once, at most


def raw(gateway: Running, *lines: str, first: str = f"POST {TARGET} HTTP/1.1", body: bytes = SPEECH) -> bytes:
    """A whole request as bytes."""
    sized = f"Content-Length: {len(body)}"
    head = (first, "Host: x", f"Authorization: Bearer {gateway.key}", f"Content-Type: {JSON}", sized, *lines)
    return "\r\n".join([*head, "", ""]).encode() + body


def door_of(gateway: Running) -> Door:
    """The gateway's end of the only connection."""
    (door,) = gateway.state.connections
    assert isinstance(door, Door)
    return door


async def closes(wire: Wire) -> None:
    """Wait until the gateway closes the connection, and has nothing more to say."""
    async with asyncio.timeout(5):
        assert await wire.reader.read() == b""


async def test_requests_that_come_at_once_are_answered_one_by_one_in_their_order(store_url: str, data: Path) -> None:
    gate = asyncio.Event()
    first = Answer(pieces=(b"one", b"more"), content_type="audio/mpeg", gate=gate)
    async with serving(store_url, data, first, said("two")) as (gateway, one), dial(gateway) as wire:
        health = raw(gateway, first="GET /healthz HTTP/1.1", body=b"")
        await wire.send(raw(gateway) + health + raw(gateway) + health)
        head = await wire.head()
        assert (head.status, len(one.seen), len(gateway.state.tasks)) == (200, 1, 1)
        assert await wire.reader.readexactly(8) == b"3\r\none\r\n"
        gate.set()
        assert await wire.reader.readuntil(b"0\r\n\r\n") == b"4\r\nmore\r\n0\r\n\r\n"
        second, third, fourth = [await wire.answer() for _ in range(3)]
        await gateway.records(2)
        assert gateway.state.total_requests == 4
    assert (second.json, fourth.json) == ({"status": "ok"}, {"status": "ok"})
    assert third.json == {"text": "two"}


async def test_a_crowd_behind_an_answer_is_not_read(store_url: str, data: Path) -> None:
    gate = asyncio.Event()
    first = Answer(pieces=(b"one", b"more"), content_type="audio/mpeg", gate=gate)
    async with serving(store_url, data, first, said()) as (gateway, _), dial(gateway) as wire:
        await wire.send(raw(gateway))
        await wire.head()
        wrong = raw(gateway, first="POST /v1/audio/%2e%2e/x HTTP/1.1", body=b"")
        wire.writer.write(wrong * 20_000)
        door = door_of(gateway)
        await until(queue_of(door), lambda count: count > 0)
        assert door.flow.read_paused
        most = len(door.pipeline)
        assert most * len(wrong) <= READ
        gate.set()
        await wire.reader.readuntil(b"0\r\n\r\n")
        for _ in range(most + 10):
            assert (await wire.answer()).status == 404
            assert len(door.pipeline) * len(wrong) <= 2 * READ


async def test_what_comes_behind_a_body_is_no_header(store_url: str, data: Path) -> None:
    """Both are here before the second is begun."""
    async with serving(store_url, data) as (gateway, one), dial(gateway) as wire:
        head = f"POST {TARGET} HTTP/1.1\r\nHost: x\r\nContent-Type: {JSON}\r\nTransfer-Encoding: chunked\r\n\r\n"
        keyed = f"Authorization: Bearer {gateway.key}\r\n"
        await wire.send(raw(gateway) + head.encode() + chunked([SPEECH], end=False) + f"0\r\n{keyed}\r\n".encode())
        assert [(await wire.answer()).status for _ in range(2)] == [200, 401]
        await gateway.records()
    assert len(one.seen) == 1


def queue_of(door: Door) -> Callable[[], Awaitable[int]]:
    """How many requests wait for their turn."""

    async def look() -> int:
        return len(door.pipeline)

    return look


async def test_a_body_is_asked_for_where_its_sender_waits_for_that(store_url: str, data: Path) -> None:
    async with serving(store_url, data) as (gateway, _), dial(gateway) as wire:
        asking = raw(gateway, "Expect: 100-continue").removesuffix(SPEECH)
        await wire.send(asking)
        assert await wire.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        await wire.send(SPEECH)
        assert (await wire.answer()).status == 200
        await gateway.records()
        await wire.send(asking.replace(gateway.key.encode(), b"sk-nobody"))
        assert (await wire.answer()).status == 401, "and nothing was asked for"


@pytest.mark.parametrize(
    ("first", "lines"),
    [(f"POST {TARGET} HTTP/1.0", ()), (f"POST {TARGET} HTTP/1.1", ("Connection: close",))],
    ids=["HTTP/1.0", "Connection: close"],
)
@pytest.mark.parametrize("good", [True, False])
async def test_who_asks_once_is_answered_and_left(
    store_url: str, data: Path, first: str, lines: tuple[str, ...], good: bool
) -> None:
    async with serving(store_url, data) as (gateway, _), dial(gateway) as wire:
        asked = raw(gateway, *lines, first=first)
        await wire.send(asked if good else asked.replace(gateway.key.encode(), b"sk-nobody"))
        answer = await wire.answer()
        await closes(wire)
    assert (answer.status, answer.headers["connection"]) == (200 if good else 401, "close")
    assert answer.whole


async def test_a_body_that_is_refused_passes_by_and_the_next_request_is_served(store_url: str, data: Path) -> None:
    async with serving(store_url, data) as (gateway, one), dial(gateway) as wire:
        await wire.begin("POST", TARGET, f"Content-Type: {FORM}", "Content-Length: 900000", key="sk-nobody")
        assert (await wire.answer()).status == 401
        for _ in range(9):
            await wire.send(bytes(100_000))
        assert (await wire.post(TARGET, SPEECH, content_type=JSON)).status == 200
        await gateway.records()
    assert len(one.seen) == 1


@pytest.mark.parametrize(
    ("told", "status"),
    [
        (("192.0.2.9",), 200),
        (("203.0.113.7, 192.0.2.9",), 200),
        (("203.0.113.7", "192.0.2.9, 127.0.0.1"), 200),
        (("192.0.2.9, 203.0.113.7",), 401),
        (("192.0.2.9", "203.0.113.7"), 401),
        (("",), 401),
        ((), 401),
    ],
)
async def test_the_caller_is_who_the_proxy_next_to_us_says(
    store_url: str, data: Path, told: tuple[str, ...], status: int
) -> None:
    keys = {"alice": Key("alice", "default", key_text(), ips=("192.0.2.0/24",))}
    near = Server(trusted_proxies=("127.0.0.1",))
    async with serving(store_url, data, keys=keys, server=near) as (gateway, _), dial(gateway) as wire:
        proxied = [f"X-Forwarded-For: {addresses}" for addresses in told]
        await wire.send(raw(gateway, *proxied))
        assert (await wire.answer()).status == status
        await wire.send(raw(gateway, *proxied, first="GET /v1/models HTTP/1.1", body=b""))
        assert (await wire.answer()).status == status, "the application sees the same caller"
        await gateway.idle()


@pytest.mark.parametrize("path", ["/v1/%61udio/speech", "/v1/audio/../models", "/v1/audio/"])
async def test_paths_that_could_be_read_in_two_ways_are_no_route(store_url: str, data: Path, path: str) -> None:
    async with serving(store_url, data) as (gateway, one), dial(gateway) as wire:
        answer = await wire.post(path, SPEECH, content_type=JSON)
        assert (answer.status, answer.error["type"]) == (404, "invalid_request_error")
        assert answer.headers["openai-version"] == "2020-10-01"
        assert (await wire.post(TARGET, SPEECH, content_type=JSON)).status == 200
        await gateway.records()
    assert len(one.seen) == 1


async def test_an_answer_to_HEAD_has_no_body(store_url: str, data: Path) -> None:
    empty = Answer(pieces=(), headers={"content-length": "7"}, content_type="audio/mpeg")
    async with serving(store_url, data, empty, said()) as (gateway, _), dial(gateway) as wire:
        for path, status in (("/v1/audio/voices", 200), ("/v1/audio//", 404)):
            await wire.send(raw(gateway, first=f"HEAD {path} HTTP/1.1", body=b""))
            assert (await wire.head()).status == status
        assert (await wire.post(TARGET, SPEECH, content_type=JSON)).json == {"text": "hello"}
        await gateway.idle()


async def test_an_answer_that_nobody_takes_is_not_kept(store_url: str, data: Path) -> None:
    long = Answer(pieces=tuple(bytes(100_000) for _ in range(200)), content_type="audio/pcm", chunked=True)
    async with serving(store_url, data, long) as (gateway, _), dial(gateway) as wire:
        wire.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await wire.send(raw(gateway))
        await until(lambda: paused(gateway), bool)
        (entry,) = gateway.app.parts.ledger._held.values()
        assert door_of(gateway).transport.get_write_buffer_size() < 64 * 1024 + 2 * READ
        assert entry.sent < 15_000_000, "most is still with the upstream"
        wire.writer.transport.resume_reading()  # type: ignore[attr-defined]
        answer = await wire.answer()
        await gateway.records()
    assert (len(answer.body), answer.whole) == (20_000_000, True)


async def paused(gateway: Running) -> bool:
    """Whether the answer on the only connection waits for its reader."""
    return any(isinstance(door, Door) and door.flow.write_paused for door in gateway.state.connections)


@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_an_upload_that_nobody_takes_is_not_kept(store_url: str, data: Path, framing: str) -> None:
    body = MODEL + file(SOUND) + END
    async with hesitant(store_url, data) as (url, go_on), serving(url, data) as (gateway, one), dial(gateway) as wire:
        go_on.clear()
        sized = f"Content-Length: {len(body)}" if framing == "length" else "Transfer-Encoding: chunked"
        await wire.begin("POST", "/v1/audio/transcriptions", f"Content-Type: {FORM}", sized)
        wire.writer.write(body if framing == "length" else b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body))
        await until(lambda: visited(gateway), lambda visit: visit is not None and visit._waiting > AHEAD)
        door = door_of(gateway)
        assert door.flow.read_paused
        assert isinstance(door._now, Visit)
        assert door._now._waiting <= AHEAD + READ
        go_on.set()
        assert (await wire.answer()).status == 200
        await gateway.records()
    assert one.seen[0].fields == [("model", b"whisper-1"), ("file", SOUND)]


async def visited(gateway: Running) -> Visit | None:
    """What is being served on the only connection."""
    now = door_of(gateway)._now if gateway.state.connections else None
    return now if isinstance(now, Visit) else None


async def test_callers_who_hang_up_at_any_byte_leave_nothing_behind(store_url: str, data: Path) -> None:
    async with serving(store_url, data) as (gateway, _):
        request = raw(gateway)
        for cut in range(1, len(request) + 1, 3):
            async with dial(gateway) as wire:
                await wire.send(request[:cut])
        await gateway.asked(connections=0, requests=0)
        await gateway.idle()
        assert gateway.app.metrics.registry.get_sample_value("audiogate_inflight_requests") == 0


async def test_an_answer_under_way_is_finished_when_the_server_stops(store_url: str, data: Path) -> None:
    gate = asyncio.Event()
    slow = Answer(pieces=(b"one", b"more"), content_type="audio/mpeg", gate=gate)
    async with serving(store_url, data, slow) as (gateway, _), dial(gateway) as wire, dial(gateway) as idle:
        await wire.send(raw(gateway))
        await gateway.asked(connections=2, requests=1)
        for door in list(gateway.state.connections):
            door.shutdown()
        await closes(idle)
        gate.set()
        answer = await wire.answer()
        await closes(wire)
        await gateway.records()
    assert (bytes(answer.body), answer.whole) == (b"onemore", True)


async def test_a_request_that_the_server_gives_up_is_told_so(store_url: str, data: Path) -> None:
    async with serving(store_url, data, Answer(hold=asyncio.Event())) as (gateway, one), dial(gateway) as wire:
        await wire.send(raw(gateway))
        await one.request()
        for task in gateway.state.tasks:
            task.cancel()
        answer = await wire.answer()
        await closes(wire)
        await gateway.records()
    assert (answer.status, answer.headers["connection"]) == (503, "close")
    assert (answer.error["type"], answer.error["code"]) == ("server_error", "not_ready")


async def test_a_key_that_ends_while_the_upstream_thinks_is_refused(store_url: str, data: Path) -> None:
    async with serving(store_url, data, Answer(hold=asyncio.Event()), said()) as (gateway, one), dial(gateway) as wire:
        await wire.send(raw(gateway))
        await one.request()
        (entry,) = gateway.app.parts.ledger._held.values()
        entry.call.stop()
        answer = await wire.answer()
        assert (answer.status, answer.error["code"]) == (401, "invalid_api_key")
        assert (await wire.post(TARGET, SPEECH, content_type=JSON)).status == 200
        await gateway.idle()


async def test_what_is_no_request_never_gets_into_an_answer(store_url: str, data: Path) -> None:
    gate = asyncio.Event()
    slow = Answer(pieces=(b"one", b"more"), content_type="audio/mpeg", gate=gate)
    async with serving(store_url, data, slow) as (gateway, _), dial(gateway) as wire:
        await wire.send(raw(gateway))
        await wire.head()
        await wire.send(b"\x00 nonsense\r\n\r\n")
        async with asyncio.timeout(5):
            assert await wire.reader.read() == b"3\r\none\r\n"
        (record,) = await gateway.records()
    assert record["error"] == "client_gone"


@pytest.mark.parametrize("sent", [b"\x00\r\n\r\n", b"POST /v1/audio/\xff HTTP/1.1\r\nHost: x\r\n\r\n"])
async def test_what_is_no_request_is_answered_and_left(store_url: str, data: Path, sent: bytes) -> None:
    async with serving(store_url, data) as (gateway, _), dial(gateway) as wire:
        await wire.send(sent)
        answer = await wire.answer()
        await closes(wire)
    assert (answer.status, answer.error["code"]) == (400, "bad_request")
    assert answer.headers["connection"] == "close"
