"""Programs that take part: how the two in C are built, and how any of them is started on a core and ended by its id."""

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
BUILD = HERE / ".build"
TOOLS = HERE / "tools"
PATIENCE = 120.0


class Unfit(Exception):
    """A program cannot take part; the text says why, in a sentence."""


def build(name: str) -> Path:
    """The program of tools/NAME.c, compiled unless that was done before. Raises Unfit."""
    binary, sources = BUILD / name, (TOOLS / f"{name}.c", *TOOLS.glob("*.h"))
    if binary.exists() and all(binary.stat().st_mtime > source.stat().st_mtime for source in sources):
        return binary
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        raise Unfit("there is no C compiler; install gcc")
    BUILD.mkdir(exist_ok=True)
    new = BUILD / f"{name}.{os.getpid()}"
    subprocess.run([compiler, "-O2", "-Wall", "-Wextra", "-o", new, sources[0]], check=True)
    new.replace(binary)
    return binary


def cores() -> tuple[tuple[int, ...], int]:
    """The cores for what is measured, and the one for load, upstream and stores: the last one."""
    found = sorted(os.sched_getaffinity(0))
    return tuple(found[:-1]) or tuple(found), found[-1]


def free_port() -> int:
    """A port that was free just now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@dataclass
class Program:
    """A program that runs; what it says on both channels is in `log`."""

    process: "subprocess.Popen[bytes]"
    log: Path

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    def said(self) -> str:
        """The end of what it said."""
        return self.log.read_text(errors="replace")[-2000:]

    def answers_on(self, port: int) -> None:
        """Wait until it accepts connections. Raises Unfit."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                return
            except OSError:
                self.lives(deadline)
                time.sleep(0.01)

    def lives(self, deadline: float) -> None:
        """Raises Unfit when it has ended, or the deadline (monotonic seconds) is over."""
        if self.process.poll() is not None or time.monotonic() > deadline:
            raise Unfit(f"{self.log.stem} did not start: {self.said()[-500:].strip()}")


@contextmanager
def running(
    command: Sequence[object], *, on: Sequence[int], room: Path, name: str, env: Mapping[str, str] | None = None
) -> Iterator[Program]:
    """Run a program on these cores, its working directory and temporary files in the room, until the block ends."""
    (room / "tmp").mkdir(parents=True, exist_ok=True)
    path = room / f"{name}.log"
    told = {"PATH": os.environ["PATH"], "HOME": str(room), "TMPDIR": str(room / "tmp"), "LANG": "C.UTF-8"}
    with open(path, "wb") as log:
        process = subprocess.Popen(
            ["taskset", "-c", ",".join(map(str, on)), *map(str, command)],
            cwd=room,
            env={**told, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield Program(process, path)
    finally:
        _end(process)


def _end(process: "subprocess.Popen[bytes]") -> None:
    """SIGTERM, and SIGKILL for what is left of it after ten seconds."""
    family = descendants(process.pid)
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for pid, began in family.items():
        if began_at(pid) == began:  # the same process still, not another one with its id
            os.kill(pid, signal.SIGKILL)


def began_at(pid: int) -> str:
    """When a process began, "" if there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""


def descendants(root: int) -> dict[int, str]:
    """The processes below one, each with when it began."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:  # it has just ended
                continue
    found: dict[int, str] = {}
    fresh = {root}
    while fresh:
        fresh = {pid for pid, parent in parents.items() if parent in fresh and pid not in found}
        found |= {pid: began_at(pid) for pid in fresh}
    return found


@contextmanager
def mock(room: Path, core: int) -> Iterator[int]:
    """The upstream; gives its port."""
    port = free_port()
    with running([build("mock"), port], on=[core], room=room, name="mock") as program:
        program.answers_on(port)
        yield port


def load(core: int, port: int, *options: object, seconds: float, drain: float = 60.0) -> dict[str, Any]:
    """Load whoever listens on the port, see tools/load.c; gives what it prints."""
    command = ["taskset", "-c", core, build("load"), "--port", port, "--seconds", seconds, "--drain", drain, *options]
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, check=False, timeout=seconds + drain + 30
    )
    if done.returncode:
        raise Unfit(f"load ended with {done.returncode}: {done.stderr[-500:]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found
