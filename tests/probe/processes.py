"""What the tests of the probe share: a probe that is closed in the end, its child, both event loops."""

import asyncio
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path

import uvloop

from gateway.probe.parent import Probe

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@asynccontextmanager
async def probing(patience: float = 60.0) -> AsyncIterator[Probe]:
    probe = Probe(deadline=20.0, start_deadline=30.0, patience=patience)
    try:
        yield probe
    finally:
        await probe.close()


def child_of(probe: Probe) -> subprocess.Popen[bytes]:
    assert probe._child is not None
    return probe._child.process


async def until(good: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not good():
            await asyncio.sleep(0.005)


def is_running(pid: int) -> bool:
    """A process that has ended but whom nobody has reaped does not run."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def run(loop: str, story: Coroutine[object, object, None]) -> None:
    with asyncio.Runner(loop_factory=LOOPS[loop], debug=True) as runner:
        runner.run(story)
