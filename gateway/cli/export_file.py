"""A file of exported records. It grows by whole lines, and its last one tells where to go on: after a crash, too."""

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gateway.errors import SetupError
from gateway.policy.exports import Form, cursor_in, head_of, may_begin

BLOCK = 65_536


class ExportFile:
    """An open file that nobody else exports to. `cursor` is that of its last record, "" if it had none."""

    def __init__(self, fd: int, path: Path, form: Form) -> None:
        self._fd, self._path, self.form = fd, path, form
        self.cursor = self._recover()

    def append(self, lines: list[bytes]) -> None:
        """Write lines and have them on the disk. Raises SetupError: what is there of them is for the next run."""
        data = b"".join(lines if os.fstat(self._fd).st_size else [head_of(self.form), *lines])
        try:
            while data:
                data = data[os.write(self._fd, data) :]
            os.fsync(self._fd)
        except OSError as error:
            raise SetupError(
                f"{self._path} cannot be written ({error.strerror}); put that right and run it again: it goes on where "
                "it stopped, and nothing is lost."
            ) from error

    def _recover(self) -> str:
        """Cut off a last line that is not whole. Returns the cursor of the last one that is. Raises SetupError."""
        size = os.fstat(self._fd).st_size
        last, rest = self._tail(size)
        cursor = cursor_in(last, self.form) if last else ""
        if cursor is None or not (last or may_begin(rest, self.form)):
            raise SetupError(
                f"{self._path} does not end like an export as {self.form}, so it is left as it is; name another file."
            )
        if rest:
            os.ftruncate(self._fd, size - len(rest))
            os.fsync(self._fd)
        return cursor

    def _tail(self, size: int) -> tuple[bytes, bytes]:
        """The last whole line, and what stands behind it."""
        data, start = b"", size
        while start and data.count(b"\n") < 2:
            begin = max(0, start - BLOCK)
            data, start = os.pread(self._fd, start - begin, begin) + data, begin
        whole, end, rest = data.rpartition(b"\n")
        return (whole.rpartition(b"\n")[2] + end), rest


@contextmanager
def opened(path: Path, form: Form) -> Iterator[ExportFile]:
    """The file, made if it is not there. Raises SetupError if it cannot be used, or somebody else is at it."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY, 0o640)
    except OSError as error:
        raise SetupError(f"{path} cannot be opened ({error.strerror}); name a file that can be written.") from error
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise SetupError(f"{path} is no file; write to standard output with --to -.")
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise SetupError(f"Another export writes to {path} now; wait for it, or name another file.") from error
        _keep_name(path.parent)
        yield ExportFile(fd, path, form)
    finally:
        os.close(fd)


def _keep_name(folder: Path) -> None:
    """Have the file's name on the disk, too."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
