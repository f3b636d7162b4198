"""Callers that go away: in mid-upload, while the store or an upstream is asked, in mid-download, a hundred at once."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from tests.media import make
from tests.running import Running, serving, until
from tests.servers import client_of
from tests.stub import Answer, Seen, said
from tests.wire import END, FORM, MODEL, dial, file, framed

TARGET = "/v1/audio/transcriptions"
WAV = make("wav", 1.0)
SOUND = random.Random(1).randbytes(300_000)
FIVE_MB = random.Random(1).randbytes(5_000_000)
SPEECH = b'{"model":"tts-1","input":"hello","voice":"x"}'


@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_an_upload_that_breaks_off_is_never_completed_and_costs_nothing(
    store_url: str, data: Path, framing: str
) -> None:
    header, sent = framed(MODEL + file(FIVE_MB) + END, framing)
    async with serving(store_url, data) as (gateway, one), dial(gateway) as wire:
        await wire.begin("POST", TARGET, f"Content-Type: {FORM}", header)
        await wire.send(sent[:3_000_000])
        seen = await one.request()
        await seen.has(1_000_000)
        wire.hang_up()
        async with asyncio.timeout(2):
            await seen.closed.wait()
        (record,) = await gateway.records()
        await gateway.idle()
    assert not seen.whole
    assert (record["status"], record["error"], record["cost_micro_usd"]) == ("499", "client_gone", "0")


async def test_a_caller_that_hangs_up_in_mid_download_frees_the_upstream(store_url: str, data: Path) -> None:
    endless = Answer(pieces=(b"ID3", b"never"), content_type="audio/mpeg", gate=asyncio.Event())
    async with serving(store_url, data, endless) as (gateway, one), dial(gateway) as wire:
        await wire.begin("POST", "/v1/audio/speech", "Content-Type: application/json", f"Content-Length: {len(SPEECH)}")
        await wire.send(SPEECH)
        assert (await wire.head()).status == 200
        wire.hang_up()
        async with asyncio.timeout(1):
            await one.seen[0].closed.wait()
        (record,) = await gateway.records()
        await gateway.idle()
    assert (record["status"], record["error"], record["cost_micro_usd"]) == ("499", "client_gone", "75")


async def test_a_caller_that_hangs_up_while_the_upstream_thinks_pays_for_what_was_sent(
    store_url: str, data: Path
) -> None:
    async with serving(store_url, data, Answer(hold=asyncio.Event())) as (gateway, one), dial(gateway) as wire:
        body = MODEL + file(WAV) + END
        await wire.begin("POST", TARGET, f"Content-Type: {FORM}", f"Content-Length: {len(body)}")
        await wire.send(body)
        seen = await one.request()
        await seen.has(len(WAV) + 100)
        await until(whole_of(one.seen), bool)
        wire.hang_up()
        async with asyncio.timeout(1):
            await seen.closed.wait()
        (record,) = await gateway.records()
        await gateway.idle()
    assert (record["status"], record["error"], record["step"]) == ("499", "client_gone", "attempt")
    assert (record["audio_ms"], record["cost_micro_usd"]) == ("1000", "100")


def whole_of(seen: list[Seen]) -> Callable[[], Awaitable[bool]]:
    async def look() -> bool:
        return bool(seen[0].whole)

    return look


@asynccontextmanager
async def hesitant(store_url: str, data: Path) -> AsyncIterator[tuple[str, asyncio.Event]]:
    """The store behind a socket that keeps its answers back while the event is not set."""
    go_on = asyncio.Event()
    go_on.set()
    tasks: set[asyncio.Task[None]] = set()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool) -> None:
        with suppress(ConnectionError):
            while piece := await reader.read(65_536):
                if answers:
                    await go_on.wait()
                writer.write(piece)
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_unix_connection(store_url.removeprefix("unix://"))
        tasks.add(asyncio.ensure_future(pump(reader, back, answers=False)))
        tasks.add(asyncio.ensure_future(pump(there, writer, answers=True)))

    path = data / "hesitant.sock"
    server = await asyncio.start_unix_server(serve, path)
    try:
        yield f"unix://{path}", go_on
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_caller_that_hangs_up_while_the_store_is_asked_leaves_nothing_held(store_url: str, data: Path) -> None:
    async with hesitant(store_url, data) as (url, go_on), serving(url, data) as (gateway, one):
        async with dial(gateway) as wire:
            assert (await wire.post("/v1/audio/speech", SPEECH, content_type="application/json")).status == 200
        await gateway.idle()
        async with client_of(store_url) as side, dial(gateway) as wire:
            go_on.clear()
            sized = f"Content-Length: {len(SPEECH)}"
            await wire.begin("POST", "/v1/audio/speech", "Content-Type: application/json", sized)
            await wire.send(SPEECH)
            await until(lambda: side.hlen("{ag}:held"), lambda count: count == 1)  # reserved, and nobody knows yet
            wire.hang_up()
            await gateway.asked(connections=0, requests=1)  # it is heard, and what the store is told goes on
            go_on.set()
            await until(lambda: side.hlen("{ag}:held"), lambda count: count == 0)
        records = await gateway.records(2)
        await gateway.idle()
    assert (records[1]["status"], records[1]["cost_micro_usd"]) == ("499", "0")
    assert len(one.seen) == 1


async def cancelled_somewhere(gateway: Running, dice: random.Random) -> None:
    """A request whose caller goes away at a random moment: while it sends, is admitted, waits or hears the answer."""
    fields_first = dice.random() < 0.5
    body = (MODEL + file(SOUND) if fields_first else file(SOUND) + MODEL) + END
    cut = dice.choice([dice.randrange(len(body)), len(body)])
    async with dial(gateway) as wire:
        await wire.begin("POST", TARGET, f"Content-Type: {FORM}", f"Content-Length: {len(body)}")
        await wire.send(body[:cut])
        await asyncio.sleep(dice.random() * 0.4)  # any moment will do, none is waited for
        wire.hang_up()


async def test_a_hundred_callers_that_go_away_leave_nothing_behind(store_url: str, data: Path) -> None:
    dice = random.Random(4)
    slow = Answer(pieces=(b'{"text":', b'"hello"}'), gate=asyncio.Event())
    async with serving(store_url, data, slow) as (gateway, one):
        always = await left_of(gateway)
        await asyncio.gather(*(cancelled_somewhere(gateway, dice) for _ in range(100)))
        await gateway.asked(connections=0, requests=0)
        await gateway.idle()
        await until(lambda: left_of(gateway), lambda names: names == always)
        one.answers = [said("still here")]
        async with dial(gateway) as wire:
            assert (await wire.post(TARGET, MODEL + file(SOUND) + END)).json == {"text": "still here"}
        await gateway.idle()
        metrics = gateway.app.metrics.render().decode()
    values = dict(line.rsplit(" ", 1) for line in metrics.splitlines() if not line.startswith("#"))
    gauges = {
        name: float(value) for name, value in values.items() if "spool" in name or "held" in name or "flight" in name
    }
    assert gauges
    assert not any(gauges.values()), gauges


async def left_of(gateway: Running) -> list[str]:
    """The names of the gateway's background tasks."""
    return sorted(name for task in gateway.app.tasks._running if (name := task.get_name()) != "warm the probe")
