"""A file that keeps the child busy for long does not keep the others waiting."""

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest

from gateway.probe.parent import MOST, Probe
from tests.media import make, stored
from tests.probe.processes import LOOPS, child_of, is_running, probing, run, until


@asynccontextmanager
async def stuck(probe: Probe, fd: int) -> AsyncIterator["asyncio.Task[float | None]"]:
    """The first child is at a job that takes for ever."""
    assert await probe.seconds(fd) == 2.0
    child_of(probe).send_signal(signal.SIGSTOP)
    task = asyncio.ensure_future(probe.seconds(fd))
    await until(lambda: probe._busy == 1)
    yield task


@pytest.mark.parametrize("loop", LOOPS)
def test_others_are_measured_beside_it_and_one_child_is_left(loop: str) -> None:
    async def story() -> None:
        async with probing(patience=0.05) as probe:
            with stored(make("wav")) as fd:
                async with stuck(probe, fd) as first:
                    hung = child_of(probe)
                    assert await asyncio.gather(*(probe.seconds(fd) for _ in range(12))) == [2.0] * 12
                    assert not first.done()
                    assert 1 <= len(probe._children) <= 2
                    hung.send_signal(signal.SIGCONT)
                    assert await first == 2.0
                await until(lambda: len(probe._children) == 1 and not probe._turn.locked())
                assert await probe.seconds(fd) == 2.0
                assert probe._turns == 1

    run(loop, story())


def _more(probe: Probe, before: int) -> bool:
    return len(probe._children) > before


async def test_there_are_never_more_than_a_few_children() -> None:
    pids: set[int] = set()
    async with probing(patience=0.02) as probe:
        with stored(make("wav")) as fd:
            tasks: list[asyncio.Task[float | None]] = []
            while len(probe._children) < MOST:
                before = len(probe._children)
                tasks.append(asyncio.ensure_future(probe.seconds(fd)))
                await until(partial(_more, probe, before))
                process = probe._children[-1].process
                process.send_signal(signal.SIGSTOP)
                pids.add(process.pid)
            late = [asyncio.ensure_future(probe.seconds(fd)) for _ in range(5)]
            began = time.monotonic()
            await until(lambda: time.monotonic() - began > 0.2)
            assert len(probe._children) == MOST
            for pid in pids:
                os.kill(pid, signal.SIGCONT)
            assert await asyncio.gather(*tasks, *late) == [2.0] * (MOST + 5)
        await until(lambda: len(probe._children) == 1)
        assert sum(is_running(pid) for pid in pids) <= 1


async def test_while_all_is_quick_there_is_one_child() -> None:
    async with probing() as probe:
        with stored(make("wav")) as fd:
            assert await probe.seconds(fd) == 2.0
            child = child_of(probe)
            for _ in range(5):
                assert await asyncio.gather(*(probe.seconds(fd) for _ in range(8))) == [2.0] * 8
            assert probe._turns == 1
            assert child_of(probe) is child


async def test_who_goes_away_while_waiting_leaves_no_child_and_no_turn_behind() -> None:
    async with probing(patience=0.02) as probe:
        with stored(make("wav")) as fd:
            async with stuck(probe, fd) as first:
                for _ in range(3):
                    with pytest.raises(TimeoutError):
                        async with asyncio.timeout(0.001):
                            await probe.seconds(fd)
                assert await probe.seconds(fd) == 2.0
                first.cancel()
                await asyncio.gather(first, return_exceptions=True)
            assert await asyncio.gather(*(probe.seconds(fd) for _ in range(4))) == [2.0] * 4
        assert (probe._turns, probe._busy, probe._waiting) == (1, 0, 0)


async def test_closing_ends_all_children_and_all_who_wait() -> None:
    processes: list[subprocess.Popen[bytes]] = []
    async with probing(patience=0.02) as probe:
        with stored(make("wav")) as fd:
            async with stuck(probe, fd) as first:
                second = asyncio.ensure_future(probe.seconds(fd))
                await until(lambda: len(probe._children) == 2)
                processes += [child.process for child in probe._children]
                others = [asyncio.ensure_future(probe.seconds(fd)) for _ in range(6)]
                await probe.close()
                assert await first is None
                assert await second in (None, 2.0)
                assert set(await asyncio.gather(*others)) <= {None, 2.0}
            assert await probe.seconds(fd) is None
        assert probe._children == []
    assert [process.returncode for process in processes] == [-signal.SIGKILL] * 2
