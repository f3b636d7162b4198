"""Keys that are `exact`: measured before they are let in, so that none of their limits is ever exceeded."""

import asyncio
import os
import signal
from contextlib import AsyncExitStack
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from gateway.audio.container import HEAD_BYTES
from gateway.audio.duration import estimate_seconds
from gateway.config.model import Key, Uploads
from gateway.policy.limits import Limit
from gateway.policy.pricing import Price
from gateway.upstreams import KINDS
from tests.media import make
from tests.running import Running, configured, key_text, running, serving, until, upstream
from tests.stub import Answer, said, stub
from tests.wire import END, FORM, MODEL, dial, file, text
from tests.wires import wired

TARGET = "/v1/audio/transcriptions"
WAV = make("wav", 2.0)  # 200 micro-USD at 0.006 a minute
SOUND = MODEL + file(WAV) + END
ALICE = f"{{ag}}:k:{key_text()[3:13]}"
SCOPES = (ALICE, "{ag}:t:default", "{ag}:u:a")


def exactly(*limits: Limit) -> dict[str, Key]:
    """Alice with an exact key."""
    return {"alice": Key("alice", "default", key_text(), limits=limits, exact=True)}


async def numbers(gateway: Running, scope: str = ALICE) -> list[int]:
    """The 32 numbers of a scope: 6 - 9 are reserved (micro-USD, ms, characters, requests), 26 - 29 used in all."""
    text_ = "local s = redis.call('HGET', KEYS[1], 's') return s and cmsgpack.unpack(s) or {}"
    found: Any = await gateway.app.connection.client.eval(text_, 1, scope)
    return [int(number) for number in found] or [0] * 32


def flac(seconds: float, claimed: int) -> bytes:
    """A file whose header claims so many samples."""
    sound = make("flac", seconds)
    claim = int.from_bytes(sound[18:26]) >> 36 << 36 | claimed
    return sound[:18] + claim.to_bytes(8) + sound[26:]


def mp3(seconds: float, claimed: int) -> bytes:
    """A file whose header claims so many frames."""
    sound = make("mp3", seconds)
    at = sound.index(b"Info") + 8
    return sound[:at] + claimed.to_bytes(4) + sound[at + 4 :]


# What is sent, and how many milliseconds its packets last.
FILES = {
    "honest": (WAV, 2000),
    "a header that claims much": (flac(3.0, 48_000 * 3600), 3000),
    "a header that claims little": (flac(3.0, 4800), 3000),
    "a header that claims many frames": (mp3(3.0, 100_000), 3024),  # 126 frames of 24 ms
    "bytes that tell nothing": (make("oga", 3.0), 3000),
    "a length that no float is": (make("mpga", 3.0), 3000),
}


@pytest.mark.parametrize(("sound", "ms"), FILES.values(), ids=FILES)
@pytest.mark.parametrize("order", ["file first", "fields first"])
async def test_a_file_is_reserved_for_exactly_what_its_packets_last(
    store_url: str, data: Path, sound: bytes, ms: int, order: str
) -> None:
    hold = asyncio.Event()
    body = (file(sound) + MODEL if order == "file first" else MODEL + file(sound)) + END
    async with serving(store_url, data, Answer(hold=hold), keys=exactly()) as (gateway, one), dial(gateway) as wire:
        asking = asyncio.ensure_future(wire.post(TARGET, body))
        await one.request()
        reserved = [(await numbers(gateway, scope))[6:10] for scope in SCOPES]
        hold.set()
        assert (await asking).status == 200
        (record,) = await gateway.records()
        await gateway.idle()
        used = [(await numbers(gateway, scope))[26:30] for scope in SCOPES]
    assert reserved == [[-(-ms // 10), ms, 0, 1]] * 3
    assert used == [[round(ms / 10), ms, 0, 1]] * 3
    assert (record["source"], record["audio_ms"], record["disputed"]) == ("packets", str(ms), "0")
    assert one.seen[0].fields[0 if order == "file first" else 1][1] == sound
    guess = estimate_seconds(sound[:HEAD_BYTES], total_bytes=len(sound), max_bytes=len(sound)).seconds
    if sound is not WAV and sound != make("mpga", 3.0):
        assert abs(guess * 1000 - ms) > 100, "another key would have reserved something else"


@pytest.mark.parametrize("claimed", [2.0, 20.0])
async def test_of_fifty_at_once_with_a_budget_for_ten_ten_are_served_and_all_of_it_is_spent(
    store_url: str, data: Path, claimed: float
) -> None:
    hold, most = asyncio.Event(), 0
    limit = Limit("usd", "total", 2_199)
    async with AsyncExitStack() as stack:
        gateway, one = await stack.enter_async_context(
            serving(store_url, data, Answer(hold=hold, pieces=said(duration=claimed).pieces), keys=exactly(limit))
        )
        wires = [await stack.enter_async_context(dial(gateway)) for _ in range(50)]
        asking = [asyncio.ensure_future(wire.post(TARGET, SOUND)) for wire in wires]

        async def looked() -> int:
            nonlocal most
            found = await numbers(gateway)
            most = max(most, found[6] + found[26])
            return sum(task.done() for task in asking)

        await until(looked, lambda done: done == 40)
        assert all(task.result().error["code"] == "insufficient_quota" for task in asking if task.done())
        hold.set()
        await until(looked, lambda done: done == 50)
        records = await gateway.records(10)
        await gateway.idle()
        found = await numbers(gateway)
    assert sorted(task.result().status for task in asking) == [200] * 10 + [429] * 40
    assert len(one.seen) == 10
    assert most == 2_000 <= limit.amount
    assert (found[6:10], found[26:30]) == ([0, 0, 0, 0], [2_000, 20_000, 0, 10])
    assert sum(int(record["cost_micro_usd"]) for record in records) == 2_000
    assert sum(int(record["upstream_micro_usd"]) for record in records) == 2_000 * int(claimed / 2)


TOKENS = {"usage": {"type": "tokens", "input_tokens": 10_000, "output_tokens": 10_000}}
BY_TOKENS = Price(per_1m_input_tokens=Decimal(10), per_1m_output_tokens=Decimal(20))


@pytest.mark.parametrize(
    ("price", "words", "held", "paid", "paid_ms"),
    [
        (Price(per_minute=Decimal("0.006")), {"duration": 60.0}, 200, 6_000, 60_000),
        (Price(per_minute=Decimal("0.006")), {"usage": {"type": "duration", "seconds": 61}}, 200, 6_100, 61_000),
        (BY_TOKENS, TOKENS, 40 * 10 + 16 * 20, 300_000, 2_000),
        (Price(per_minute=Decimal("0.006")), {"duration": 0.5}, 200, 200, 2_000),
    ],
    ids=["more seconds", "more seconds, as usage", "more tokens", "fewer seconds"],
)
@pytest.mark.parametrize("exact", [True, False])
async def test_an_upstream_that_claims_more_than_was_held_is_paid_by_the_operator(
    store_url: str, data: Path, price: Price, words: dict[str, Any], held: int, paid: int, paid_ms: int, exact: bool
) -> None:
    keys = {"alice": Key("alice", "default", key_text(), exact=exact)}
    prices = {"whisper-1": price}
    async with serving(store_url, data, said("hi", **words), keys=keys, prices=prices) as (gateway, _):
        async with dial(gateway) as wire:
            assert (await wire.post(TARGET, SOUND)).status == 200
        (record,) = await gateway.records()
        await gateway.idle()
        used = [(await numbers(gateway, scope))[26:28] for scope in SCOPES]
        day: Any = await gateway.app.connection.client.keys("{ag}:day:*")
        sums: Any = await gateway.app.connection.client.hgetall(day[0])
    mine, mine_ms = (held, 2_000) if exact else (paid, paid_ms)
    assert used == [[mine, mine_ms], [mine, mine_ms], [paid, paid_ms]]
    assert (record["cost_micro_usd"], record["upstream_micro_usd"]) == (str(mine), str(paid))
    assert record["audio_ms"] == str(mine_ms)
    by_metric = {name.rsplit("|", 1)[1]: int(amount) for name, amount in sums.items()}
    assert (by_metric["usd"], by_metric["cost"], by_metric["ms"]) == (mine, paid, mine_ms)


async def test_what_cannot_be_measured_is_reserved_by_its_bytes_and_never_charged_more(
    store_url: str, data: Path
) -> None:
    hold = asyncio.Event()
    answer = Answer(hold=hold, pieces=said(duration=600.0).pieces)
    body = MODEL + file(b"no sound at all" * 1000, "notes.txt") + END
    async with serving(store_url, data, answer, keys=exactly()) as (gateway, one), dial(gateway) as wire:
        asking = asyncio.ensure_future(wire.post(TARGET, body))
        await one.request()
        reserved = (await numbers(gateway))[6:10]
        hold.set()
        assert (await asking).status == 200
        (record,) = await gateway.records()
        await gateway.idle()
        used = [(await numbers(gateway, scope))[26:30] for scope in SCOPES]
    usd, ms = reserved[:2]
    assert (usd, reserved[2:]) == (-(-ms // 10), [0, 1])
    assert 15_000 <= ms <= 15_100, "8 kb/s"
    assert used == [reserved, reserved, [60_000, 600_000, 0, 1]]
    assert (record["cost_micro_usd"], record["upstream_micro_usd"]) == (str(usd), "60000")


async def test_speech_is_known_by_its_characters(store_url: str, data: Path) -> None:
    words = b'{"model":"tts-1","input":"hello","voice":"x"}'
    async with serving(store_url, data, keys=exactly(Limit("characters", "total", 9))) as (gateway, one):
        async with dial(gateway) as wire:
            assert (await wire.post("/v1/audio/speech", words, content_type="application/json")).status == 200
            refused = await wire.post("/v1/audio/speech", words, content_type="application/json")
        await gateway.idle()
        assert (await numbers(gateway))[26:30] == [75, 0, 5, 1]
    assert (refused.status, len(one.seen)) == (429, 1)


async def test_nothing_is_measured_for_who_has_nothing_left(store_url: str, data: Path) -> None:
    keys = exactly(Limit("requests", "day", 1))
    async with serving(store_url, data, keys=keys) as (gateway, one), dial(gateway) as wire:
        assert (await wire.post(TARGET, SOUND)).status == 200
        await wire.begin("POST", TARGET, f"Content-Type: {FORM}", f"Content-Length: {len(SOUND)}")
        await wire.send(SOUND[:1000])
        refused = await wire.answer()
    assert (refused.status, refused.error["code"]) == (429, "insufficient_quota"), "before the rest is uploaded"
    assert len(one.seen) == 1


async def test_while_the_store_is_away_they_are_refused_and_others_go_on(store_url: str, data: Path) -> None:
    keys = {**exactly(), "bob": Key("bob", "default", key_text(2))}
    async with stub() as one, wired(store_url) as between:
        config = configured(data, upstream("a", one.url), keys=keys)
        async with running(config, url=between.url) as gateway, dial(gateway) as alice, dial(gateway) as bob:
            bob.key = key_text(2)
            for wire in (alice, bob):
                assert (await wire.post(TARGET, SOUND)).status == 200
            await gateway.idle()
            between.refuses = True
            between.cut()
            refused = await alice.post(TARGET, SOUND)
            assert (await bob.post(TARGET, SOUND)).status == 200
            assert (refused.status, refused.error["code"]) == (503, "store_unavailable")
            assert int(refused.headers["retry-after"]) >= 1
            assert len(one.seen) == 3
            between.refuses = False

            async def asked() -> int:
                return (await alice.post(TARGET, SOUND)).status

            await until(asked, lambda status: status == 200)
            await gateway.records(4)
            await gateway.idle()
            assert (await numbers(gateway))[26:30] == [400, 4_000, 0, 2]


async def test_a_caller_that_hangs_up_while_it_is_measured_leaves_nothing_behind(
    store_url: str, data: Path, tmp_path: Path
) -> None:
    uploads = Uploads(memory_bytes=1000, folder=tmp_path)

    def files() -> list[str]:
        return [name for fd in os.listdir("/proc/self/fd") if (name := link(fd)).startswith(str(tmp_path))]

    async with serving(store_url, data, keys=exactly(), uploads=uploads) as (gateway, one), dial(gateway) as wire:
        async with dial(gateway) as first:
            assert (await first.post(TARGET, SOUND)).status == 200  # the probe's child is there from now on
        await gateway.idle()
        child = gateway.app._probe._child
        assert child is not None
        os.kill(child.process.pid, signal.SIGSTOP)  # it measures for ever
        await wire.begin("POST", TARGET, f"Content-Type: {FORM}", f"Content-Length: {len(SOUND)}")
        await wire.send(SOUND)

        async def measuring() -> bool:
            return gateway.app._probe._turn.locked()

        await until(measuring, bool)
        assert len(files()) == 1
        wire.hang_up()

        async def left() -> tuple[int, int]:
            return len(files()), int(await gateway.app.connection.client.exists("{ag}:held", "{ag}:leases"))

        await until(left, lambda found: found == (0, 0))
        assert (await numbers(gateway))[0:1] + (await numbers(gateway))[6:10] == [0] * 5
        assert (await numbers(gateway))[26:30] == [200, 2_000, 0, 1]
        async with dial(gateway) as last:
            assert (await last.post(TARGET, SOUND)).status == 200, "another child measures it"
        await gateway.records(2)
        await gateway.idle()
        assert files() == []
    assert len(one.seen) == 2
    assert list(tmp_path.iterdir()) == []


def link(fd: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except FileNotFoundError:
        return ""


async def test_it_is_told_by_the_fields_that_come_after_the_file(store_url: str, data: Path) -> None:
    """An exact upload is read whole, so no upstream is begun with that cannot serve it."""
    body = file(WAV) + text("response_format", "srt") + MODEL + END
    async with stub() as one, stub() as two:
        two.answers = [Answer(pieces=(b"1\n",), content_type="text/plain")]
        json_alone = replace(KINDS["openai"].can, formats=frozenset({"json"}))
        first, next_one = upstream("a", one.url, can=json_alone), upstream("b", two.url, priority=2)
        config = configured(data, first, next_one, keys=exactly())
        async with running(config, url=store_url) as gateway, dial(gateway) as wire:
            assert (await wire.post(TARGET, body)).status == 200
            (record,) = await gateway.records()
    assert (record["upstream"], record["attempts"]) == ("b", "1")
    assert one.seen == []
