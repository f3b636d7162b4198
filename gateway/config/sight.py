"""Whether the configuration file, or a secret that it names, has become another one.

A look costs one `stat` for each file, of what the name stands for now: a file that was put in the place of another one
and a symbolic link that leads elsewhere (as in a mounted ConfigMap) are seen like one that was written to. Only what
has been the same for two looks is read, so that an editor that saves in two steps is not read in between.
"""

import hashlib
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway.config.expand import files

MOST = 1_000_000  # bytes of one file that count
Stamp = tuple[int, ...] | None


@dataclass(frozen=True, slots=True)
class Sight:
    """What stood in the configuration file, the first of `files`, and in those it names, the others.

    `stamps` are equal as long as nobody touches them, `digest` as long as they hold the same.
    """

    files: tuple[Path, ...]
    stamps: tuple[Stamp, ...]
    digest: str

    @property
    def moved(self) -> bool:
        """Whether somebody has touched them since."""
        return stamps(self.files) != self.stamps


class Watch:
    """Looks at a configuration file. `read` is what was read of it last; who reads it for other reasons sets it."""

    def __init__(self, read: Sight) -> None:
        self.read = read
        self._last = read.stamps

    def changed(self) -> bool:
        """Look: is there something else than what was read last, and has it been so at the last look, too?

        It is told once. To be called every second or so.
        """
        seen = stamps(self.read.files)
        still, self._last = seen == self._last, seen
        if not still or seen == self.read.stamps:
            return False
        before, self.read = self.read, sight(self.read.files[0])
        return self.read.digest != before.digest


def sight(path: Path) -> Sight:
    """What stands there now. A file that cannot be read holds nothing."""
    first = stamps([path])
    content = _content(path)
    named = tuple(Path(name) for name in dict.fromkeys(files(content.decode(errors="replace"))))
    others = stamps(named)
    digest = hashlib.sha256(b"\0".join(hashlib.sha256(one).digest() for one in (content, *map(_content, named))))
    return Sight((path, *named), (*first, *others), digest.hexdigest())


def stamps(paths: Sequence[Path]) -> tuple[Stamp, ...]:
    """What tells each file from another one; None where there is no file that could be read again."""
    return tuple(map(_stamp, paths))


def _stamp(path: Path) -> Stamp:
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    if not stat.S_ISREG(found.st_mode):  # what comes out of a pipe is gone once it was read
        return None
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


def _content(path: Path) -> bytes:
    if _stamp(path) is None:
        return b""
    try:
        with path.open("rb") as file:
            return b"+" + file.read(MOST)
    except OSError:
        return b""
