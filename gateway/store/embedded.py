"""The store that needs no set-up: a real Valkey or Redis server on a unix socket in the data folder.

Any number of gateway processes share one server per folder, and it survives them all. Three lock files carry this,
since the kernel frees a lock when its holder dies: start.lock is held while a process starts or stops the server,
users.lock is shared by the processes between `start` and `stop`, and server.lock is inherited by the server: while it
is held, no second server may write the append-only file.
"""

import asyncio
import fcntl
import hashlib
import os
import stat
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from gateway.errors import SetupError
from gateway.store.engine import (
    ANYWHERE,
    PIDFILE,
    SOCKET,
    Fsync,
    Search,
    is_running,
    last_words,
    launch,
    open_lock,
    parse_version,
    record,
    take,
)

_LONGEST_ADDRESS = 103  # bytes; macOS allows 103 in a socket's path, Linux 107
_POLL = 0.01
_PATIENCE = 10.0


class Embedded:
    """This process's share in the server of a data folder."""

    def __init__(self, folder: Path, *, search: Search = ANYWHERE, fsync: Fsync = "everysec") -> None:
        self.folder = folder.resolve()
        self._search = search
        self._fsync = fsync
        self._users: int | None = None

    async def start(self) -> str:
        """Join the server, starting it if nobody did; returns its URL once it answers.

        Raises SetupError when the folder cannot be used, no engine is found, or the server does not come up.
        """
        async with self._turn():
            if self._users is None:
                self._users = open_lock(self.folder, "users.lock")
                # Never refused: it is held exclusively only by who has its turn, and that is us.
                take(self._users, fcntl.LOCK_SH)
            try:
                await self._bring_up()
            except BaseException:
                self._leave()
                raise
        return f"unix://{quote(str(_address(self.folder)))}"

    async def ensure(self) -> None:
        """Bring the server back if it died. Cheap when it answers; does nothing outside of `start` and `stop`.

        Raises SetupError when it cannot be brought back.
        """
        if self._users is None or await self._ask("PING") == b"+PONG":
            return
        async with self._turn():
            if self._joined():  # `stop` may have had its turn before
                await self._bring_up()

    async def stop(self) -> None:
        """Leave the server; the last one to leave shuts it down and waits up to 10 s until it is gone."""
        if self._users is None:
            return
        async with self._turn():
            try:
                if self._joined() and take(self._users, fcntl.LOCK_EX):
                    await self._shut_down()
            finally:
                self._leave()

    def _joined(self) -> bool:
        return self._users is not None

    def _leave(self) -> None:
        if self._users is not None:
            os.close(self._users)
        self._users = None

    async def _bring_up(self) -> None:
        begin: int | None = None
        give_up = time.monotonic() + _PATIENCE
        while (reply := await self._ask("PING")) != b"+PONG":
            if reply.startswith(b"-LOADING"):
                give_up = time.monotonic() + _PATIENCE
            elif not is_running(self.folder):
                if begin is not None:
                    raise SetupError(
                        f"The store's server in {self.folder} ended as soon as it was started: put right what its log "
                        f"says, or set store.url: {last_words(self.folder, begin)}"
                    )
                begin = await asyncio.to_thread(launch, self.folder, search=self._search, fsync=self._fsync)
            elif time.monotonic() > give_up:
                raise SetupError(
                    f"A server for the store runs but does not answer ({reply.decode() or 'silence'}): end the process "
                    f"named in {self.folder / PIDFILE} and start again."
                )
            await asyncio.sleep(_POLL)
        # A server found running may have been started with another setting, and by a version not yet recorded.
        about = await self._ask(f"CONFIG SET appendfsync {self._fsync}", "INFO server")
        if version := parse_version(about.decode()):
            record(self.folder, version)

    async def _shut_down(self) -> None:
        give_up = time.monotonic() + _PATIENCE
        while is_running(self.folder) and time.monotonic() < give_up:
            await self._ask("SHUTDOWN")
            await asyncio.sleep(_POLL)

    async def _ask(self, *commands: str) -> bytes:
        """The replies to some commands, up to the end of what the server says; empty when nobody answers."""
        said = b""
        with suppress(OSError):  # which includes TimeoutError
            async with asyncio.timeout(1.0):
                reader, writer = await asyncio.open_unix_connection(_address(self.folder))
                try:
                    writer.write("\r\n".join([*commands, "QUIT", ""]).encode())
                    said = await reader.read(-1)
                finally:
                    writer.close()
                    await writer.wait_closed()
        return said.removesuffix(b"\r\n+OK\r\n").strip()

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """Hold start.lock. It is polled, since a thread that waits in flock could not be cancelled."""
        lock = open_lock(self.folder, "start.lock")
        try:
            while not take(lock, fcntl.LOCK_EX):  # noqa: ASYNC110 - no event crosses processes
                await asyncio.sleep(_POLL)
            yield
        finally:
            os.close(lock)


def _address(folder: Path) -> Path:
    """Where clients find the socket: in the folder, or through a short link to a folder with a long path.

    Each process makes the link for itself when it is missing, so nothing depends on all having the same
    temporary folder. Raises SetupError when the temporary folder cannot be trusted.
    """
    if len(os.fsencode(folder / SOCKET)) <= _LONGEST_ADDRESS:
        return folder / SOCKET
    room = Path(tempfile.gettempdir()) / f"audiogate-{os.getuid()}"
    short = room / hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
    with suppress(FileExistsError):
        room.mkdir(mode=0o700)
    found = room.lstat()
    ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077
    if not ours or len(os.fsencode(short / SOCKET)) > _LONGEST_ADDRESS:
        raise SetupError(
            f"The path {folder} is too long for a socket, and {room} is no short folder that only this user can enter: "
            f"choose a data folder with a shorter path."
        )
    with suppress(FileExistsError):
        short.symlink_to(folder)
    return short / SOCKET
