"""The secret under which keys are digested. It stays outside the store: a dump of the store verifies no key."""

import os
import secrets
from pathlib import Path

from gateway.errors import SetupError

FILE = "pepper"
BYTES = 32


def read_pepper(folder: Path) -> bytes:
    """The pepper of a data folder, made at the first start. Losing it makes every key invalid: back it up.

    Raises SetupError where the folder cannot be used.
    """
    path = folder / FILE
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        new = folder / f".{FILE}.{os.getpid()}.{secrets.token_hex(4)}"
        if not path.exists():
            # Written aside and linked: of processes that start at once one wins, and nobody reads half a file.
            with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(secrets.token_bytes(BYTES))
                file.flush()
                os.fsync(file.fileno())
            try:
                os.link(new, path)
            except FileExistsError:
                pass
            finally:
                new.unlink()
            _sync(folder)
        found = path.read_bytes()
    except OSError as error:
        raise SetupError(
            f"The data folder {folder} cannot be used ({error.strerror}); set store.data to a folder that this user "
            "may write to."
        ) from error
    if len(found) < BYTES:
        raise SetupError(f"{path} is shorter than {BYTES} bytes; restore it from your back-up, or all keys are lost.")
    return found


def _sync(folder: Path) -> None:
    """Bring the folder's names to the disk: keys are told that are worth nothing without the file."""
    fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
