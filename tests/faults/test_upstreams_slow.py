"""Upstreams that take their time: those that drip, and those that are full of requests under way."""

import asyncio
import time
from dataclasses import replace
from pathlib import Path
from statistics import quantiles
from typing import Any

import httpx2
import pytest

from gateway.config.model import Server, Timeouts
from tests.faults.checker import served
from tests.faults.upstreams import BOTH_WAYS, Draw, fleet, never, statuses
from tests.launched import launched, room
from tests.running import until
from tests.stub import Answer, Stub, stub

# -- U-24: drips


def dripping(count: int, pace: float, *, media: str = "audio/mpeg", status: int = 200) -> Answer:
    """So many single bytes, `pace` seconds apart."""
    return Answer(status, content_type=media, pieces=(b"x",) * count, pace=pace, chunked=True)


@pytest.mark.parametrize(("idle", "pace"), [(0.6, 0.05), pytest.param(60.0, 1.0, marks=pytest.mark.soak)])
async def test_U_24_sound_that_drips_is_given_up(store_url: str, data: Path, idle: float, pace: float) -> None:
    """It is never silent for long, and no sound either: after half of what it may be silent for, it is over."""
    async with fleet(store_url, data, lambda: dripping(1000, pace), served, idle_timeout=idle) as one:
        began = time.monotonic()
        async with one.by_hand() as (wire, told):
            await wire.send(told.job.body)
            head = await wire.head()
            told.status, told.rid = head.status, head.headers["x-request-id"]
            came = await wire.reader.read()
        took = time.monotonic() - began
        (row,) = await one.records()
        figures = await one.books()
    print(f"U-24 given up after {took:.1f} s; {figures}")
    assert told.status == 200
    assert not came.endswith(b"0\r\n\r\n"), "it looks whole"
    assert (row["error"], row["attempts"]) == ("upstream_failed", "1")
    assert 0 < int(row["bytes_out"]) < 100
    assert one.seen == [1, 0]


async def test_U_24_sound_that_comes_slowly_is_not(store_url: str, data: Path) -> None:
    """A little above the least that sound needs, for far longer than a drip would be given."""
    answer = Answer(content_type="audio/mpeg", pieces=(b"x" * 20,) * 40, pace=0.02, chunked=True)
    async with fleet(store_url, data, lambda: answer, idle_timeout=0.4) as one:
        told = await one.ask()
        print("U-24", await one.books())
    assert (told.status, told.whole, len(told.body)) == (200, True, 800)


async def test_U_24_nor_is_a_text_that_comes_as_it_is_heard(store_url: str, data: Path) -> None:
    async with fleet(store_url, data, lambda: dripping(40, 0.02, media="text/event-stream"), idle_timeout=0.4) as one:
        told = await one.ask("fields first")
        print("U-24", await one.books())
    assert (told.status, told.whole, len(told.body)) == (200, True, 40)


async def test_U_24_a_slow_caller_is_not_blamed_on_the_upstream(store_url: str, data: Path) -> None:
    """He reads nothing for longer than a drip is given; all of it comes in the end."""
    sound = bytes(8_000_000)
    answer = Answer(content_type="audio/mpeg", pieces=(sound,))
    async with fleet(store_url, data, lambda: answer, idle_timeout=0.4) as one:
        async with one.by_hand() as (wire, told):
            wire.writer.transport.pause_reading()  # type: ignore[attr-defined]
            await wire.send(told.job.body)
            for _ in range(3):  # each takes as long as an upstream may be silent
                with pytest.raises(asyncio.TimeoutError):
                    await asyncio.wait_for(never().wait(), 0.3)
            wire.writer.transport.resume_reading()  # type: ignore[attr-defined]
            got = await wire.answer()
            told.status, told.rid = got.status, got.headers["x-request-id"]
        print("U-24", await one.books())
    assert (told.status, got.whole, len(got.body)) == (200, True, len(sound))


def head_by_bytes() -> Answer:
    """The head itself drips."""
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Long: " + b"x" * 500 + b"\r\n\r\nok"
    return Answer(raw=True, pieces=tuple(bytes([one]) for one in head), pace=0.02)


async def test_U_24_a_head_that_drips_has_the_time_of_a_first_byte(store_url: str, data: Path) -> None:
    async with fleet(store_url, data, head_by_bytes, served, first_byte_timeout=0.3) as one:
        told = await one.crowd(3, *BOTH_WAYS)
        print("U-24", await one.books())
    assert statuses(told) == {504: 3}


DRIPS: dict[str, tuple[str, Draw]] = {
    "an error": ("openai", lambda: dripping(2000, 0.02, media="application/json", status=500)),
    "a refusal": ("openai", lambda: dripping(2000, 0.02, media="application/json", status=400)),
    "what may be an error": ("newapi", lambda: dripping(2000, 0.02, media="application/json")),
    "a text": ("openai", lambda: dripping(2000, 0.02, media="application/json")),
}


@pytest.mark.parametrize(("kind", "draw"), DRIPS.values(), ids=DRIPS)
async def test_U_24_whatever_drips_ends_with_the_time_of_the_request(
    store_url: str, data: Path, kind: str, draw: Draw
) -> None:
    """Forty seconds of it, where a request has one."""
    server = Server(timeouts=replace(Timeouts(), total=1.0))
    async with fleet(store_url, data, draw, server=server, kind=kind) as one:
        one.no_pause()
        async with asyncio.timeout(6):
            told = await one.ask()
        print("U-24", await one.books())
    assert not (told.status == 200 and told.whole)


# -- U-28: bulkheads

SOUND_ONLY, SPEECH_ONLY = {"whisper-1": "whisper-1"}, {"tts-1": "tts-1"}
ROOM = 5


async def test_U_28_who_is_full_of_requests_takes_nothing_from_the_others(store_url: str, data: Path) -> None:
    """Its further callers are told so at once, those of another upstream are served; and it serves again afterwards."""
    gate = asyncio.Event()

    def draw() -> Answer:
        answer = served()
        answer.hold = gate
        return answer

    models = (SOUND_ONLY, SPEECH_ONLY)
    async with fleet(store_url, data, draw, served, models=models, max_requests=(ROOM, 1000)) as one:
        hanging = [asyncio.ensure_future(one.ask(BOTH_WAYS[number % 2])) for number in range(ROOM)]
        await one.oracles[0].stub.request(ROOM - 1)
        refused = [await one.ask("fields first") for _ in range(3)]
        beside = await one.crowd(30, "speech")
        assert one.seen == [ROOM, 30]
        assert not any(task.done() for task in hanging)
        gate.set()
        told = await asyncio.gather(*hanging)
        after = await one.crowd(20, "fields first", at_once=ROOM)
        figures = await one.books()
    print("U-28", figures)
    assert statuses(refused) == {503: 3}
    assert all(b'"overloaded"' in each.body for each in refused)
    assert statuses(beside) == {200: 30}
    assert statuses(told) == {200: ROOM}
    assert statuses(after) == {200: 20}


async def test_U_28_what_finds_it_full_goes_to_the_next(store_url: str, data: Path) -> None:
    gate = asyncio.Event()

    def draw() -> Answer:
        answer = served()
        answer.hold = gate
        return answer

    async with fleet(store_url, data, draw, served, max_requests=ROOM) as one:
        hanging = [asyncio.ensure_future(one.ask()) for _ in range(ROOM)]
        await one.oracles[0].stub.request(ROOM - 1)
        assert statuses([await one.ask(kind) for kind in BOTH_WAYS]) == {200: 3}
        assert one.seen == [ROOM, 3]
        gate.set()
        assert statuses(await asyncio.gather(*hanging)) == {200: ROOM}
        assert (await one.ask()).status == 200
        assert one.seen == [ROOM + 1, 3]
        print("U-28", await one.books())


async def test_U_28_a_crowd_that_comes_at_once_does_not_overfill_it(store_url: str, data: Path) -> None:
    """All of them are planned before the first of them is there."""
    gate, most = asyncio.Event(), 0

    def draw() -> Answer:
        answer = served()
        answer.hold = gate
        return answer

    async with fleet(store_url, data, draw, served, max_requests=(ROOM, 1000)) as one:
        asked = [asyncio.ensure_future(one.ask()) for _ in range(40)]

        async def at_a() -> int:
            return one.seen[0]

        await until(at_a, lambda count: count >= ROOM)
        while sum(one.seen) < 40 and not all(task.done() for task in asked):
            await asyncio.sleep(0.005)
            if sum(task.done() for task in asked) + one.seen[0] >= 40:
                break
        most = one.seen[0]
        gate.set()
        told = await asyncio.gather(*asked)
        figures = await one.books()
    print(f"U-28 {most} of 40 were under way at one that takes {ROOM}; {figures}")
    assert most == ROOM
    assert set(statuses(told)) <= {200}


async def test_U_28_who_goes_away_leaves_his_place(store_url: str, data: Path) -> None:
    async with fleet(store_url, data, lambda: Answer(hold=never()), served, max_requests=(ROOM, 1000)) as one:
        for round_ in range(1, 4):
            hanging = [asyncio.ensure_future(one.ask()) for _ in range(ROOM)]
            await one.oracles[0].stub.request(ROOM * round_ - 1)
            for task in hanging:
                task.cancel()
            await asyncio.gather(*hanging, return_exceptions=True)
            await one.checker.at_rest(one.gateway)
        assert one.gateway.app.parts.client.under_way("a") == 0
        assert one.seen == [ROOM * 3, 0]
        print("U-28", await one.books())


CONFIG = """\
server: {{host: 127.0.0.1}}
store: {{data: data}}
upstreams:
  slow: {{kind: openai, base_url: "{slow}", allow_private: true, key: sk-secret-of-slow, models: [whisper-1]}}
  quick: {{kind: openai, base_url: "{quick}", allow_private: true, key: sk-secret-of-quick, models: [tts-1]}}
prices: {{tts-1: {{per_1m_characters: 15}}, whisper-1: {{per_minute: 0.006}}}}
keys: {{alice: {{}}}}
"""
SPEECH = {"model": "tts-1", "voice": "x", "input": "hello"}


async def asked(client: httpx2.AsyncClient, times: list[float], count: int) -> None:
    """Speech, one after the other; the seconds that each takes."""
    for _ in range(count):
        began = time.perf_counter()
        assert (await client.post("/v1/audio/speech", json=SPEECH)).status_code == 200
        times.append(time.perf_counter() - began)


def p(times: list[float], share: int) -> float:
    """A percentile, in milliseconds."""
    return quantiles(times, n=100)[share - 1] * 1000


async def hung(client: httpx2.AsyncClient, slow: Stub, count: int) -> list["asyncio.Task[httpx2.Response]"]:
    """So many uploads that get no answer; a few at a time, since a gateway that is in a hurry refuses some."""
    wanted, hanging = len(slow.seen) + count, list[asyncio.Task[httpx2.Response]]()
    form: dict[str, Any] = {"data": {"model": "whisper-1"}, "files": {"file": b"x"}}
    async with asyncio.timeout(100):
        while (before := len(slow.seen)) < wanted:
            few = [
                asyncio.ensure_future(client.post("/v1/audio/transcriptions", **form))
                for _ in range(min(20, wanted - before))
            ]
            while len(slow.seen) - before + sum(one.done() for one in few) < len(few):
                await asyncio.sleep(0.005)
            hanging += few
    return hanging


@pytest.mark.soak
@pytest.mark.timeout(300)
async def test_U_28_beside_a_thousand_that_hang(store_url: str) -> None:
    """The gateway is a process of its own; quiet times and full ones take turns."""
    async with stub() as slow, stub() as quick:
        slow.answers = [Answer(hold=never())]
        with room() as folder:
            (folder / "gateway.yaml").write_text(CONFIG.format(slow=slow.url, quick=quick.url))
            async with launched(folder, "-c", "gateway.yaml") as gateway, gateway.client() as client:
                alone, beside = list[float](), list[float]()
                await asked(client, [], 100)
                for _ in range(3):
                    await asked(client, alone, 500)
                    hanging = await hung(client, slow, 1000)
                    await asked(client, beside, 500)
                    for task in hanging:
                        task.cancel()
                    await asyncio.gather(*hanging, return_exceptions=True)
    print(
        f"U-28 1,500 requests alone: p50 {p(alone, 50):.1f}, p99 {p(alone, 99):.1f} ms; beside 1,000 that hang "
        f"elsewhere: p50 {p(beside, 50):.1f}, p99 {p(beside, 99):.1f} ms"
    )
    assert p(beside, 50) < 2 * p(alone, 50)
