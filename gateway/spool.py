"""Bodies that are kept while they are sent: one writer, many followers, in memory first and then on disk.

A follower reads from byte 0 and then waits at the tail, so that an upload goes on as it arrives and can be sent
again from its start. A spool knows bytes, offsets and its two ends, complete or failed; who may read it again, and
when, is decided elsewhere.
"""

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from gateway.errors import refuse
from gateway.metrics import Metrics

PIECE = 256 * 1024


class Spools:
    """All spools of a process: the bounds they share."""

    def __init__(self, *, memory_bytes: int, total_bytes: int, folder: Path | None, metrics: Metrics) -> None:
        self.memory_bytes = memory_bytes
        self.folder = folder
        self._left = total_bytes
        self._metrics = metrics

    def open(self) -> "Spool":
        """A new, empty spool."""
        return Spool(self)

    def take(self, size: int) -> None:
        """Count bytes that are kept from now on. Raises Refused (503) when there is no room."""
        if size > self._left:
            raise refuse("spool_full", retry_after=1)
        self._left -= size
        self._metrics.spooled.inc(size)

    def give_back(self, size: int) -> None:
        """Count bytes that are no longer kept."""
        self._left += size
        self._metrics.spooled.dec(size)


class Spool:
    """One body."""

    def __init__(self, spools: Spools) -> None:
        self.size = 0
        self.complete = False
        self.failure: BaseException | None = None
        self._spools = spools
        self._memory = bytearray()
        self._file: int | None = None
        self._waiting: list[asyncio.Future[None]] = []
        self._closed = False

    def append(self, data: bytes) -> None:
        """Keep more. Raises Refused (503) when there is no room for it, on disk or by the common bound."""
        assert not self.complete
        if not data or self._closed:
            return
        self._spools.take(len(data))
        self.size += len(data)
        if self._file is None and self.size > self._spools.memory_bytes:
            self._spill()
        if self._file is None:
            self._memory += data
        else:
            self._write(data)
        self._wake()

    def finish(self) -> None:
        """The body is whole: followers end after its last byte."""
        self.complete = True
        self._wake()

    def fail(self, error: BaseException) -> None:
        """The body will never be whole: followers raise `error`."""
        if not self.complete and self.failure is None:
            self.failure = error
            self._wake()

    async def follow(self) -> AsyncIterator[tuple[int, bytes]]:
        """Offset and bytes of each piece, from the start to the end, as they come. Raises what `fail` was given."""
        at = 0
        while True:
            if self.failure is not None:
                raise self.failure
            if at < self.size:
                data = self._read(at, min(PIECE, self.size - at))
                yield at, data
                at += len(data)
            elif self.complete:
                return
            else:
                await self._more()

    async def whole(self) -> None:
        """Wait for the end. Raises what `fail` was given."""
        while not self.complete and self.failure is None:
            await self._more()
        if self.failure is not None:
            raise self.failure

    def fileno(self) -> int:
        """A file descriptor that holds the bytes kept so far at their offsets; the spool goes on owning it."""
        if self._file is None:
            self._spill()
        assert self._file is not None
        return self._file

    def close(self) -> None:
        """Forget everything; safe to call twice."""
        if self._closed:
            return
        self._closed = True
        self._spools.give_back(self.size)
        self._memory = bytearray()
        if self._file is not None:
            os.close(self._file)
            self._file = None
        self.fail(asyncio.CancelledError())

    def _spill(self) -> None:
        try:
            with tempfile.TemporaryFile(prefix="audiogate-", dir=self._spools.folder, buffering=0) as file:
                self._file = os.dup(file.fileno())
            os.set_inheritable(self._file, False)
        except OSError as error:
            raise refuse("spool_full", retry_after=1) from error
        if self._memory:
            self._write(self._memory)
            self._memory = bytearray()

    def _write(self, data: bytes | bytearray) -> None:
        assert self._file is not None
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._file, view) :]
        except OSError as error:
            raise refuse("spool_full", retry_after=1) from error

    def _read(self, at: int, size: int) -> bytes:
        if self._file is None:
            return bytes(self._memory[at : at + size])
        return os.pread(self._file, size, at)

    async def _more(self) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            await waiter
        finally:
            if waiter in self._waiting:
                self._waiting.remove(waiter)

    def _wake(self) -> None:
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)
        self._waiting.clear()
