"""The configuration as the other rooms see it: frozen, checked, with no trace of the file."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from gateway.policy.limits import Limit
from gateway.policy.routing import Market


@dataclass(frozen=True, slots=True)
class Server:
    """Where the gateway listens; `workers` processes share the port."""

    host: str = "127.0.0.1"
    port: int = 8080
    workers: int = 1
    log: Literal["json", "text"] = "json"


@dataclass(frozen=True, slots=True)
class Store:
    """Where usage and limits are kept: `url`, or the embedded server under `data` when it is empty.

    `data` also holds the pepper of the keys. `fsync` is the embedded server's appendfsync.
    """

    data: Path
    url: str = field(default="", repr=False)
    fsync: Literal["always", "everysec", "no"] = "always"
    pepper: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Uploads:
    """Bounds in bytes: one request's body, what of it is held in memory, all bodies that are kept at once."""

    max_bytes: int = 26_214_400
    memory_bytes: int = 262_144
    total_bytes: int = 4 * 1024**3
    folder: Path | None = None  # where what exceeds memory goes; None: the system's temporary folder


@dataclass(frozen=True, slots=True)
class Team:
    """Keys that share limits. `models` are globs, None means all; `upstreams` None means all."""

    name: str
    models: tuple[str, ...] | None = None
    upstreams: tuple[str, ...] | None = None
    limits: tuple[Limit, ...] = ()


@dataclass(frozen=True, slots=True)
class Key:
    """A key declared in the file. `text` None: the gateway makes one at its first start and prints it once.

    `expires` is in seconds since 1970.
    """

    name: str
    team: str
    text: str | None = field(default=None, repr=False)
    models: tuple[str, ...] | None = None
    upstreams: tuple[str, ...] | None = None
    limits: tuple[Limit, ...] = ()
    expires: float | None = None
    revoked: bool = False


@dataclass(frozen=True, slots=True)
class Config:
    """Everything the gateway is told from outside. `notes` are remarks for the operator, such as upstreams left out."""

    server: Server
    store: Store
    uploads: Uploads
    market: Market
    teams: Mapping[str, Team]
    keys: Mapping[str, Key]
    upstream_limits: Mapping[str, tuple[Limit, ...]]
    notes: tuple[str, ...] = ()
