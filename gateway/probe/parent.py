"""How long an upload lasts: asks a long-lived child process, and never waits for it longer than a deadline.

A child that is late, dies or says anything unexpected is killed, and the next job gets a new one. So is a child whose
caller was cancelled: nobody can ever read the answer to another's question. While a file keeps the child busy for long,
others are measured beside it.
"""

import asyncio
import json
import logging
import math
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from gateway.probe.span import SPAN

_log = logging.getLogger(__name__)

_ROOT = str(Path(__file__).parents[2])
_START = "import sys; sys.path.append(sys.argv[2]); from gateway.probe.child import main; main(int(sys.argv[1]))"
_LONGEST_ANSWER = 256

MOST = 3
"""Children at once. Each takes about 15 MiB beside what they share."""


class _Child:
    """The process and our end of the socket between us."""

    def __init__(self) -> None:
        self._ours, theirs = socket.socketpair()
        self._ours.setblocking(False)
        try:
            with theirs:
                self.process = subprocess.Popen(  # noqa: S603 - our own interpreter, our own words
                    [sys.executable, "-I", "-c", _START, str(theirs.fileno()), _ROOT],
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    env={},  # the secrets of the gateway stay out of reach of what reads hostile bytes
                    start_new_session=True,  # Ctrl-C is for the gateway, which then closes the probe
                )
        except OSError:
            self._ours.close()
            raise

    def ask(self, fd: int, span: tuple[int, int]) -> None:
        """Hand over the descriptor, and which bytes of it are meant."""
        socket.send_fds(self._ours, [SPAN.pack(*span)], [fd])

    async def line(self) -> bytes:
        """The next line the child says. Raises ConnectionError when it is gone or babbles."""
        said = b""
        while not said.endswith(b"\n"):
            part = await asyncio.get_running_loop().sock_recv(self._ours, _LONGEST_ANSWER)
            if not part or len(said := said + part) > _LONGEST_ANSWER:
                raise ConnectionError("the probe's child ended or said too much")
        return said

    def end(self) -> None:
        """Kill and reap; at once, since SIGKILL also ends a stopped process."""
        self._ours.close()
        self.process.kill()
        self.process.wait()


class Probe:
    """Measures uploads, one at a time while that is quick enough.

    `deadline` is for one job and `start_deadline` for the start of a child. Who has waited for `patience` gets a child
    beside those that are busy, up to MOST; it ends when nobody waits any more. All in seconds.
    """

    def __init__(self, *, deadline: float = 5.0, start_deadline: float = 15.0, patience: float = 1.0) -> None:
        self._deadline = deadline
        self._start_deadline = start_deadline
        self._patience = patience
        self._turn = asyncio.Semaphore(1)
        self._turns = 1  # how many there are, taken or not
        self._waiting = 0
        self._busy = 0
        self._left = asyncio.Event()
        self._children: list[_Child] = []
        self._idle: list[_Child] = []
        self._closed = False
        self._told = False

    @property
    def _child(self) -> _Child | None:
        """The one that has been there longest."""
        return self._children[0] if self._children else None

    async def seconds(self, fd: int, *, at: int = 0, size: int | None = None) -> float | None:
        """Seconds of sound in `size` bytes (None: all) from offset `at` of the file open as `fd`; None if unknown.

        Never raises for bad files. The file must stay open until this returns; its offset is neither used nor moved.
        """
        async with self._having_turn():
            if self._closed:
                return None
            child: _Child | None = None
            answered = False
            try:
                child = await self._ready()
                async with asyncio.timeout(self._deadline):
                    child.ask(fd, (at, os.fstat(fd).st_size - at if size is None else size))
                    line = await child.line()
                seconds = _read(line)
                answered = True
            except (OSError, ValueError) as error:  # TimeoutError and ConnectionError are OSErrors
                _log.warning("the probe gave no answer (%s); its child is replaced", type(error).__name__)
                return None
            else:
                return seconds
            finally:
                if child is not None:
                    self._put_back(child) if answered else self._end(child)

    async def warm(self) -> None:
        """Start a child now, so that the first job does not wait for it."""
        async with self._having_turn():
            with suppress(OSError):
                if not self._closed:
                    self._put_back(await self._ready())

    async def close(self) -> None:
        """End the children; jobs under way answer None, later jobs too."""
        self._closed = True
        for child in self._children:
            child.process.kill()
        while self._busy:
            self._left.clear()
            await self._left.wait()
        while self._idle:
            self._end(self._idle[0])

    @asynccontextmanager
    async def _having_turn(self) -> AsyncIterator[None]:
        timer = None
        if self._turn.locked():
            timer = asyncio.get_running_loop().call_later(self._patience, self._add_turn)
        self._waiting += 1
        try:
            await self._turn.acquire()
        finally:
            self._waiting -= 1
            if timer is not None:
                timer.cancel()
        self._busy += 1
        try:
            yield
        finally:
            self._busy -= 1
            self._left.set()
            if self._turns > 1 and not self._waiting:
                self._turns -= 1
                while len(self._children) > self._turns and self._idle:
                    self._end(self._idle[-1])
            else:
                self._turn.release()

    def _add_turn(self) -> None:
        if self._turns < MOST:
            self._turns += 1
            self._turn.release()

    async def _ready(self) -> _Child:
        while self._idle:
            child = self._idle[-1]
            if child.process.poll() is None:
                self._idle.remove(child)
                return child
            self._end(child)
        child = _Child()
        self._children.append(child)
        try:
            async with asyncio.timeout(self._start_deadline):
                self._tell(await child.line())
        except BaseException:
            self._end(child)
            raise
        return child

    def _tell(self, why: bytes) -> None:
        """What keeps the child from being sealed (see `seal.py`), once."""
        if why.strip() and not self._told:
            self._told = True
            _log.warning(
                "the probe's child is not sealed off here (%s): it runs under limits, but could open files and sockets",
                why.decode(errors="replace").strip(),
            )

    def _put_back(self, child: _Child) -> None:
        self._idle.append(child)

    def _end(self, child: _Child) -> None:
        self._children.remove(child)
        if child in self._idle:
            self._idle.remove(child)
        child.end()


def _read(line: bytes) -> float | None:
    """The seconds in the child's answer; None if it could not tell. Raises ValueError for anything else."""
    answer = json.loads(line)
    if not isinstance(answer, dict):
        raise ValueError("not an object")
    seconds = answer.get("seconds")
    if seconds is None:
        return None
    if not isinstance(seconds, float) or not math.isfinite(seconds) or seconds < 0:
        raise ValueError("not a duration")
    return seconds
