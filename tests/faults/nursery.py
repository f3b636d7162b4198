"""Gateways to be killed: forked from one process that has imported everything, so that each costs little.

Run as a module, this file is that process. It reads a line of JSON for each gateway and forks; the child says where it
listens and is killed at the call that was asked for.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from gateway.config.model import Config, Key
from gateway.probe.parent import Probe
from tests.faults.crash import Crash, How
from tests.running import configured, key_text, running, upstream
from tests.servers import until

ROOT = Path(__file__).parents[2]
KINDS = ("newapi", "openai")  # of the first upstream and of the second: one that may hide errors, one that does not


def two_upstreams(data: Path, *places: tuple[str, str], exact: bool = False) -> Config:
    """A configuration with two upstreams (name and URL), of which the second is only asked if the first fails."""
    ups = [
        upstream(name, url, kind=kind, priority=number)
        for number, (kind, (name, url)) in enumerate(zip(KINDS, places, strict=True))
    ]
    return configured(data, *ups, keys={"alice": Key("alice", "default", key_text(), exact=exact)})


@dataclass
class Doomed:
    """A gateway that will be killed."""

    origin: str
    pid: int
    key: str = key_text()

    @property
    def alive(self) -> bool:
        """Whether it still is there: the process of this id is one of ours."""
        try:
            return b"tests.faults.nursery" in Path(f"/proc/{self.pid}/cmdline").read_bytes()
        except OSError:
            return False

    async def gone(self) -> None:
        """Wait until it is."""
        await until(lambda: not self.alive)

    def kill(self) -> None:
        """It was not hit: it goes now."""
        if self.alive:
            os.kill(self.pid, signal.SIGKILL)


@dataclass
class Nursery:
    """Where they come from."""

    process: "asyncio.subprocess.Process"
    born: list[Doomed] = field(default_factory=list)

    async def gateway(self, **asked: Any) -> Doomed:
        """A new one: `data`, `url`, `places`, `exact`, `how`, `at`."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps(asked).encode() + b"\n")
        async with asyncio.timeout(20):
            origin, pid = (await self.process.stdout.readline()).decode().split()
        self.born.append(Doomed(origin, int(pid)))
        return self.born[-1]


@asynccontextmanager
async def nursery() -> AsyncIterator[Nursery]:
    """One that is ready; its gateways end with it."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.faults.nursery", cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    found = Nursery(process)
    try:
        yield found
    finally:
        for one in found.born:
            one.kill()
        assert process.stdin
        process.stdin.close()
        await process.wait()


async def _serve(data: str, url: str, places: list[tuple[str, str]], exact: bool, how: str, at: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        # Its own child process costs more than all the rest: it is started when it is asked for.
        patch.setattr(Probe, "warm", _nothing)
        async with running(two_upstreams(Path(data), *places, exact=exact), url=url) as gateway:
            crash = Crash().on(gateway.app, patch)
            crash.arm(How(how), at)
            print(gateway.origin, os.getpid(), flush=True)
            await asyncio.Event().wait()


async def _nothing(probe: Probe) -> None:
    """Later."""


def main() -> None:
    """Fork for each line."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            asyncio.run(_serve(**json.loads(line)))
            os._exit(0)


if __name__ == "__main__":
    main()
