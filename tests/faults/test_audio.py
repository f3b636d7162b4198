"""The rows A-1 to A-7: sound that is odd, forged or hostile, before a real gateway; what is billed is what it lasts."""

import asyncio
import io
import os
import platform
import signal
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import av
import pytest

from gateway.audio.duration import most_seconds
from gateway.probe.parent import MOST, Probe
from gateway.probe.seal import program
from tests.faults.bodies import ORDERS, Bench, bench, ordered
from tests.media import KINDS, decoded, make, mutated, packed, patched, silence
from tests.probe.test_hostile import hostile, listener
from tests.running import until
from tests.stub import Answer
from tests.wire import END, MODEL, file

SECONDS = 3.0
PLAIN = Answer(pieces=(b"hello\n",), content_type="text/plain")  # it does not tell how long the sound was

order = pytest.mark.parametrize("order", ORDERS)


@dataclass(frozen=True)
class Bill:
    """What one upload was charged for."""

    seconds: float
    source: str
    micro_usd: int


async def bills(
    store_url: str, data: Path, sounds: Mapping[str, bytes], *, order: str = ORDERS[0], name: str = "x.wav"
) -> dict[str, Bill]:
    """Send each of them; every one is served, arrives as it was sent, and is charged."""
    async with bench(store_url, data, PLAIN) as one:
        return await charged(one, sounds, order=order, name=name)


async def charged(
    one: Bench, sounds: Mapping[str, bytes], *, order: str = ORDERS[0], name: str = "x.wav"
) -> dict[str, Bill]:
    """The same, at a gateway that is there."""
    before = one._billed
    for sound in sounds.values():
        said = await one.post(ordered(order, MODEL, file(sound, name)) + END)
        assert said.status == 200, bytes(said.body)
        assert dict(one.upstream.seen[-1].fields)["file"] == sound
    one._billed += len(sounds)
    records = (await one.gateway.records(one._billed))[before:]
    await one.clean()
    found = [Bill(int(row["audio_ms"]) / 1000, row["source"], int(row["cost_micro_usd"])) for row in records]
    for bill in found:
        assert abs(bill.micro_usd - bill.seconds * 100) <= 1
    return dict(zip(sounds, found, strict=True))


def by_bytes(sound: bytes) -> float:
    """The least that is charged where only the length in bytes is known: FLAC at 32 kb/s, the others at most at 8."""
    return len(sound) * 8 / 32_000


@order
async def test_A_1_good_files_are_billed_for_what_they_last(store_url: str, data: Path, order: str) -> None:
    assert len(KINDS) == 20
    found = await bills(store_url, data, {kind: make(kind, SECONDS) for kind in KINDS}, order=order)
    for kind, bill in found.items():
        assert bill.source == "packets", kind
        assert bill.seconds == pytest.approx(SECONDS, rel=0.02, abs=0.1), kind


TRUNCATED = ("wav", "wav_stream", "flac", "mp3", "mp3_vbr", "mp4", "mp4_fragmented", "m4a", "mpeg", "mpga", "ogg",
             "webm", "webm_live")  # fmt: skip


@order
@pytest.mark.parametrize("part", [0.5, 0.9])
async def test_A_2_truncated_files_are_billed_for_what_is_there(
    store_url: str, data: Path, part: float, order: str
) -> None:
    assert len(TRUNCATED) == 13
    sounds = {kind: make(kind, 10.0)[: int(len(make(kind, 10.0)) * part)] for kind in TRUNCATED}
    found = await bills(store_url, data, sounds, order=order)
    unknown = {kind for kind, bill in found.items() if bill.source == "estimate"}
    assert unknown == {"mp4", "m4a"}  # their index was at the end: nobody can decode them
    for kind, bill in found.items():
        if kind in unknown:
            assert bill.seconds >= by_bytes(sounds[kind])
        else:
            assert bill.seconds == pytest.approx(decoded(sounds[kind]), rel=0.05), kind


def forged() -> dict[str, bytes]:
    """Headers that claim less or more than there is, and files glued together."""
    mp3, film, flac, wav = (make(kind, SECONDS) for kind in ("mp3", "m4a", "flac", "wav"))
    short = film
    for mark, offset in ((b"mvhd", 20), (b"mdhd", 20), (b"tkhd", 24)):
        short = patched(short, mark, offset, struct.pack(">I", 10))
    samples = int.from_bytes(flac[18:26]) >> 36 << 36
    found = {
        "Xing, few frames": patched(mp3, b"Xing" if b"Xing" in mp3 else b"Info", 8, struct.pack(">I", 8)),
        "mvhd, mdhd, tkhd": short,
        "STREAMINFO, few samples": flac[:18] + (samples | 1_000).to_bytes(8) + flac[26:],
        "STREAMINFO, many samples": flac[:18] + (samples | 2**36 - 1).to_bytes(8) + flac[26:],
        "WAV data, small": patched(wav, b"data", 4, struct.pack("<I", 96)),
        "WAV data, nothing": patched(wav, b"data", 4, bytes(4)),
        "WAV data, huge": patched(wav, b"data", 4, struct.pack("<I", 2**32 - 1)),
        "WAV format, fast": patched(wav, b"fmt ", 12, struct.pack("<II", 960_000, 1_920_000)),
    }
    return found | {f"two of {kind}": make(kind, SECONDS) * 2 for kind in ("ogg", "webm", "webm_live", "mp3", "wav")}


@order
async def test_A_3_forged_headers_and_files_in_one_cost_what_a_decoder_finds(
    store_url: str, data: Path, order: str
) -> None:
    sounds = forged()
    found = await bills(store_url, data, sounds, order=order)
    for name, bill in found.items():
        assert bill.seconds >= decoded(sounds[name]) * 0.98, name
        if name.startswith("two of") and name != "two of webm":
            assert bill.seconds >= 2 * SECONDS * 0.98, name  # what stands behind the first file counts, played or not
        assert bill.seconds <= max(2 * SECONDS * 1.2, by_bytes(sounds[name]) * 8), name


def avi() -> bytes:
    """A film of a kind that is not let in."""
    sink = io.BytesIO()
    with av.open(sink, "w", format="avi") as container:
        stream = container.add_stream("pcm_s16le", rate=8_000, layout="mono")
        frame = av.AudioFrame(format="s16", layout="mono", samples=8_000)
        frame.planes[0].update(bytes(16_000))
        frame.sample_rate, frame.pts = 8_000, 0
        container.mux(stream.encode(frame))
    return sink.getvalue()


@pytest.mark.parametrize(
    "name", ["x.wav", "x.m3u8", "x.mpd", "x.ffconcat", "x.sdp", "x.vtt", "x.iamf", "x.avi", "x.mp4", "http://x/y.m3u8"]
)
async def test_A_4_playlists_and_the_like_lead_nowhere_and_are_billed_by_their_bytes(
    store_url: str, data: Path, name: str
) -> None:
    with listener() as server:
        bodies = hostile(server.getsockname()[1])
        bodies |= {"iamf": b"\xf8\x06iamf\0\0" + bytes(range(256)) * 20, "avi": avi()}
        film = bodies.pop("film")
        async with bench(store_url, data, PLAIN) as one:
            await one.served(MODEL + file(make("wav", 0.3)) + END)
            child = one.gateway.app._probe._child
            found = await charged(one, bodies, name=name)
            assert {bill.source for bill in found.values()} == {"estimate"}
            assert all(bill.seconds >= by_bytes(bodies[kind]) for kind, bill in found.items())
            await charged(one, {"film": film}, name=name)
            assert one.gateway.app._probe._child is child, "it said no, and lived"
        with pytest.raises(BlockingIOError):
            server.accept()


async def test_A_5_two_hours_of_silence_in_a_small_file_are_billed_as_two_hours(store_url: str, data: Path) -> None:
    found = await bills(store_url, data, {"silence": silence(7_200)})
    assert found["silence"].source == "packets"
    assert found["silence"].seconds == pytest.approx(7_200, rel=0.001)


async def test_A_5_a_packet_that_claims_ten_hours_is_billed_for_what_its_bytes_can_hold(
    store_url: str, data: Path
) -> None:
    packets = [(bytes([3 << 3]), 0, 2_880), (bytes([3 << 3]), 36_000 * 48_000, 2_880)]
    sounds = {format_: packed(format_, packets) for format_ in ("matroska", "webm", "mp4", "ogg")}
    header = b"fLaC\0\0\0\x22" + bytes(10) + ((8_000 << 44) | (15 << 36) | (2**36 - 1)).to_bytes(8) + bytes(16)
    sounds["a header alone"] = header
    for format_, bill in (await bills(store_url, data, sounds)).items():
        assert decoded(sounds[format_]) * 0.98 <= bill.seconds if format_ != "a header alone" else True
        assert bill.seconds <= most_seconds(len(sounds[format_])) < 1_500, format_


def limits_of(pid: int) -> dict[str, str]:
    """The soft limits of a process."""
    lines = Path(f"/proc/{pid}/limits").read_text().splitlines()
    return {line[:25].strip(): line[25:].split()[0] for line in lines}


async def test_A_6_the_child_of_a_running_gateway_has_little_and_can_do_little(store_url: str, data: Path) -> None:
    async with bench(store_url, data, PLAIN) as one:
        await one.served(MODEL + file(make("wav", 0.3)) + END)
        child = one.gateway.app._probe._child
        assert child is not None
        process = Path(f"/proc/{child.process.pid}")
        limits, sealed = limits_of(child.process.pid), (process / "status").read_text()
        links = [os.readlink(process / "fd" / one) for one in os.listdir(process / "fd")]
    assert limits["Max address space"] == str(512 * 2**20)
    assert int(limits["Max cpu time"]) <= 20
    assert (limits["Max open files"], limits["Max file size"], limits["Max processes"]) == ("16", "0", "0")
    assert limits["Max core file size"] == "0"
    assert sum(link.startswith("socket:") for link in links) == 1  # the one it was given
    if program(platform.machine()) is not None:
        assert "Seccomp:\t2\n" in sealed
        assert "NoNewPrivs:\t1\n" in sealed


def corpus(count: int, *, seed: int) -> dict[str, bytes]:
    """Files that were good before something happened to them."""
    kinds = [KINDS[number % len(KINDS)] for number in range(count)]
    return {f"{kind} {seed + number}": mutated(make(kind, 0.5), seed + number) for number, kind in enumerate(kinds)}


@order
async def test_A_6_whatever_a_mutated_file_does_its_request_is_answered_and_billed(
    store_url: str, data: Path, order: str
) -> None:
    await _mutants(store_url, data, corpus(160, seed=ORDERS.index(order) * 1_000), order=order)


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", [10_000, 20_000, 30_000])
async def test_A_6_thousands_of_mutated_files(store_url: str, data: Path, seed: int) -> None:
    more, unknown = await _mutants(store_url, data, corpus(2_000, seed=seed), order=ORDERS[0])
    print(f"2,000 mutated files: all served and billed, {unknown} by their bytes, {more} children beside the first")


async def _mutants(store_url: str, data: Path, sounds: Mapping[str, bytes], *, order: str) -> tuple[int, int]:
    """How many children there were beside the first (it died, or was busy), how many files could not be counted."""
    async with bench(store_url, data, PLAIN) as one:
        sounds = {name: sound for name, sound in sounds.items() if sound}
        pids = set()
        names = list(sounds)

        async def some(mine: list[str]) -> None:
            for name in mine:
                said = await one.post(ordered(order, MODEL, file(sounds[name])) + END)
                assert said.status == 200, (name, bytes(said.body))
                pids.update(child.process.pid for child in one.gateway.app._probe._children)

        await asyncio.gather(*(some(names[number::4]) for number in range(4)))
        one._billed += len(sounds)
        store = one.gateway.app.connection.client
        await until(lambda: store.xlen("{ag}:usage"), lambda count: count == one._billed, seconds=60)
        records = await one.gateway._records()
        await one.clean()
        assert all(int(row["audio_ms"]) > 0 for row in records)
        assert all(abs(int(row["cost_micro_usd"]) - int(row["audio_ms"]) / 10) <= 1 for row in records)
        unknown = sum(row["source"] == "estimate" for row in records)
        assert {row["source"] for row in records} <= {"packets", "estimate"}
        return len(pids) - 1, unknown


@pytest.mark.parametrize("blow", [signal.SIGSEGV, signal.SIGKILL, signal.SIGXCPU])
async def test_A_6_a_child_that_crashes_costs_the_gateway_nothing(
    store_url: str, data: Path, blow: signal.Signals
) -> None:
    sound = make("wav", SECONDS)
    async with bench(store_url, data, PLAIN) as one:
        await one.served(MODEL + file(sound) + END)
        probe = one.gateway.app._probe
        assert probe._child is not None
        pid = probe._child.process.pid
        os.kill(pid, signal.SIGSTOP)
        assert (await one.post(MODEL + file(sound) + END)).status == 200
        await _busy(probe, 1)
        os.kill(pid, blow)
        os.kill(pid, signal.SIGCONT)
        one._billed += 1
        (_, record) = await one.gateway.records(2)
        assert (record["source"], record["status"]) == ("estimate", "200")
        assert int(record["audio_ms"]) >= SECONDS * 980
        await one.served(MODEL + file(sound) + END)
        assert (await one.gateway.records(3))[2]["source"] == "packets"
        await one.clean()


async def _busy(probe: Probe, count: int) -> None:
    async def seen() -> int:
        return probe._busy

    await until(seen, lambda busy: busy == count)


async def test_A_7_a_child_that_hangs_is_killed_in_time_and_the_others_are_settled_meanwhile(
    store_url: str, data: Path
) -> None:
    assert Probe()._deadline <= 5.0
    sound = make("wav", SECONDS)
    async with bench(store_url, data, PLAIN) as one:
        await one.served(MODEL + file(sound) + END)
        probe = one.gateway.app._probe
        assert probe._child is not None
        hung = probe._child.process
        probe._patience, probe._deadline = 0.1, 60.0
        hung.send_signal(signal.SIGSTOP)
        slow = await one.post(MODEL + file(sound) + END)
        await _busy(probe, 1)
        others = [(await one.post(MODEL + file(sound) + END)).headers["x-request-id"] for _ in range(4)]
        records = {row["id"]: row for row in await one.gateway.records(5)}
        assert slow.headers["x-request-id"] not in records
        assert all(records[rid]["source"] == "packets" for rid in others)
        assert hung.poll() is None
        assert len(probe._children) <= MOST
        hung.send_signal(signal.SIGCONT)
        one._billed += 5
        await one.gateway.records(6)

        assert probe._child is not None
        hung, probe._deadline = probe._child.process, 0.5
        hung.send_signal(signal.SIGSTOP)
        loop = asyncio.get_running_loop()
        began = loop.time()
        late = (await one.post(MODEL + file(sound) + END)).headers["x-request-id"]
        one._billed += 1
        record = next(row for row in await one.gateway.records(7) if row["id"] == late)
        assert loop.time() - began < 5
        assert hung.returncode == -signal.SIGKILL
        assert record["source"] == "estimate"
        assert int(record["audio_ms"]) >= SECONDS * 980
        await one.clean()
