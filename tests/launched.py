"""The command as an operator runs it: a process of its own, in a room (a folder) that shows what it leaves behind."""

import asyncio
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2

COMMAND = (sys.executable, "-m", "gateway")
PATIENCE = 20.0
WAV = (
    b"RIFF\x24\x7d\x00\x00WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00\x80>\x00\x00\x00}\x00\x00\x02\x00\x10\x00"
    b"data\x00}\x00\x00" + bytes(32000)
)
"""One second of silence."""

CONFIG = """\
server: {{host: 127.0.0.1, workers: {workers}}}
store: {{data: data}}
upstreams:
  stub: {{kind: openai, base_url: "{upstream}", allow_private: true, key: sk-secret-of-stub, models: [whisper-1]}}
prices: {{whisper-1: {{per_minute: 0.006}}}}
keys: {{alice: {{}}}}
"""


@contextmanager
def room() -> Iterator[Path]:
    """A folder with a short path. What runs in it at the end is killed, by its process id, and the folder removed."""
    folder = Path(tempfile.mkdtemp(prefix="ag", dir="/tmp"))
    (folder / "tmp").mkdir()
    try:
        yield folder
    finally:
        while left := processes_in(folder):
            for pid in left:
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)
        shutil.rmtree(folder)


def processes_in(folder: Path) -> list[int]:
    """Processes, other than this one, whose working directory is in the folder: a child inherits it."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                where = (entry / "cwd").readlink()
            except OSError:  # it has just ended, or is not ours
                continue
            if where == folder or folder in where.parents:
                found.append(int(entry.name))
    return found


def free_port() -> int:
    """A port that was free just now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def environment(folder: Path, **more: str) -> dict[str, str]:
    """What the process is told: nothing of this machine's secrets, and temporary files go into the room."""
    return {"PATH": os.environ["PATH"], "HOME": str(folder), "TMPDIR": str(folder / "tmp"), "COLUMNS": "200", **more}


def write_config(folder: Path, *, upstream: str = "http://127.0.0.1:9/v1", workers: int = 1) -> Path:
    """A configuration of one upstream and one key, which is made at the first start."""
    path = folder / "gateway.yaml"
    path.write_text(CONFIG.format(upstream=upstream, workers=workers))
    return path


def config_of(folder: Path, *lines: str) -> str:
    """A configuration file of these lines."""
    path = folder / "gateway.yaml"
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def run(folder: Path, *arguments: str, **environ: str) -> "subprocess.CompletedProcess[str]":
    """The command, to its end."""
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=folder,
        env=environment(folder, **environ),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE * 2,
        check=False,
    )


@dataclass
class Launched:
    """A process that serves. What it says, on both channels, is in `said`."""

    process: "subprocess.Popen[bytes]"
    log: Path

    @property
    def said(self) -> str:
        """All that it has printed so far."""
        return self.log.read_text()

    @property
    def origin(self) -> str:
        """Where it says that it listens, "" as long as it does not."""
        found = re.search(r"listens on (http://\S+)/v1$", self.said, re.MULTILINE)
        return found[1] if found else ""

    @property
    def key(self) -> str:
        """The key that it printed, "" if it did not."""
        found = re.search(r"^ +(ag_\w+)$", self.said, re.MULTILINE)
        return found[1] if found else ""

    def client(self, key: str = "") -> httpx2.AsyncClient:
        """An HTTP client with a key. Connections are not kept, so that any worker may take the next request."""
        shown = key or self.key
        return httpx2.AsyncClient(
            base_url=self.origin,
            headers={"authorization": f"Bearer {shown}"} if shown else {},
            timeout=PATIENCE,
            limits=httpx2.Limits(max_keepalive_connections=0),
            trust_env=False,
        )

    async def stopped(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Its exit code after this signal."""
        self.process.send_signal(how)
        return await self.ended()

    async def ended(self) -> int:
        """Its exit code, once it has ended."""
        await until(lambda: self.process.poll() is not None, else_tell=lambda: self.said)
        return self.process.returncode


@asynccontextmanager
async def launched(
    folder: Path,
    *arguments: str,
    command: Sequence[str] = COMMAND,
    environ: Mapping[str, str] | None = None,
) -> AsyncIterator[Launched]:
    """`audiogate serve --port 0` with arguments, or another command; ready to serve."""
    asked = [*command, *arguments] if command is not COMMAND else [*command, "serve", "--port", "0", *arguments]
    process = _start(asked, folder, environment(folder) if environ is None else environ)
    one = Launched(process, folder / "said.log")
    try:
        await until(lambda: bool(one.origin) or process.poll() is not None, else_tell=lambda: one.said)
        assert process.poll() is None, one.said
        await ready(one)
        yield one
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def _start(command: Sequence[str], folder: Path, environ: Mapping[str, str]) -> "subprocess.Popen[bytes]":
    with open(folder / "said.log", "wb") as out:
        return subprocess.Popen(
            command,
            cwd=folder,
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )


async def ready(one: Launched) -> None:
    """Wait until it can serve requests."""
    deadline = time.monotonic() + PATIENCE
    async with one.client() as client:
        while True:
            try:
                if (await client.get("/readyz")).status_code == 200:
                    return
            except httpx2.TransportError:
                pass
            assert time.monotonic() < deadline, one.said
            await asyncio.sleep(0.01)


async def transcribe(client: httpx2.AsyncClient) -> httpx2.Response:
    """Have a second of silence written down."""
    return await client.post(
        "/v1/audio/transcriptions", data={"model": "whisper-1"}, files={"file": ("silence.wav", WAV)}
    )


async def until(condition: Callable[[], bool], *, else_tell: Callable[[], str] = str) -> None:
    """Wait for what other processes do."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, else_tell()
        await asyncio.sleep(0.01)
