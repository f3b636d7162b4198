"""Bodies that are kept while they are sent: one writer, many followers.

A follower reads from byte 0 and then waits at the tail, so that an upload goes on as it arrives and can be sent
again from its start. A spool knows bytes, offsets and its two ends, complete or failed; who may read it again, and
when, is decided elsewhere.

A small body is in memory, as the pieces that came. A larger one is in a file, all of it. A follower that is up to date
is given each piece as it comes, before the next one is read from anywhere; one that is a little behind finds it in
memory, one that is far behind reads the file. What is in memory is bounded twice, for a body and for all of them
together (HELD): a crowd of small bodies goes to files as a large one does.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path

from gateway.errors import refuse
from gateway.files import File, Files
from gateway.metrics import Metrics

PIECE = 64 * 1024  # bytes that are read from a file at once
SMALL = 16 * 1024  # pieces below this are given together
HELD = 6 * 1024 * 1024  # bytes in memory, of all bodies
LIVE = 512 * 1024  # bytes in memory of a body that is in a file: so far may its follower be behind
COST = 256  # what a piece takes beside its bytes


class Spools:
    """All spools of a process: the bounds they share. `room`: bytes that may still be in memory."""

    def __init__(self, *, memory_bytes: int, total_bytes: int, folder: Path | None, metrics: Metrics) -> None:
        self.memory_bytes = memory_bytes
        self.room = HELD
        self.files = Files(folder)
        self._left = total_bytes
        self._metrics = metrics

    def open(self, announced: int = 0) -> "Spool":
        """A new, empty spool with room for so many bytes, lest many at once all run out. Raises Refused (503)."""
        self.take(announced)
        return Spool(self, announced)

    def take(self, size: int) -> None:
        """Count bytes that are kept from now on, or may be. Raises Refused (503) when there is no room."""
        if size > self._left:
            raise refuse("spool_full", retry_after=1)
        if size > self._left - self.files.waiting:
            self.files.tidy()
        self._left -= size
        self._metrics.spooled.inc(size)

    def give_back(self, size: int) -> None:
        """Count bytes that are no longer kept."""
        self._left += size
        self._metrics.spooled.dec(size)


class Spool:
    """One body."""

    def __init__(self, spools: Spools, share: int) -> None:
        self.size = 0
        self._share = share  # bytes of the room of all
        self.complete = False
        self.failure: BaseException | None = None
        self._spools = spools
        self._pieces: dict[int, bytes] = {}  # the newest bytes, by their offsets; all of them while there is no file
        self._held = 0
        self._file: File | None = None
        self._lent = False  # somebody else may read the file
        self._live = False  # pieces that come are wanted by a follower that has had all before
        self._straight: Callable[[bytes], bool] | None = None
        self._waiting: list[asyncio.Future[None]] = []
        self._closed = False

    def append(self, data: bytes) -> None:
        """Keep more. Raises Refused (503) when there is no room for it, on disk or by the common bound."""
        assert not self.complete
        if not data or self._closed:
            return
        if (more := self.size + len(data) - self._share) > 0:
            self._spools.take(more)
            self._share += more
        self._keep(data)
        self.size += len(data)
        if self._straight is not None and self._straight(data):
            if len(self._waiting) > 1:
                self._wake()
            return
        self._straight = None  # what comes now must not overtake this piece
        if self._file is not None:
            self._stay(data)
        self._wake()

    def finish(self) -> None:
        """The body is whole: followers end after its last byte."""
        self.complete = True
        self._spools.give_back(self._share - self.size)
        self._share = self.size
        self._wake()

    def fail(self, error: BaseException) -> None:
        """The body will never be whole: followers raise `error`."""
        if not self.complete and self.failure is None:
            self.failure = error
            self._wake()

    def piece(self, at: int) -> bytes | None:
        """What a follower gets that has had `at` bytes: b"" at the end, None if he must wait for `more`.

        Raises what `fail` was given.
        """
        if self._closed and self.failure is None:
            raise asyncio.CancelledError
        if self.failure is not None:
            raise self.failure
        if at < self.size:
            return self._read(at)
        return b"" if self.complete else None

    async def more(self, straight: Callable[[bytes], bool]) -> None:
        """Wait for more, having had all there is. Pieces go `straight`, one by one, until it says that it took none."""
        self._live, self._straight = True, straight
        try:
            await self._news()
        finally:
            if self._straight is straight:
                self._straight = None

    async def whole(self) -> None:
        """Wait for the end. Raises what `fail` was given."""
        while not self.complete and self.failure is None:
            await self._news()
        if self.failure is not None:
            raise self.failure

    def fileno(self) -> int:
        """A descriptor of a file with the bytes kept so far, and no others; the spool goes on owning it.

        Raises Refused (503) when they cannot be put into one.
        """
        file = self._file or self._spill()
        self._lent = True
        file.cut(self.size)
        return file.fd

    def close(self) -> None:
        """Forget everything; safe to call twice."""
        if self._closed:
            return
        self._closed = True
        self._spools.give_back(self._share)
        self._forget()
        if self._file is not None and not self._lent:
            self._spools.files.put_away(self._file)
        self._file = None
        self.fail(asyncio.CancelledError())

    def _keep(self, data: bytes) -> None:
        cost = len(data) + COST
        if self._file is None and (cost > self._spools.room or self._held + cost > self._spools.memory_bytes):
            self._spill()
        if self._file is None:
            self._hold(data, self.size)
        elif not self._written(self._file, data, self.size):
            raise refuse("spool_full", retry_after=1)

    def _stay(self, data: bytes) -> None:
        """The last piece, which is in the file, stays in memory as well if a follower is waiting for it."""
        cost = len(data) + COST
        self._live = self._live and cost <= self._spools.room and self._held + cost <= LIVE
        if self._live:
            self._hold(data, self.size - len(data))
        else:
            self._forget()

    def _hold(self, data: bytes, at: int) -> None:
        self._pieces[at] = data
        self._held += len(data) + COST
        self._spools.room -= len(data) + COST

    def _forget(self) -> None:
        """Nothing is in memory any more."""
        self._spools.room += self._held
        self._held = 0
        self._pieces = {}

    def _spill(self) -> File:
        try:
            file = self._spools.files.take()
        except OSError as error:
            raise refuse("spool_full", retry_after=1) from error
        if not self._written(file, b"".join(self._pieces.values()), 0):
            file.close()
            raise refuse("spool_full", retry_after=1)
        self._file = file
        self._forget()
        return file

    def _written(self, file: File, data: bytes, at: int) -> bool:
        """Whether there was room for it. Not raised from here: an error keeps what its frames know, and so the file."""
        for _ in range(2):
            try:
                file.write(data, at)
            except OSError:
                if not self._spools.files.tidy():
                    return False
            else:
                return True
        return False

    def _read(self, at: int) -> bytes:
        if at not in self._pieces:
            end = next((start for start in self._pieces if start > at), self.size)
            assert self._file is not None
            return self._file.read(at, min(PIECE, end - at))
        pieces = [self._taken(at)]
        size = len(pieces[0])
        while size < SMALL and at + size in self._pieces:
            pieces.append(self._taken(at + size))
            size += len(pieces[-1])
        return b"".join(pieces)

    def _taken(self, at: int) -> bytes:
        if self._file is None:
            return self._pieces[at]
        data = self._pieces.pop(at)
        self._held -= len(data) + COST
        self._spools.room += len(data) + COST
        return data

    async def _news(self) -> None:
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
