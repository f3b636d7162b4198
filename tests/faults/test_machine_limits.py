"""What a gateway does that runs out of something: room for bodies, descriptors, memory, time on the event loop, or
somebody who reads what it says. And one that has more to do than it can.
"""

import asyncio
import hashlib
import logging
import os
import resource
import select
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest
import redis.asyncio

from gateway.config.model import Uploads
from gateway.errors import SetupError
from gateway.groundwork import declare
from gateway.metrics import Metrics
from gateway.overload import LOOKS, Overload
from gateway.store.layout import LAYOUT
from tests.faults.machines import (
    begin,
    configured,
    dialled,
    machine,
    memory_of,
    open_files,
    port,
    transcribed,
)
from tests.launched import WAV, room
from tests.running import configured as in_process
from tests.running import running, serving, until, upstream
from tests.stub import Answer, Stub, stub
from tests.wire import END, MODEL, dial, file

LARGE = MODEL + file(os.urandom(3 * 1024 * 1024)) + END
LINES = "audiogate_log_lines_lost_total "


@pytest.fixture
def folder() -> Iterator[Path]:
    """A room of its own."""
    with room() as one:
        yield one


@pytest.fixture
async def one() -> AsyncIterator[Stub]:
    """Where requests go."""
    async with stub() as found:
        yield found


# -- G-6: no room for bodies


@contextmanager
def _small() -> Iterator[Path]:
    """A file system of 1 MB."""
    with tempfile.TemporaryDirectory(prefix="ag", dir="/tmp") as path:
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", path], capture_output=True).returncode:
            pytest.skip("no right to mount a file system here")
        try:
            yield Path(path)
        finally:
            subprocess.run(["umount", path], check=True)


@contextmanager
def _read_only() -> Iterator[Path]:
    """A file system that takes nothing."""
    with _small() as path:
        subprocess.run(["mount", "-o", "remount,ro", path], check=True)
        yield path


@contextmanager
def _counted() -> Iterator[Path]:
    """One on which there is room for no file at all, as where a quota is used up."""
    with tempfile.TemporaryDirectory(prefix="ag", dir="/tmp") as path:
        options = "size=8m,nr_inodes=1"  # its root is one
        if subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", path], capture_output=True).returncode:
            pytest.skip("no right to mount a file system here")
        try:
            yield Path(path)
        finally:
            subprocess.run(["umount", path], check=True)


@pytest.mark.parametrize("place", [_small, _read_only, _counted], ids=["1 MB", "read-only", "no more files"])
async def test_G_6_a_spool_without_room_refuses_in_order_and_leaves_nothing(
    store_url: str, data: Path, place: Callable[[], Iterator[Path]], caplog: pytest.LogCaptureFixture
) -> None:
    with place() as path:  # type: ignore[attr-defined]
        uploads = Uploads(folder=path, memory_bytes=65_536)
        async with serving(store_url, data, uploads=uploads) as (gateway, upstream_):

            async def ask(body: bytes) -> int:
                async with dial(gateway) as wire:
                    with suppress(ConnectionError):
                        said = await wire.post("/v1/audio/transcriptions", body)
                        if said.status != 200:
                            assert said.error["code"] == "overloaded", said.error
                        return said.status
                    return -1

            codes = await asyncio.gather(*(ask(LARGE) for _ in range(8)))
            assert set(codes) <= {200, 503}
            assert 503 in codes
            assert await ask(MODEL + file(WAV) + END) == 200
            await gateway.idle()
            assert gateway.app.metrics.registry.get_sample_value("audiogate_spool_bytes") == 0
            gateway.app.parts.spools.files.tidy()
            whole = [seen for seen in upstream_.seen if seen.whole and len(seen.body) > 10**6]
            assert len(whole) >= codes.count(200)
            assert {hashlib.sha256(seen.fields[1][1]).digest() for seen in whole} <= {_digest(LARGE)}
        assert list(path.iterdir()) == []
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR], caplog.text
    print(f"G-6 {path}: {codes.count(200)} served, {codes.count(503)} refused, 0 files left")


def _digest(body: bytes) -> bytes:
    start = body.index(b"\r\n\r\n", len(MODEL)) + 4
    return hashlib.sha256(body[start : -len(END) - 2]).digest()


# -- G-7: no descriptors


async def test_G_7_without_descriptors_what_runs_goes_on_and_what_is_new_comes_later(folder: Path, one: Stub) -> None:
    gate = asyncio.Event()
    one.answers = [Answer(pieces=(b'{"text":', b'"hello"}'), gate=gate)]
    config = configured(folder, one.url)
    async with AsyncExitStack() as stack:
        listener = stack.enter_context(port())
        limits = {"RLIMIT_NOFILE": (96, 96)}
        gateway = await stack.enter_async_context(machine(folder, config, listener, limits=limits))
        runs = [await stack.enter_async_context(dialled(gateway.number)) for _ in range(5)]
        for wire in runs:
            await begin(wire, MODEL + file(WAV) + END)
        heads = [await wire.head() for wire in runs]
        assert {head.status for head in heads} == {200}
        before = gateway.said.count("\n")
        used, spent = open_files(gateway.process.pid), _cpu(gateway.process.pid)
        crowd = [await stack.enter_async_context(dialled(gateway.number)) for _ in range(150)]
        await until(lambda: _true(open_files(gateway.process.pid)), lambda count: count >= 94)
        began = time.monotonic()
        gate.set()
        for wire in runs:  # they go on
            async with asyncio.timeout(10):
                await wire.reader.readuntil(b"0\r\n\r\n")
        waited = time.monotonic() - began
        spent = _cpu(gateway.process.pid) - spent
        one.answers = [Answer()]
        for wire in (*crowd, *runs):
            wire.hang_up()
        began = time.monotonic()
        async with asyncio.timeout(10), gateway.client() as client:
            while True:
                with suppress(httpx2.TransportError):
                    if (await transcribed(client)).status_code == 200:
                        break
        recovered = time.monotonic() - began
        lines = [line for line in gateway.said.splitlines()[before:] if not line.startswith('{"id"')]
        assert len(lines) <= 10, lines
        assert await gateway.stopped() == 0
    assert recovered <= 4  # the row says 2 s, on a machine with nothing else to do
    print(
        f"G-7 {used} of 96 files, then all: what ran went on within {waited:.2f} s ({spent:.2f} s of work); "
        f"served again after {recovered:.2f} s, {len(lines)} lines in the log"
    )


async def test_G_7_it_takes_all_descriptors_that_it_may_have(folder: Path, one: Stub) -> None:
    with port() as listener:
        limits = {"RLIMIT_NOFILE": (128, 2000)}
        async with machine(folder, configured(folder, one.url), listener, limits=limits) as gateway:
            (line,) = [
                line
                for line in Path(f"/proc/{gateway.process.pid}/limits").read_text().splitlines()
                if line.startswith("Max open files")
            ]
            assert line.split()[3:5] == ["2000", "2000"]


async def _true(count: int) -> int:
    return count


def _cpu(pid: int) -> float:
    """Seconds of processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# -- G-8: no memory


async def _flood(folder: Path, one: Stub, *, uploads: int, size: int, spare: int) -> tuple[int, int, int]:
    """Uploads at once, by a gateway that may have `spare` bytes more than at rest: served, refused, bytes it used."""
    config = configured(folder, one.url, memory="1MiB", total="64MiB")
    body = MODEL + file(os.urandom(size)) + END
    async with AsyncExitStack() as stack:
        listener = stack.enter_context(port())
        gateway = await stack.enter_async_context(machine(folder, config, listener))
        rest = memory_of(gateway.process.pid)
        address_space = memory_of(gateway.process.pid, "VmSize")
        most = address_space + spare
        resource.prlimit(gateway.process.pid, resource.RLIMIT_AS, (most, most))

        async def ask() -> int:
            async with dialled(gateway.number) as wire:
                with suppress(ConnectionError, TimeoutError):
                    await begin(wire, body)
                with suppress(ConnectionError, TimeoutError, asyncio.IncompleteReadError):
                    return (await wire.answer()).status
            return -1

        codes = await asyncio.gather(*(ask() for _ in range(uploads)))
        assert set(codes) <= {200, 503, -1}, codes  # -1: refused while it still sent
        assert gateway.process.poll() is None, gateway.said
        async with gateway.client() as client:
            assert (await transcribed(client)).status_code == 200
        assert "Traceback" not in gateway.said, gateway.said
        peak = memory_of(gateway.process.pid, "VmHWM") - rest
        assert await gateway.stopped() == 0
    return codes.count(200), len(codes) - codes.count(200), peak


async def test_G_8_more_uploads_than_memory_are_bounded_by_the_spool(folder: Path, one: Stub) -> None:
    served, refused, peak = await _flood(folder, one, uploads=40, size=5_000_000, spare=256 * 1024 * 1024)
    assert served >= 5
    assert peak < 128 * 1024 * 1024
    print(f"G-8 40 uploads of 5 MB: {served} served, {refused} refused, {peak / 1e6:.0f} MB more than at rest")


@pytest.mark.soak
@pytest.mark.timeout(300)
async def test_G_8_200_uploads_of_25_MB(folder: Path, one: Stub) -> None:
    served, refused, peak = await _flood(folder, one, uploads=200, size=25_000_000, spare=256 * 1024 * 1024)
    assert served >= 1
    assert peak < 200 * 1024 * 1024
    print(f"\nG-8 200 uploads of 25 MB: {served} served, {refused} refused, {peak / 1e6:.0f} MB more than at rest")


# -- G-9: the event loop stands still


async def test_G_9_a_loop_that_stands_still_is_told_with_what_it_is_at(
    store_url: str, data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def name_resolution_that_hangs() -> None:
        time.sleep(2)

    async with serving(store_url, data) as (gateway, _):
        asyncio.get_running_loop().call_soon(name_resolution_that_hangs)

        async def lag() -> float:
            return float(gateway.app.metrics.loop_lag._value.get())

        assert await until(lag, lambda seconds: seconds > 1.5) < 10
        told = [record.getMessage() for record in caplog.records if "has stood still" in record.getMessage()]
        async with gateway.client() as client:
            assert (await client.get(f"{gateway.origin}/readyz")).status_code == 200
    assert len(told) == 1
    assert "name_resolution_that_hangs" in told[0].partition(" < ")[0]


# -- G-10: nobody reads what it says


@pytest.mark.parametrize("how", ["blocked", "closed"])
async def test_G_10_a_log_that_nobody_reads_stops_no_request(folder: Path, one: Stub, how: str) -> None:
    config = configured(folder, one.url)
    ours, theirs = os.pipe()
    try:
        with port() as listener:
            async with machine(folder, config, listener, stdout=theirs) as gateway:
                os.close(theirs)
                theirs = -1
                if how == "closed":
                    os.close(ours)
                    ours = -1
                async with gateway.client() as client:
                    least = time.monotonic()
                    async with asyncio.timeout(60):
                        while not (lost := await _lost(client)):
                            codes = await asyncio.gather(*(_status(client) for _ in range(50)))
                            assert set(codes) == {403}
                    took = time.monotonic() - least
                assert await gateway.stopped() == 0, gateway.said
                assert "Traceback" not in gateway.said
        if how == "blocked":  # what it did take is whole lines
            assert select.select([ours], [], [], 0)[0]
            assert os.read(ours, 65_536).count(b'{"id"') > 10
    finally:
        for end in (ours, theirs):
            if end >= 0:
                os.close(end)
    print(f"G-10 {how}: {lost:.0f} lines lost and counted, no request held up in {took:.1f} s")


async def _status(client: httpx2.AsyncClient) -> int:
    """A request that costs little, and leaves a line."""
    return (await client.get(f"/v1/audio/{'x' * 200}")).status_code


async def _lost(client: httpx2.AsyncClient) -> float:
    text = (await client.get("/metrics")).text
    return float(text.partition(f"\n{LINES}")[2].partition("\n")[0])


# -- G-13: more to do than can be done


async def test_G_13_a_late_loop_refuses_some_with_503_and_lets_in_all_again(store_url: str, data: Path) -> None:
    gate = asyncio.Event()
    async with AsyncExitStack() as stack:
        gateway, upstream_ = await stack.enter_async_context(
            serving(store_url, data, Answer(pieces=(b'{"text":', b'"hello"}'), gate=gate))
        )
        runs = [await stack.enter_async_context(dial(gateway)) for _ in range(8)]
        for wire in runs:
            await begin(wire, MODEL + file(WAV) + END)
        assert {(await wire.head()).status for wire in runs} == {200}
        upstream_.answers = [Answer()]
        overload = gateway.app.overload
        overload.stop()  # what it measures is told to it from here on
        overload._lags = []

        async def codes() -> list[int]:
            found = []
            for _ in range(20):
                async with dial(gateway) as wire:
                    said = await wire.post("/v1/audio/transcriptions", MODEL + file(WAV) + END)
                    found.append(said.status)
                    if said.status == 503:
                        assert said.error["code"] == "overloaded"
                        assert 1 <= int(said.headers["retry-after"]) <= 3
                        assert 1000 <= int(said.headers["retry-after-ms"]) <= 3000
            return found

        assert set(await codes()) == {200}
        for _ in range(LOOKS * 20):
            overload.note(0.5)
        assert (await codes()).count(503) >= 15
        gate.set()
        for wire in runs:  # what runs is never refused
            async with asyncio.timeout(10):
                assert (await wire.reader.readuntil(b"0\r\n\r\n")).endswith(b'"hello"}\r\n0\r\n\r\n')
        for _ in range(LOOKS * 60):
            overload.note(0.0)
        assert set(await codes()) == {200}


async def test_G_13_no_more_requests_at_once_than_the_configuration_says(store_url: str, data: Path) -> None:
    gate = asyncio.Event()
    async with stub() as one, AsyncExitStack() as stack:
        one.answers = [Answer(pieces=(b'{"text":', b'"hello"}'), gate=gate)]
        config = in_process(data, upstream("a", one.url))
        config = replace(config, server=replace(config.server, max_requests=3))
        gateway = await stack.enter_async_context(running(config, url=store_url))
        runs = [await stack.enter_async_context(dial(gateway)) for _ in range(3)]
        for wire in runs:
            await begin(wire, MODEL + file(WAV) + END)
            assert (await wire.head()).status == 200
        wire = await stack.enter_async_context(dial(gateway))
        refused = await wire.post("/v1/audio/transcriptions", MODEL + file(WAV) + END)
        assert (refused.status, refused.error["code"]) == (503, "overloaded")
        gate.set()
        for wire in runs:
            await wire.reader.readuntil(b"0\r\n\r\n")
        await gateway.idle()
        wire = await stack.enter_async_context(dial(gateway))
        assert (await wire.post("/v1/audio/transcriptions", MODEL + file(WAV) + END)).status == 200


# -- G-14: two versions on one store


async def test_G_14_an_older_gateway_refuses_a_store_that_a_newer_one_has_laid_out(store_url: str, data: Path) -> None:
    config = in_process(data, upstream("a", "http://127.0.0.1:9/v1"))
    config = replace(config, store=replace(config.store, url=store_url))
    async with redis.asyncio.Redis.from_url(store_url, decode_responses=True) as raw:
        await declare(config, store_url)
        assert await raw.get("{ag}:layout") == str(LAYOUT)
        await declare(config, store_url)  # the same again, and one that is as good
        await raw.set("{ag}:layout", LAYOUT - 1)  # an older one was here: this one goes on, and takes it over
        await declare(config, store_url)
        assert await raw.get("{ag}:layout") == str(LAYOUT)
        await raw.set("{ag}:layout", LAYOUT + 1)
        before = sorted(await raw.keys())
        with pytest.raises(SetupError, match=r"newer audiogate.*install that version here"):
            await declare(config, store_url)
        assert (await raw.get("{ag}:layout"), sorted(await raw.keys())) == (str(LAYOUT + 1), before)


def test_G_13_a_queue_that_is_not_in_the_loop_is_seen_and_a_store_far_away_is_none() -> None:
    metrics = Metrics(models=(), teams=())
    overload = Overload(metrics, most=100, clock=lambda: 0.0, draw=lambda: 0.5)

    def quickest(*seconds: float) -> float:
        for one in seconds:
            metrics.admitted("red", seconds=one, window="", remaining=1.0)
        for _ in range(LOOKS):
            overload.note(0.0)
        return overload.share

    assert [quickest(0.2), quickest(0.21, 0.9), quickest()] == [0.0, 0.0, 0.0], "it always takes that long"
    assert quickest(0.4, 0.9) > 0.2
    while quickest(0.2):
        pass
