"""Upstreams that say what nobody may believe, or too much of it; and those that say it in odd but lawful ways."""

import asyncio
import json
import zlib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.corpus.replies import BAD_BODIES, BAD_HEADS, BEGUN, SOUND, STOWAWAY, head, reply
from tests.faults.checker import served
from tests.faults.upstreams import BOTH_WAYS, fleet, noted
from tests.launched import launched, room
from tests.stub import Answer, Stub, stub

JSON = b"Content-Type: application/json"


def raw(*pieces: bytes, cut: bool = False) -> Answer:
    """Just these bytes; then the connection stays open, unless it is cut."""
    return Answer(raw=True, pieces=pieces, cut=cut)


# -- U-17, U-18: what is no answer, and what is one


@pytest.mark.parametrize("count", [1, 2])
async def test_U_17_a_reply_that_cannot_be_trusted_is_none(store_url: str, data: Path, count: int) -> None:
    """A whole reply comes behind each; whoever takes that for an answer was fooled. Another upstream serves."""
    bad = [b""]
    async with fleet(store_url, data, lambda: raw(bad[0] + STOWAWAY), *[served] * (count - 1)) as one:
        codes = Counter[tuple[int, str]]()
        one.no_pause()
        for bad[0] in BAD_HEADS.values():
            one.forget()
            told = await one.ask()
            assert told.whole
            codes[told.status, json.loads(told.body).get("error", {}).get("code", "")] += 1
            assert b"stowaway" not in told.body
        await closed_all(one.oracles[0].stub)
        figures = await one.books()
    print(f"U-17 {len(BAD_HEADS)} heads:", dict(codes), figures)
    if count == 1:
        assert {status for status, _ in codes} == {502}
    else:
        assert {status for status, _ in codes} == {200}


async def closed_all(upstream: Stub) -> None:
    """Every connection to it was closed, so none is used again."""
    async with asyncio.timeout(5):
        for seen in upstream.seen:
            await seen.closed.wait()


async def test_U_17_a_body_that_cannot_be_trusted_is_broken_off(store_url: str, data: Path) -> None:
    given = iter(BAD_BODIES.values())
    start = BEGUN.replace(b"\r\n", b"\r\nContent-Type: audio/mpeg\r\n", 1)
    async with fleet(store_url, data, lambda: raw(start + next(given) + STOWAWAY), served) as one:
        for _ in BAD_BODIES:
            one.forget()
            told = await one.ask()
            assert (told.status, told.whole) == (200, False)
            assert told.body.startswith(b"begun ")
            assert b"stowaway" not in told.body
        await closed_all(one.oracles[0].stub)
        rows = await one.records(len(BAD_BODIES))
        figures = await one.books()
    print(f"U-17 {len(BAD_BODIES)} bodies:", figures)
    assert {row["error"] for row in rows} == {"upstream_failed"}
    assert one.seen == [len(BAD_BODIES), 0]


async def test_U_17_a_stowaway_behind_a_good_reply_is_nobodys(store_url: str, data: Path) -> None:
    """It came with the reply: the connection is not kept, and the next caller gets his own."""
    good = reply(b'{"text":"hello"}', JSON)
    async with fleet(store_url, data, lambda: raw(good + STOWAWAY)) as one:
        told = await one.crowd(100, *BOTH_WAYS, at_once=8)
        await closed_all(one.oracles[0].stub)
        figures = await one.books()
    print("U-17 stowaways:", figures)
    assert {(each.status, each.body) for each in told} == {(200, b'{"text":"hello"}')}


async def test_U_17_what_is_said_to_nobody_ends_the_connection(store_url: str, data: Path) -> None:
    """It came while the connection was kept and nobody had asked anything."""
    gate = asyncio.Event()
    answer = raw(reply(b'{"text":"hello"}', JSON), STOWAWAY)
    answer.gate = gate
    async with fleet(store_url, data, lambda: answer) as one:
        first = await one.ask()
        gate.set()
        await closed_all(one.oracles[0].stub)
        second = await one.ask()
        print("U-17", await one.books())
    assert (first.body, second.body) == (b'{"text":"hello"}',) * 2


async def test_U_18_what_is_odd_and_lawful_is_passed_on(store_url: str, data: Path) -> None:
    """Interim answers, codings, lengths told in every way; of the interim answers the caller sees nothing."""
    wanted = [sound for sound in SOUND.values() if sound.status == 200]
    given = iter(raw(sound.data, cut=sound.ends) for sound in wanted)
    async with fleet(store_url, data, lambda: next(given)) as one:
        for sound in wanted:
            told = await one.ask()
            assert (told.status, told.body, told.whole) == (200, sound.body, True)
        print(f"U-18 {len(wanted)} replies:", await one.books())


@pytest.mark.parametrize("count", [1, 16, 17])
async def test_U_18_interim_answers_are_ignored_and_bounded(store_url: str, data: Path, count: int) -> None:
    interim = head(b"Link: </a>", status=b"HTTP/1.1 103 Early Hints")
    answer = raw(interim * count + reply(b'{"text":"hello"}', JSON))
    async with fleet(store_url, data, lambda: answer, served) as one:
        async with one.by_hand() as (wire, told):
            await wire.send(told.job.body)
            first = await wire.head()
            await noted(wire, told, first)
        figures = await one.books()
    print("U-18", figures)
    assert (told.status, told.whole) == (200, True)
    assert "link" not in first.headers
    assert one.seen[1] == (1 if count > 16 else 0)


@pytest.mark.parametrize("name", ["an unasked change of protocols", "a bare 101"])
async def test_U_18_an_unasked_change_of_protocols_is_no_answer(store_url: str, data: Path, name: str) -> None:
    async with fleet(store_url, data, lambda: raw(BAD_HEADS[name])) as one:
        told = await one.ask()
        await closed_all(one.oracles[0].stub)
        print("U-18", await one.books())
    assert told.status == 502


# -- U-19: too much of it


def bomb(size: int) -> Iterable[bytes]:
    """About a thousandth of `size` in bytes, which somebody who unpacks them has `size` of."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    first = packer.compress(bytes(1_000_000)) + packer.flush(zlib.Z_FULL_FLUSH)
    again = packer.compress(bytes(1_000_000)) + packer.flush(zlib.Z_FULL_FLUSH)
    yield first
    for _ in range(size // 1_000_000 - 1):
        yield again


CONFIG = """\
server: {{host: 127.0.0.1}}
store: {{data: data}}
upstreams:
  a: {{kind: openai, base_url: "{url}", allow_private: true, key: sk-secret-of-a, models: [tts-1, whisper-1]}}
prices: {{tts-1: {{per_1m_characters: 15}}, whisper-1: {{per_minute: 0.006}}}}
keys: {{alice: {{}}}}
"""


def memory(pid: int, name: str) -> int:
    """Bytes: VmRSS now, VmHWM at most so far."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


MUCH = {
    "a bomb": (tuple(bomb(10_000_000_000)), {"content-encoding": "gzip"}, "application/json"),
    "a coding that nobody knows": ((bytes(65536),) * 160, {"content-encoding": "x-new"}, "application/json"),
    "JSON beyond the cap": ((b'{"text":"', *[b"x" * 65536] * 480, b'"}'), {}, "application/json"),
    "JSON below the cap": ((b'{"text":"', *[b"x" * 65536] * 150, b'"}'), {}, "application/json"),
    "an event without end": ((b"data: ", *[b"x" * 65536] * 480), {}, "text/event-stream"),
    "sound": ((bytes(65536),) * 480, {}, "audio/mpeg"),
}


async def test_U_19_what_is_too_much_passes_by_unopened() -> None:
    """A gateway of its own, whose memory is looked at: the most it had above what it had before."""
    with room() as folder:
        async with stub() as one:
            (folder / "gateway.yaml").write_text(CONFIG.format(url=one.url))
            async with launched(folder, "-c", "gateway.yaml") as gateway, gateway.client() as client:
                pid = worker_of(gateway.process.pid)
                for name, (pieces, headers, media) in MUCH.items():
                    one.answers = [Answer(pieces=pieces, headers=headers, content_type=media, chunked=True)]
                    for _ in range(2):
                        Path(f"/proc/{pid}/clear_refs").write_text("5")
                        before, got = memory(pid, "VmRSS"), 0
                        body = {"model": "tts-1", "voice": "x", "input": "hello"}
                        async with client.stream("POST", "/v1/audio/speech", json=body) as answer:
                            assert answer.status_code == 200
                            assert answer.headers.get("content-encoding", "") == headers.get("content-encoding", "")
                            async for piece in answer.aiter_raw():
                                got += len(piece)
                        grew = memory(pid, "VmHWM") - before
                    print(f"U-19 {name}: {got:,} bytes passed on, RSS + {grew / 1e6:.1f} MB")
                    assert got == sum(map(len, pieces))
                    assert grew < 20_000_000, name


def worker_of(pid: int) -> int:
    """The process that serves: the one with the most memory of this one and its children."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return max([pid, *map(int, children)], key=lambda one: memory(one, "VmRSS"))
