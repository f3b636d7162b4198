"""How long an upload lasts: asks one long-lived child process, and never waits for it longer than a deadline.

A child that is late, dies or says anything unexpected is killed, and the next job gets a new one. So is a child whose
caller was cancelled: nobody can ever read the answer to another's question.
"""

import asyncio
import json
import logging
import math
import os
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from gateway.probe.span import SPAN

_log = logging.getLogger(__name__)

_ROOT = str(Path(__file__).parents[2])
_START = "import sys; sys.path.append(sys.argv[2]); from gateway.probe.child import main; main(int(sys.argv[1]))"
_LONGEST_ANSWER = 256


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
    """Measures uploads, one at a time.

    `deadline` is for one job and `start_deadline` for the start of the child, both in seconds.
    """

    def __init__(self, *, deadline: float = 5.0, start_deadline: float = 15.0) -> None:
        self._deadline = deadline
        self._start_deadline = start_deadline
        self._turn = asyncio.Lock()
        self._child: _Child | None = None
        self._closed = False

    async def seconds(self, fd: int, *, at: int = 0, size: int | None = None) -> float | None:
        """Seconds of sound in `size` bytes (None: all) from offset `at` of the file open as `fd`; None if unknown.

        Never raises for bad files. The file must stay open until this returns; its offset is neither used nor moved.
        """
        async with self._turn:
            if self._closed:
                return None
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
                if not answered:
                    self._end()

    async def warm(self) -> None:
        """Start the child now, so that the first job does not wait for it."""
        async with self._turn:
            with suppress(OSError):
                if not self._closed:
                    await self._ready()

    async def close(self) -> None:
        """End the child; a job under way answers None, later jobs too."""
        self._closed = True
        if self._child is not None:
            self._child.process.kill()
        async with self._turn:
            self._end()

    async def _ready(self) -> _Child:
        if self._child is not None and self._child.process.poll() is not None:
            self._end()
        if self._child is None:
            self._child = _Child()
            async with asyncio.timeout(self._start_deadline):
                await self._child.line()
        return self._child

    def _end(self) -> None:
        child, self._child = self._child, None
        if child is not None:
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
