"""Standard output for who must never wait: what it does not take now is kept for a while, and lost if that is too much.

The standard output of a process is often a pipe whose other end belongs to somebody else, who may stand still. Whether
to wait is a property of the open file and so of all processes that share it, not of ours alone: a pipe or a terminal is
opened once more for ourselves, a socket is told with each call. A file never lets one wait for long.
"""

import os
import select
import socket
import stat
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TextIO

ATOMIC = getattr(select, "PIPE_BUF", 512)  # bytes that a pipe takes in one piece, whoever else writes to it
MOST = 256 * 1024  # bytes that wait
Take = Callable[[bytes], int]


class Out:
    """What is written, on its way out. It can be written to from any thread, and is a stream for `logging`."""

    def __init__(self) -> None:
        self._stream: TextIO | None = None
        self._take: Take | None = None
        self._lock = threading.Lock()
        self._waiting: deque[bytes] = deque()
        self._size = 0
        self._lost = 0

    def open(self, stream: TextIO | None) -> None:
        """Write to what this stream writes to; None: there is none, and everything is lost."""
        if stream is None or stream is not self._stream:
            self._stream, self._take = stream, _taker(stream)

    def write(self, text: str) -> None:
        """Lines that go out as one piece, or wait behind others, or are lost."""
        if not text:
            return
        data = text.encode("utf-8", "backslashreplace")
        with self._lock:
            if self._size and self._size + len(data) > MOST:
                self._send()
            if self._size + len(data) > MOST:
                self._lost += text.count("\n")
                return
            self._waiting.append(data)
            self._size += len(data)
            self._send()

    def flush(self) -> None:
        """Try again to get rid of what waits."""
        if self._size:
            with self._lock:
                self._send()

    def lost(self) -> int:
        """How many lines were lost since it was asked last; tries again to get rid of what waits."""
        self.flush()
        lost, self._lost = self._lost, 0
        return lost

    def finish(self, *, seconds: float) -> None:
        """Give what waits so long to get out."""
        until = time.monotonic() + seconds
        while self._size and time.monotonic() < until:
            self.flush()
            time.sleep(0.01)

    def _send(self) -> None:
        while self._waiting:
            data = self._waiting[0]
            try:
                done = self._take(data) if self._take is not None else -1
            except BlockingIOError:
                return
            except OSError:  # nobody reads it any more
                done = -1
            if done < 0:
                self._lost += sum(piece.count(b"\n") for piece in self._waiting)
                self._waiting.clear()
                self._size = 0
                return
            self._size -= done
            if done < len(data):
                self._waiting[0] = data[done:]
                return
            self._waiting.popleft()


def _taker(stream: TextIO | None) -> Take | None:
    """How to write to it without waiting: gives the number of bytes it took, raises BlockingIOError for none."""
    if stream is None:
        return None
    try:
        fd = stream.fileno()
        mode = os.fstat(fd).st_mode
    except (OSError, ValueError):  # it is no file
        return lambda data: _whole(stream, data)
    if stat.S_ISSOCK(mode):
        return lambda data: _sent(fd, data)
    if stat.S_ISREG(mode):
        return lambda data: os.write(fd, data)
    try:
        own = os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:  # another user's terminal, or another system
        return lambda data: _polled(fd, data)
    return lambda data: os.write(own, data)


def _whole(stream: TextIO, data: bytes) -> int:
    stream.write(data.decode())
    stream.flush()
    return len(data)


def _sent(fd: int, data: bytes) -> int:
    line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, fileno=fd)
    try:
        return line.send(data, socket.MSG_DONTWAIT)
    finally:
        line.detach()  # it is not ours to close


def _polled(fd: int, data: bytes) -> int:
    """A pipe that says it takes something takes ATOMIC bytes, unless others were quicker."""
    if not select.select([], [fd], [], 0)[1]:
        raise BlockingIOError
    return os.write(fd, data[:ATOMIC])
