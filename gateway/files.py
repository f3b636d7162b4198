"""Files without names, one for a body that is too large for memory, and again for the next.

To write over a file that is there costs a third of a new one, so a few wait for some seconds. Bytes of the body before
stay in them: who reads must not go beyond what he has written.
"""

import asyncio
import os
import tempfile
from pathlib import Path

IDLE, IDLE_BYTES, IDLE_SECONDS = 16, 256 * 1024 * 1024, 5.0


class File:
    """Closed with its last owner, or before. `length`: bytes on the disk, whoever wrote them."""

    def __init__(self, folder: Path | None) -> None:
        with tempfile.TemporaryFile(prefix="audiogate-", dir=folder, buffering=0) as file:
            self.fd = os.dup(file.fileno())
        self.length = 0

    def __del__(self) -> None:
        if hasattr(self, "fd"):
            self.close()

    def close(self) -> None:
        """Give its room back now: an error that was met while it was written to may hold on to it. Safe to call twice.

        Nobody may read or write it any more.
        """
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def write(self, data: bytes, at: int) -> None:
        """Put `data` there. Raises OSError."""
        view = memoryview(data)
        while view:
            done = os.pwrite(self.fd, view, at)
            at, view = at + done, view[done:]
            self.length = max(self.length, at)

    def read(self, at: int, size: int) -> bytes:
        """Up to `size` bytes from there on, one at least. Raises OSError."""
        data = os.pread(self.fd, size, at)
        if not data:
            raise OSError("what was written to a file is not there")
        return data

    def cut(self, size: int) -> None:
        """Let what is beyond `size` go. Raises OSError."""
        if self.length > size:
            os.ftruncate(self.fd, size)
            self.length = size


class Files:
    """The files of one folder, None: the system's temporary one. `waiting`: bytes on the disk of those nobody uses."""

    def __init__(self, folder: Path | None) -> None:
        self.waiting = 0
        self._folder = folder
        self._idle: list[File] = []
        self._timer: asyncio.TimerHandle | None = None

    def take(self) -> File:
        """A file for one body. Raises OSError."""
        if not self._idle:
            return File(self._folder)
        file = self._idle.pop()
        self.waiting -= file.length
        return file

    def put_away(self, file: File) -> None:
        """A body no longer needs it, and nobody else has it."""
        if len(self._idle) < IDLE and self.waiting + file.length <= IDLE_BYTES:
            self._idle.append(file)
            self.waiting += file.length
            if self._timer is None:
                self._timer = asyncio.get_running_loop().call_later(IDLE_SECONDS, self.tidy)
        else:
            file.close()

    def tidy(self) -> bool:
        """Give those that wait back to the system; whether there were any."""
        idle, self._idle, self.waiting = self._idle, [], 0
        for file in idle:
            file.close()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        return bool(idle)
