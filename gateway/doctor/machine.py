"""The software, the folders and the limits of this machine."""

import os
import resource
import shutil
import ssl
import sys
import tempfile
from pathlib import Path

from gateway.doctor.finding import Finding, Scene, ok, problem, warning

OLDEST_PYTHON, OLDEST_TLS = (3, 11), (3, 0)
LITTLE, TOO_LITTLE = 1024**3, 64 * 1024**2  # bytes that are free for the data folder
BESIDE = 256  # descriptors besides those of connections
MEMORY = frozenset({"tmpfs", "ramfs"})
REMOTE = frozenset({"nfs", "nfs4", "cifs", "smb3", "9p", "afs", "ceph", "glusterfs", "fuse.sshfs", "fuse.s3fs"})
MOUNTS = Path("/proc/mounts")


def software(scene: Scene) -> list[Finding]:
    """Whether Python and what encrypts are recent enough."""
    del scene
    python, tls = sys.version.split()[0], ssl.OPENSSL_VERSION
    found = []
    if sys.version_info < OLDEST_PYTHON:
        found.append(problem(f"This is Python {python}.", "Install Python 3.11 or newer."))
    if ssl.OPENSSL_VERSION_INFO < OLDEST_TLS:
        words = f"Python goes with {tls}, which nobody mends any more."
        found.append(warning(words, "Use a Python that was built with OpenSSL 3."))
    return found or [ok(f"Python {python}, {tls}.")]


def open_files(scene: Scene) -> list[Finding]:
    """Whether as many connections can be open as the configuration allows."""
    server, (_, hard) = scene.known.server, resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = server.max_connections + 2 * server.max_requests + BESIDE
    if hard == resource.RLIM_INFINITY or hard >= wanted:
        return [ok(f"A process may open as many files as it needs ({wanted:,}).")]
    words = f"A process may open {hard:,} files; server.max_connections and max_requests may need {wanted:,}."
    return [warning(words, f"Allow more (`ulimit -Hn {wanted}`, LimitNOFILE={wanted}), or lower the two.")]


def data_folder(scene: Scene) -> list[Finding]:
    """Whether `store.data` can be written to, and lasts."""
    folder = scene.known.store.data.absolute()
    if found := _unusable(folder, "store.data"):
        return found
    kind, free = filesystem(folder), shutil.disk_usage(_existing(folder)).free
    found = []
    if kind in MEMORY:
        words = (
            f"store.data ({folder}) is in memory ({kind}): keys, limits and usage are gone when the machine restarts."
        )
        found.append(warning(words, "Name a folder on a disk."))
    if kind in REMOTE:
        words = f"store.data ({folder}) is on another machine ({kind}): the embedded store and the journal need locks."
        found.append(warning(words, "Name a folder on a local disk."))
    if free < LITTLE:
        kinds = problem if free < TOO_LITTLE else warning
        found.append(kinds(f"store.data ({folder}) has {size(free)} left.", f"Make room: {size(LITTLE)} at least."))
    return found or [ok(f"{folder} can be written to; {size(free)} are free.")]


def uploads(scene: Scene) -> list[Finding]:
    """Whether all uploads that may be kept at once have room in their folder."""
    bounds = scene.known.uploads
    folder = (bounds.folder or Path(tempfile.gettempdir())).absolute()
    if found := _unusable(folder, "uploads.folder", must_be_there=True):
        return found
    total, usage, kind = bounds.total_bytes, shutil.disk_usage(folder), filesystem(folder)
    found = []
    if usage.free < total:
        kinds = problem if usage.free < bounds.max_bytes else warning
        words = f"{folder} has {size(usage.free)} left, and uploads.total_bytes allows {size(total)}."
        found.append(kinds(words, "Name a larger folder in uploads.folder, or lower uploads.total_bytes."))
    if kind in MEMORY and total > (memory := _memory()) // 2:
        words = (
            f"{folder} is in memory ({kind}): {size(total)} of uploads would take most of the {size(memory)} there are."
        )
        found.append(warning(words, "Name a folder on a disk in uploads.folder, or lower uploads.total_bytes."))
    return found or [ok(f"{folder} has room for {size(total)} of uploads.")]


def filesystem(path: Path) -> str:
    """The kind of file system that a path is on, "" where the system does not tell."""
    best, kind = "", ""
    try:
        rows = [line.split()[1:3] for line in MOUNTS.read_text(errors="replace").splitlines()]
    except OSError:
        return ""
    place = os.path.realpath(path)
    for mounted, what in rows:
        point = mounted.replace("\\040", " ")
        if len(point) >= len(best) and (place + "/").startswith(point.rstrip("/") + "/"):
            best, kind = point, what
    return kind


def size(count: int) -> str:
    """Bytes as people read them."""
    amount, unit = count / 1024**2, "MiB"
    return f"{amount / 1024:,.1f} GiB" if amount >= 1024 else f"{amount:,.0f} {unit}"


def _unusable(folder: Path, setting: str, *, must_be_there: bool = False) -> list[Finding]:
    there = _existing(folder)
    if (folder.exists() and not folder.is_dir()) or not there.is_dir():
        return [problem(f"{setting} is {folder}, and {there} is no folder.", "Name another one.")]
    if must_be_there and not folder.exists():
        return [problem(f"{setting} is {folder}, which is not there.", "Make it, or name another one.")]
    if not os.access(there, os.W_OK | os.X_OK):
        user = os.geteuid()
        words = f"{there} cannot be written to by this user (id {user})."
        return [problem(words, f"Give it to that user (`chown {user} {there}`), or name another folder in {setting}.")]
    return []


def _existing(folder: Path) -> Path:
    return next(one for one in (folder, *folder.parents) if one.exists())


def _memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
