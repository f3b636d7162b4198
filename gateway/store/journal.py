"""What is owed to the store, on disk: written before it is sent, kept for a while after it was taken.

One SQLite file per process, in write-ahead mode and synced in full, so that what was written survives the power.
A file whose process is gone is adopted by any other of the same host. Rows that the store has taken stay for KEEP
seconds: a store that fails over, or starts from an old copy, may have forgotten them, and gets them again. Sending
twice is harmless, a settlement is applied once: the store knows what it took for a day. What was sent and not answered
for longer than that is not sent again, lest it be charged twice; it stays in the file for an operator to look at.
"""

import asyncio
import fcntl
import os
import secrets
import sqlite3
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from gateway.errors import SetupError
from gateway.store.usage import SETTLED_TTL, Settlement, read, written

KEEP = 600.0
KNOWN = SETTLED_TTL - 3600.0  # so long after its request began a settlement may be sent again
TABLE = (
    "CREATE TABLE IF NOT EXISTS settlements "
    "(rid TEXT PRIMARY KEY, body TEXT NOT NULL, began REAL, tries INTEGER, taken REAL)"
)
INDEX = "CREATE INDEX IF NOT EXISTS owed ON settlements (tries, rid) WHERE taken IS NULL"
KEEPS = "INSERT OR IGNORE INTO settlements VALUES (?, ?, ?, 1, NULL)"
T = TypeVar("T")


class Journal:
    """This process's file in `folder`. `clock` gives seconds since 1970."""

    def __init__(self, folder: Path, *, clock: Callable[[], float]) -> None:
        self._folder, self._clock = folder, clock
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="journal")
        self._taken: deque[tuple[float, str]] = deque()  # when, and which
        self._path = folder / f"{os.getpid()}-{secrets.token_hex(4)}.db"

    def open(self) -> None:
        """Make the file. Raises SetupError where that cannot be done."""
        folder = self._folder
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = _own(self._path)
            self._base = _connect(self._path)
        except (OSError, sqlite3.Error) as error:
            raise SetupError(
                f"The journal in {folder} cannot be written ({error}); set store.data to a folder on a local disk that "
                "this user may write to."
            ) from error

    async def keep(self, *some: Settlement) -> None:
        """Write them down; on disk when this returns. Raises sqlite3.Error."""
        rows = [(one.rid, written(one), one.began) for one in some]
        await self._do(partial(self._write, KEEPS, rows))

    def taken(self, rids: Sequence[str]) -> None:
        """The store has these: written with what is written next. If that is lost they are sent once more, no more."""
        now = self._clock()
        self._taken.extend((now, rid) for rid in rids)

    async def owed(self, limit: int) -> list[Settlement]:
        """What the store does not have yet, first what was tried least, then oldest first (ids sort by time)."""
        query = (
            "SELECT body FROM settlements WHERE taken IS NULL AND (tries = 0 OR began > ?) ORDER BY tries, rid LIMIT ?"
        )
        return [read(body) for (body,) in await self._do(partial(self._look, query, self._clock() - KNOWN, limit))]

    async def sending(self, rids: Sequence[str]) -> None:
        """These are sent now once more; what was just written down counts as sent from the start."""
        statement = "UPDATE settlements SET tries = tries + 1 WHERE rid = ?"
        await self._do(lambda: self._write(statement, [(rid,) for rid in rids]))

    async def unsent(self, rids: Sequence[str]) -> None:
        """These were not sent after all."""
        statement = "UPDATE settlements SET tries = max(0, tries - 1) WHERE rid = ?"
        await self._do(lambda: self._write(statement, [(rid,) for rid in rids]))

    async def stuck(self) -> int:
        """How many are not sent again: tried, and too old for the store to know whether it took them."""
        query = "SELECT count(*) FROM settlements WHERE taken IS NULL AND tries > 0 AND began <= ?"
        return int((await self._do(partial(self._look, query, self._clock() - KNOWN)))[0][0])

    async def count(self) -> int:
        """How many the store does not have yet."""
        query = "SELECT count(*) FROM settlements WHERE taken IS NULL"
        return int((await self._do(partial(self._look, query)))[0][0])

    async def send_again(self) -> None:
        """The store may have forgotten what it took lately: all of it is owed once more."""
        late = self._clock() - KEEP
        await self._do(lambda: self._write("UPDATE settlements SET taken = NULL WHERE taken > ?", [(late,)]))

    async def tidy(self) -> None:
        """Forget what was taken long ago, and take over the files of processes that are gone."""
        old = self._clock() - KEEP
        until = f"req_{int(old * 1000):012x}"  # ids sort by time: what came later need not be looked at
        await self._do(lambda: self._write("DELETE FROM settlements WHERE rid < ? AND taken <= ?", [(until, old)]))
        await self._do(self._adopt)

    async def close(self) -> None:
        """Close the file; an empty one is removed."""
        await self._do(self._close)
        self._thread.shutdown()

    # -- in the one thread that writes

    async def _do(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _write(self, statement: str, rows: Sequence[tuple[object, ...]]) -> None:
        taken = []
        while self._taken:
            taken.append(self._taken.popleft())
        try:
            with self._base:
                self._base.executemany("UPDATE settlements SET taken = ? WHERE rid = ?", taken)
                self._base.executemany(statement, rows)
        except sqlite3.Error:
            self._taken.extendleft(reversed(taken))
            raise

    def _write_taken(self) -> None:
        with suppress(sqlite3.Error):  # what the store has is sent to it once more, at worst
            self._write(KEEPS, [])

    def _look(self, query: str, *values: float) -> list[tuple[Any, ...]]:
        """What a query finds, what the store has by now being known."""
        self._write_taken()
        return self._base.execute(query, values).fetchall()

    def _adopt(self) -> None:
        for path in self._folder.glob("*.db"):
            if path == self._path:
                continue
            with _locked(path) as mine:
                if not mine:
                    continue
                other = _connect(path)
                # What the dead one knew of the store is not known here: what may be sent again is.
                rows = other.execute(
                    "SELECT rid, body, began, tries, CASE WHEN began > ? THEN NULL ELSE taken END FROM settlements",
                    (self._clock() - KNOWN,),
                ).fetchall()
                other.close()
                self._write("INSERT OR IGNORE INTO settlements VALUES (?, ?, ?, ?, ?)", rows)
                _remove(path)

    def _close(self) -> None:
        self._write_taken()
        (left,) = self._base.execute("SELECT count(*) FROM settlements").fetchone()
        self._base.close()
        if not left:
            _remove(self._path)
        os.close(self._lock)


def _connect(path: Path) -> sqlite3.Connection:
    base = sqlite3.connect(path, check_same_thread=False)
    base.execute("PRAGMA journal_mode=WAL")
    base.execute("PRAGMA synchronous=FULL")
    base.execute(TABLE)
    base.execute(INDEX)
    return base


def _own(path: Path) -> int:
    """The locked file of a process that starts. Before the lock is there others may take it for a dead one's."""
    while True:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        if path.exists() and os.fstat(lock).st_ino == path.stat().st_ino:
            return lock
        os.close(lock)


@contextmanager
def _locked(path: Path) -> Iterator[bool]:
    """Whether the file belongs to nobody any more; held while it is looked at."""
    try:
        lock = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        yield False
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        yield False
    else:
        yield path.exists()  # its last owner may have removed it just now
    finally:
        os.close(lock)


def _remove(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
