"""Secrets that are made at the first start, in the data folder.

The pepper, under which keys are digested, stays outside the store: a dump of the store verifies no key. The operators'
token is made where the configuration has none.
"""

import os
import secrets
from dataclasses import replace
from pathlib import Path

from gateway.config.model import Config
from gateway.errors import SetupError

FILE = "pepper"
OPERATORS = "admin-token"
BYTES = 32


def read_pepper(folder: Path) -> bytes:
    """The pepper of a data folder, made at the first start. Losing it makes every key invalid: back it up.

    Raises SetupError where the folder cannot be used.
    """
    found = _made(folder / FILE, secrets.token_bytes(BYTES))
    if len(found) < BYTES:
        raise SetupError(
            f"{folder / FILE} is shorter than {BYTES} bytes; restore it from your back-up, or all keys are lost."
        )
    return found


def with_token(config: Config) -> Config:
    """The configuration with an operators' token: its own, else the data folder's. Raises SetupError."""
    if config.server.admin_token:
        return config
    path = config.store.data / OPERATORS
    token = _made(path, secrets.token_urlsafe(BYTES).encode() + b"\n").decode("ascii", "replace").strip()
    if len(token) < BYTES:
        raise SetupError(f"{path} holds no operators' token; remove it to have one made, or set server.admin_token.")
    return replace(config, server=replace(config.server, admin_token=token, token_file=str(path)))


def _made(path: Path, content: bytes) -> bytes:
    """What is in a file; `content` if it had to be made."""
    folder = path.parent
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        new = folder / f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}"
        if not path.exists():
            # Written aside and linked: of processes that start at once one wins, and nobody reads half a file.
            with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            try:
                os.link(new, path)
            except FileExistsError:
                pass
            finally:
                new.unlink()
            _sync(folder)
        return path.read_bytes()
    except OSError as error:
        raise SetupError(
            f"The data folder {folder} cannot be used ({error.strerror}); set store.data to a folder that this user "
            "may write to."
        ) from error


def _sync(folder: Path) -> None:
    """Bring the folder's names to the disk: keys are told that are worth nothing without the file."""
    fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
