"""A gateway process on a machine that is short of something: descriptors, memory, a log that somebody reads, the time.

Its socket is handed over to it, as systemd does, so that its port is known whatever becomes of what it says.
"""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from tests.launched import COMMAND, PATIENCE, environment
from tests.launched import WAV as SECOND
from tests.running import key_text
from tests.wire import END, FORM, MODEL, Wire, file, text

KEY = key_text()
UPLOAD = MODEL + file(SECOND) + END
EVENTS = MODEL + text("stream", "true") + file(SECOND) + END
_HAND_OVER = """
import os, resource, sys
fd, limits, command = int(sys.argv[1]), eval(sys.argv[2]), sys.argv[3:]
for name, most in limits.items():
    resource.setrlimit(getattr(resource, name), most)
os.dup2(fd, 3)
os.closerange(4, 256)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
os.execv(command[0], command)
"""
CONFIG = """\
server: {{workers: {workers}, timeouts: {{drain: {drain}, body: {body}}}}}
store: {{data: {data}, url: "{store}", timeout: 5}}
uploads: {{memory_bytes: {memory}, total_bytes: {total}}}
upstreams:
  stub:
    kind: openai
    base_url: "{url}"
    allow_private: true
    key: sk-secret-of-stub
    models: [whisper-1]
prices: {{whisper-1: {{per_minute: {price}}}}}
keys: {{alice: {{key: {key}}}}}
"""


@contextmanager
def port() -> Iterator[socket.socket]:
    """A socket that listens, and is to be handed over."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        one.listen(1024)
        yield one


def configured(folder: Path, url: str, **more: object) -> Path:
    """A configuration file of one upstream at `url`."""
    facts: dict[str, object] = {
        "workers": 1,
        "drain": 6,
        "body": 30,
        "data": "data",
        "store": "",
        "memory": "1MiB",
        "total": "4GiB",
        "price": 0.006,
        "key": KEY,
    }
    path = folder / f"{more.get('data', 'data')}.yaml"
    path.write_text(CONFIG.format(**{**facts, **more, "url": url}))
    return path


@dataclass
class Machine:
    """A gateway process. `number` is the port it listens on."""

    process: "subprocess.Popen[bytes]"
    number: int
    log: Path
    began: float = field(default_factory=time.monotonic)

    @property
    def origin(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.number}"

    @property
    def said(self) -> str:
        """What it has printed."""
        return self.log.read_text()

    def client(self, **more: Any) -> httpx2.AsyncClient:
        """A client with alice's key."""
        headers = {"authorization": f"Bearer {KEY}"}
        return httpx2.AsyncClient(base_url=self.origin, headers=headers, timeout=PATIENCE, trust_env=False, **more)

    async def ready(self) -> "Machine":
        """Wait until it can serve."""
        async with asyncio.timeout(60), self.client() as client:
            while True:
                assert self.process.poll() is None, self.said
                with suppress(httpx2.TransportError):
                    if (await client.get("/readyz")).status_code == 200:
                        return self
                await asyncio.sleep(0.02)

    async def ended(self) -> int:
        """Its exit code, once it has ended."""
        async with asyncio.timeout(60):
            while self.process.poll() is None:
                await asyncio.sleep(0.01)
        return self.process.returncode

    async def stopped(self) -> int:
        """Its exit code after SIGTERM."""
        self.process.send_signal(signal.SIGTERM)
        return await self.ended()


@asynccontextmanager
async def machine(
    folder: Path,
    config: Path,
    listener: socket.socket,
    *,
    limits: dict[str, tuple[int, int]] | None = None,
    stdout: int | None = None,
    environ: dict[str, str] | None = None,
) -> AsyncIterator[Machine]:
    """`audiogate serve` with `listener`; ready to serve. It is killed at the end if it still runs."""
    log = folder / f"{config.stem}.log"
    process = _start(folder, config, listener, log, limits or {}, stdout, environ or {})
    one = Machine(process, listener.getsockname()[1], log)
    try:
        yield await one.ready()
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def _start(
    folder: Path,
    config: Path,
    listener: socket.socket,
    log: Path,
    limits: dict[str, tuple[int, int]],
    stdout: int | None,
    environ: dict[str, str],
) -> "subprocess.Popen[bytes]":
    hand_over = [sys.executable, "-c", _HAND_OVER, str(listener.fileno()), repr(limits)]
    with open(log, "ab") as out:
        return subprocess.Popen(
            [*hand_over, *COMMAND, "serve", "-c", str(config)],
            cwd=folder,
            env=environment(folder, **environ),
            stdin=subprocess.DEVNULL,
            stdout=out if stdout is None else stdout,
            stderr=out,
            pass_fds=(listener.fileno(),),
            start_new_session=True,
        )


@asynccontextmanager
async def dialled(number: int) -> AsyncIterator[Wire]:
    """A raw connection to a port."""
    reader, writer = await asyncio.open_connection("127.0.0.1", number, limit=2**24)
    try:
        yield Wire(reader, writer, KEY)
    finally:
        writer.transport.abort()


async def begin(wire: Wire, body: bytes, *, sent: int | None = None) -> None:
    """Send a transcription, its first `sent` bytes or all of it."""
    head = (f"Content-Type: {FORM}", f"Content-Length: {len(body)}")
    await wire.begin("POST", "/v1/audio/transcriptions", *head)
    await wire.send(body[:sent])


async def transcribed(client: httpx2.AsyncClient) -> httpx2.Response:
    """Have a second of silence written down."""
    return await client.post("/v1/audio/transcriptions", content=UPLOAD, headers={"content-type": FORM})


def records(*logs: Path) -> list[dict[str, Any]]:
    """The requests that are in the logs."""
    lines = [line for log in logs for line in log.read_text().splitlines() if line.startswith('{"id"')]
    return [json.loads(line) for line in lines]


async def refused(number: int) -> None:
    """Wait until nobody listens on a port."""
    async with asyncio.timeout(20):
        while True:
            with socket.socket() as one:
                one.setblocking(False)
                try:
                    await asyncio.get_running_loop().sock_connect(one, ("127.0.0.1", number))
                except ConnectionRefusedError:
                    return
                except ConnectionResetError:  # it was in the queue when that was closed
                    continue
            await asyncio.sleep(0.01)


def children(pid: int) -> list[int]:
    """The workers of a gateway."""
    found = []
    for listed in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in listed.read_text().split():
            with suppress(OSError):
                if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
                    found.append(int(child))
    return sorted(found)


def open_files(pid: int) -> int:
    """How many descriptors a process has."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def memory_of(pid: int, name: str = "VmRSS") -> int:
    """Bytes of memory that a process has; VmHWM: had at most."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) * 1024


class Load:
    """So many requests a second, whatever becomes of those before: every other one on a new connection."""

    def __init__(self, one: Machine, *, rate: float) -> None:
        self.served = 0
        self.failed: list[str] = []
        self._one, self._rate = one, rate
        self._over = False
        self._running: set[asyncio.Task[None]] = set()

    async def answered(self, more: int) -> None:
        """Wait until so many more have been answered."""
        wanted = self.served + more
        async with asyncio.timeout(120):
            while self.served < wanted:
                assert len(self.failed) < 1000, self.failed[:5]
                await asyncio.sleep(0.01)

    async def __aenter__(self) -> "Load":
        self._task = asyncio.ensure_future(self._go_on())
        return self

    async def __aexit__(self, *error: object) -> None:
        self._over = True
        await self._task

    async def _go_on(self) -> None:
        none = httpx2.Limits(max_keepalive_connections=0)
        async with self._one.client(limits=none) as fresh, self._one.client() as kept:
            began, count = time.monotonic(), 0
            while not self._over:
                task = asyncio.ensure_future(self._ask(kept if count % 2 else fresh))
                self._running.add(task)
                task.add_done_callback(self._running.discard)
                count += 1
                await asyncio.sleep(max(0.0, began + count / self._rate - time.monotonic()))
            await asyncio.gather(*self._running)

    async def _ask(self, client: httpx2.AsyncClient) -> None:
        try:
            status = (await transcribed(client)).status_code
        except httpx2.TransportError as error:
            self.failed.append(repr(error))
            return
        if status == 200:
            self.served += 1
        else:
            self.failed.append(f"status {status}")
