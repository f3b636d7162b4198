"""Where a contestant runs, and what is known of it once it serves."""

import os
import shutil
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.programs import PATIENCE, Program, Unfit


@dataclass(frozen=True)
class Setting:
    """Where a contestant runs. `servers` are the cores of those that are measured, `aside` that of all others.

    `upstream` is an origin; `ca` is what its certificate is signed by. `keys` is how many callers there are. `base` is
    another checkout of the gateway.
    """

    room: Path
    servers: Sequence[int]
    aside: int
    upstream: str
    ca: Path | None = None
    keys: int = 10
    base: Path | None = None


@dataclass(frozen=True)
class Served:
    """A contestant that serves. `seconds` it took to be ready; `options` are for load: how callers prove themselves.

    `stores` are process ids of what keeps its data, counted apart.
    """

    port: int
    pid: int
    seconds: float
    options: tuple[str, ...] = ()
    stores: tuple[int, ...] = ()


def ready(program: Program, url: str) -> None:
    """Wait until a probe is answered with 200. Raises Unfit."""
    deadline = time.monotonic() + PATIENCE
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while True:
        try:
            with opener.open(url, timeout=5) as answer:
                if answer.status == 200:
                    return
        except OSError:  # which includes what urllib raises
            program.lives(deadline)
            time.sleep(0.01)


def tool(name: str) -> str:
    """Where a program is. Raises Unfit."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if found is None:
        raise Unfit(f"{name} is not installed")
    return found


def user() -> str:
    return "user root;" if os.geteuid() == 0 else ""
