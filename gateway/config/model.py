"""The configuration as the other rooms see it: frozen, checked, with no trace of the file."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Literal

from gateway.config.sight import Sight
from gateway.policy.grace import Mode
from gateway.policy.limits import Limit
from gateway.policy.metering import Expiry
from gateway.policy.routing import Market

UTC = "UTC"


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds that callers are given: for a request's head (`header`), between requests (`idle`), between two pieces of
    a body (`body`), to take what is sent to them (`send`), for a request from its head to its last byte (`total`); and
    for what is under way once the gateway is to stop (`drain`).
    """

    header: float = 10.0
    idle: float = 75.0
    body: float = 30.0
    send: float = 60.0
    total: float = 600.0
    drain: float = 30.0


@dataclass(frozen=True, slots=True)
class Server:
    """Where the gateway listens; `workers` processes share the port.

    `admin_token` opens /admin/ and the pages to operators; empty: `serve` makes one. `token_file`: the file
    that it was made in, as the configuration has none. `metrics_token` opens /metrics to others than
    this machine. `trusted_proxies` are networks whose X-Forwarded-For is believed. `max_requests` and `max_connections`
    are how many a worker takes at once.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    workers: int = 1
    log: Literal["json", "text"] = "json"
    admin_token: str = field(default="", repr=False)
    token_file: str = ""
    metrics_token: str = field(default="", repr=False)
    trusted_proxies: tuple[str, ...] = ()
    max_requests: int = 2000
    max_connections: int = 10_000
    timeouts: Timeouts = Timeouts()


@dataclass(frozen=True, slots=True)
class Store:
    """Where usage and limits are kept: `url`, or the embedded server under `data` when it is empty.

    `data` also holds the pepper of the keys. `fsync` is the embedded server's appendfsync; changes of keys
    and teams are on disk before they are reported, whatever it is.
    `on_unavailable` says what goes on while the store is away, within `grace_usd` US dollars per team and replica,
    `on_expired` what becomes of requests whose gateway died. `shards`: in how many parts the teams stand in the store.
    `timeout`: seconds that a request may wait for one call.
    """

    data: Path
    url: str = field(default="", repr=False)
    fsync: Literal["always", "everysec", "no"] = "everysec"
    on_unavailable: Mode = "grace"
    grace_usd: Decimal = Decimal(1)
    on_expired: Expiry = "charge"
    shards: int = 1
    timeout: float = 0.25
    pepper: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Uploads:
    """Bounds in bytes: one request's body, what of it is held in memory, all bodies that are kept at once."""

    max_bytes: int = 26_214_400
    memory_bytes: int = 1_048_576
    total_bytes: int = 4 * 1024**3
    folder: Path | None = None  # where what exceeds memory goes; None: the system's temporary folder


@dataclass(frozen=True, slots=True)
class Usage:
    """How long the records of single requests are kept: `keep` seconds, None for ever.

    `trim` "exported": never before they were exported, "always": by their age alone. From `alarm` records on the log
    warns.
    """

    keep: int | None = None
    trim: Literal["exported", "always"] = "exported"
    alarm: int = 1_000_000


@dataclass(frozen=True, slots=True)
class Telemetry:
    """Where traces and metrics of requests go: to the OpenTelemetry collector at `endpoint`, with these `headers`; "":
    nowhere.

    `service` is our name there, `sample` the share of requests (0 to 1) that are traced where their caller does not
    say. `pass_on`: upstreams are told of the trace.
    """

    endpoint: str = ""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    service: str = "audiogate"
    sample: float = 1.0
    metrics: bool = True
    pass_on: bool = False


@dataclass(frozen=True, slots=True)
class Team:
    """Keys that share limits. `models` are globs, None means all; `upstreams` None means all.

    `timezone`, by its name in the IANA database, is where its days and months begin.
    """

    name: str
    models: tuple[str, ...] | None = None
    upstreams: tuple[str, ...] | None = None
    limits: tuple[Limit, ...] = ()
    note: str = ""
    timezone: str = UTC


@dataclass(frozen=True, slots=True)
class Key:
    """A key as an operator asks for it. `text` None: the gateway makes one and shows it once.

    `expires` is in seconds since 1970. `ips` are the networks (CIDR) that it may be used from, None means any.
    `exact`: uploads are measured before they are let in, and no limit is ever exceeded.
    """

    name: str
    team: str
    text: str | None = field(default=None, repr=False)
    models: tuple[str, ...] | None = None
    upstreams: tuple[str, ...] | None = None
    limits: tuple[Limit, ...] = ()
    expires: float | None = None
    revoked: bool = False
    ips: tuple[str, ...] | None = None
    note: str = ""
    exact: bool = False


@dataclass(frozen=True, slots=True)
class Config:
    """Everything the gateway is told from outside. `notes` are remarks for the operator, such as upstreams left out.

    `file` is where it was read, for messages, and `sight` what stood there then; None: it was not read from a file.
    """

    server: Server
    store: Store
    uploads: Uploads
    market: Market
    teams: Mapping[str, Team]
    keys: Mapping[str, Key]
    upstream_limits: Mapping[str, tuple[Limit, ...]]
    usage: Usage = field(default_factory=Usage)
    telemetry: Telemetry = field(default_factory=Telemetry)
    notes: tuple[str, ...] = ()
    file: str = "the configuration file"
    sight: Sight | None = field(default=None, repr=False, compare=False)
