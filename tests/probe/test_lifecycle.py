import asyncio
import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from gateway.probe import parent
from tests.media import make, stored
from tests.probe.processes import LOOPS, child_of, is_running, probing, run, wait_until
from tests.probe.test_seal import needs_seal


async def test_the_child_starts_at_the_first_question() -> None:
    async with probing() as probe:
        assert probe._child is None


async def test_the_child_has_neither_the_environment_nor_more_than_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_SECRET", "of the gateway")
    async with probing() as probe:
        with stored(make("wav")) as fd:
            await probe.seconds(fd)
        proc = Path(f"/proc/{child_of(probe).pid}")
        assert b"A_SECRET" not in (proc / "environ").read_bytes()
        limits = (proc / "limits").read_text()
        rows = {line[:25].strip(): line[25:].split()[:2] for line in limits.splitlines()}
        assert rows["Max open files"] == ["16", "16"]
        assert rows["Max file size"] == ["0", "0"]
        assert rows["Max processes"] == ["0", "0"]
        assert rows["Max core file size"] == ["0", "0"]
        assert rows["Max address space"] == [str(512 * 2**20)] * 2
        assert int(rows["Max cpu time"][0]) < 30
        assert len(list((proc / "fd").iterdir())) <= 5  # three standard streams, the channel, what the listing opens


@needs_seal
async def test_the_child_is_sealed_off_and_nobody_is_told(caplog: pytest.LogCaptureFixture) -> None:
    async with probing() as probe:
        with stored(make("wav")) as fd:
            assert await probe.seconds(fd) == 2.0
        status = Path(f"/proc/{child_of(probe).pid}/status").read_text()
    rows = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    assert (rows["NoNewPrivs"].strip(), rows["Seccomp"].strip()) == ("1", "2")
    assert "sealed" not in caplog.text


async def test_where_the_child_cannot_be_sealed_off_the_log_says_so_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = "import platform; platform.machine = lambda: 'abacus'; "
    monkeypatch.setattr(parent, "_START", bare + parent._START)
    async with probing() as probe:
        with stored(make("wav")) as fd:
            for _ in range(2):
                assert await probe.seconds(fd) == 2.0
                child_of(probe).kill()
                child_of(probe).wait()
    assert caplog.text.count("not sealed off here (an architecture without a list)") == 1


@pytest.mark.parametrize("loop", LOOPS)
def test_a_hung_child_is_killed_at_the_deadline_and_replaced(loop: str) -> None:
    async def story() -> None:
        async with probing() as probe:
            with stored(make("wav")) as fd:
                assert await probe.seconds(fd) == 2.0
                process = child_of(probe)
                process.send_signal(signal.SIGSTOP)
                generous, probe._deadline = probe._deadline, 0.3
                started = time.monotonic()
                assert await probe.seconds(fd) is None
                assert 0.3 <= time.monotonic() - started < 5
                assert process.returncode == -signal.SIGKILL
                probe._deadline = generous
                assert await probe.seconds(fd) == 2.0

    run(loop, story())


@pytest.mark.parametrize("loop", LOOPS)
def test_a_child_that_dies_in_mid_job_costs_that_job_alone(loop: str, caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        async with probing() as probe:
            with stored(make("wav")) as fd:
                await probe.seconds(fd)
                child_of(probe).send_signal(signal.SIGSTOP)
                async with asyncio.TaskGroup() as group:
                    answer = group.create_task(probe.seconds(fd))
                    await asyncio.sleep(0)
                    child_of(probe).kill()
                assert answer.result() is None
                assert await probe.seconds(fd) == 2.0

    with caplog.at_level(logging.WARNING, logger=parent.__name__):
        run(loop, story())
    assert "its child is replaced" in caplog.text


async def test_a_child_that_died_between_jobs_costs_nothing() -> None:
    async with probing() as probe:
        with stored(make("wav")) as fd:
            await probe.seconds(fd)
            first = child_of(probe)
            first.kill()
            wait_until(lambda: not is_running(first.pid))
            assert await probe.seconds(fd) == 2.0
            assert child_of(probe) is not first


@pytest.mark.parametrize("loop", LOOPS)
def test_closing_ends_the_job_under_way_and_later_ones(loop: str) -> None:
    async def story() -> None:
        async with probing() as probe:
            with stored(make("wav")) as fd:
                await probe.seconds(fd)
                process = child_of(probe)
                process.send_signal(signal.SIGSTOP)
                async with asyncio.TaskGroup() as group:
                    answer = group.create_task(probe.seconds(fd))
                    await asyncio.sleep(0)
                    await probe.close()
                assert answer.result() is None
                assert await probe.seconds(fd) is None
                assert process.returncode == -signal.SIGKILL
                assert probe._child is None

    run(loop, story())


async def test_an_interpreter_that_cannot_start_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    async with probing() as probe:
        with stored(make("wav")) as fd:
            assert await probe.seconds(fd) is None


def test_the_child_ends_when_the_gateway_is_killed() -> None:
    gateway = (
        "import asyncio, sys, tempfile\n"
        "from gateway.probe.parent import Probe\n"
        "async def main():\n"
        "    probe = Probe()\n"
        "    await probe.seconds(0)\n"
        "    print(probe._child.process.pid, flush=True)\n"
        "    await asyncio.sleep(600)\n"
        "asyncio.run(main())\n"
    )
    with (
        tempfile.TemporaryFile() as file,
        subprocess.Popen([sys.executable, "-c", gateway], stdin=file, stdout=subprocess.PIPE) as process,
    ):
        assert process.stdout is not None
        child = int(process.stdout.readline())
        assert is_running(child)
        process.kill()
        process.wait()
        wait_until(lambda: not is_running(child))


async def test_no_descriptor_is_left_behind() -> None:
    def open_files() -> int:
        return len(os.listdir("/proc/self/fd"))

    with stored(make("wav")) as fd:
        async with probing() as probe:
            await probe.seconds(fd)
        before = open_files()
        for _ in range(3):
            async with probing() as probe:
                await probe.seconds(fd)
        assert open_files() == before
