"""What may stand in the file, section by section, and the JSON Schema that editors get from it.

A value that is written must fit; what is left out has the default given here. Rules that need more than one value
are in `check.py`.
"""

import json
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from gateway.config import values
from gateway.config.rows import EMPTY, Limits, Model, Name, Prices, Row, Seconds, UpstreamRow
from gateway.config.scalars import one_of, one_of_numbers, whole_number
from gateway.config.telemetry import TelemetryRow
from gateway.policy.grace import Mode
from gateway.policy.metering import Expiry

Bytes = Annotated[int, values.SIZE]


class PatienceRow(Row):
    """How long callers are waited for, in seconds."""

    header: Seconds = Field(10.0, description="For the head of a request.")
    idle: Seconds = Field(75.0, description="For the next request on a connection.")
    body: Seconds = Field(30.0, description="For the next piece of a body.")
    send: Seconds = Field(60.0, description="For a caller to take what is sent.")
    total: Seconds = Field(600.0, description="For a whole request, from its head to the last byte of its answer.")
    drain: Seconds = Field(30.0, description="For what is under way when the gateway is told to stop.")


class ServerRow(Row):
    """Where the gateway listens."""

    host: Annotated[str, values.HOST] = Field("127.0.0.1", description="Address to listen on; 0.0.0.0 for all.")
    port: Annotated[int, whole_number(1, 65535)] = Field(8080, description="TCP port to listen on.")
    workers: Annotated[int, whole_number(1, 256)] = Field(1, description="Processes that share the port.")
    log: Annotated[Literal["json", "text"], one_of(("json", "text"))] = Field(
        "json", description="Log lines for machines (json) or for people (text)."
    )
    admin_token: Annotated[str, values.TOKEN] = Field(
        "",
        repr=False,
        description="Opens /admin/ and all pages to who shows it; at least 16 characters. Empty: `audiogate serve` "
        "makes one at the first start, in the file admin-token of `store.data`; then it has to listen on this machine.",
    )
    metrics_token: Annotated[str, values.TOKEN] = Field(
        "",
        repr=False,
        description="Opens /metrics to who shows it; at least 16 characters. Empty: to this machine alone.",
    )
    trusted_proxies: tuple[Annotated[str, values.NETWORK], ...] = Field(
        (), description="Addresses and networks (CIDR) of proxies whose X-Forwarded-For is believed."
    )
    max_requests: Annotated[int, whole_number(1, 1_000_000)] = Field(
        2000, description="Requests that a worker serves at once; others are told to come again."
    )
    max_connections: Annotated[int, whole_number(1, 1_000_000)] = Field(
        10_000, description="Connections that a worker holds at once, busy or idle."
    )
    timeouts: PatienceRow = Field(PatienceRow(), description="How long callers are waited for, in seconds.")


class StoreRow(Row):
    """Where usage, limits and keys are kept."""

    url: Annotated[str, values.STORE_URL] = Field(
        "",
        repr=False,
        description="Redis or Valkey: redis://, rediss:// or unix://, Sentinels with redis+sentinel://, a cluster with "
        "redis+cluster:// (docs/store.md). Empty: the embedded server.",
    )
    data: Annotated[Path, values.FOLDER] = Field(
        Path("data"),
        description="Folder of the embedded server, the journal and the pepper; relative to the working directory.",
    )
    fsync: Annotated[Literal["always", "everysec", "no"], one_of(("always", "everysec", "no"))] = Field(
        "everysec",
        description="When the embedded server writes charges and reservations through to the disk; changes of keys and "
        "teams are there before they are reported in any case.",
    )
    on_unavailable: Annotated[Mode, one_of(("grace", "closed", "open"))] = Field(
        "grace",
        description="While the store is away: known keys go on up to grace_usd, nothing goes, or every known key goes.",
    )
    grace_usd: Annotated[Decimal, values.DECIMAL] = Field(
        Decimal(1), description="US dollars per team and replica that may be spent while the store is away."
    )
    on_expired: Annotated[Expiry, one_of(("charge", "refund", "mark"))] = Field(
        "charge",
        description="What becomes of a request whose gateway died: charged as reserved; given back; or given back and "
        "recorded as `unsettled`, for you to see to.",
    )
    timeout: Annotated[float, values.SHORT] = Field(
        0.25, description="Seconds that a request may wait for the store, more than 0 and at most 10."
    )
    shards: Annotated[int, one_of_numbers(1, 16)] = Field(
        1,
        description="In how many parts teams stand in the store: 1, or 16 for a very large installation on a Cluster. "
        "Cannot be changed later.",
    )
    pepper: Annotated[bytes | None, values.PEPPER] = Field(
        None, repr=False, description="Secret under which keys are hashed. Empty: made once and kept in `data`."
    )


class UploadsRow(Row):
    """Bounds on request bodies, in bytes: whole numbers, or with KB, MB, GB, KiB, MiB, GiB."""

    max_bytes: Bytes = Field(26_214_400, description="Largest body of one request.")
    memory_bytes: Bytes = Field(1_048_576, description="What of a body is held in memory; the rest goes to `folder`.")
    total_bytes: Bytes = Field(4 * 1024**3, description="All bodies that are kept at once.")
    folder: Annotated[Path | None, values.ANY_FOLDER] = Field(
        None, description="Folder for what exceeds memory. Empty: the system's temporary folder."
    )


class UsageRow(Row):
    """How long the records of single requests are kept. Sums of hours are kept for 90 days, of days for 400."""

    keep: Annotated[int | None, values.SPAN] = Field(
        None, description="A span of at least an hour, such as 90d or 24h. Not written: for ever."
    )
    trim: Annotated[Literal["exported", "always"], one_of(("exported", "always"))] = Field(
        "exported", description="What is older than `keep` goes once it was exported, or by its age alone (always)."
    )
    alarm: Annotated[int, whole_number(1, 1_000_000_000_000)] = Field(
        1_000_000, description="From so many records on the log warns, once an hour."
    )


class HolderRow(Row):
    """What keys and teams have in common."""

    models: tuple[Model, ...] = Field((), min_length=1, description="Models, or patterns. Not written: all.")
    upstreams: tuple[Name, ...] = Field((), min_length=1, description="Upstreams. Not written: all.")
    limits: Limits = Field((), description="What all keys of the team may use together.")
    note: Annotated[str, values.NOTE] = Field("", description="A remark for operators.")


class TeamRow(HolderRow):
    """Keys that share limits."""

    timezone: Annotated[str, values.ZONE] = Field(
        "UTC", description="Where its days and months begin, such as Asia/Shanghai."
    )


class KeyRow(HolderRow):
    """A key that callers present."""

    team: Name = Field("default", description="The team it belongs to; `default` need not be declared.")
    key: Annotated[str, values.SECRET] = Field(
        "", repr=False, description="Its text. Empty: made at the first start and shown once."
    )
    upstreams: tuple[Name, ...] = Field((), min_length=1, description="Upstreams in the order of choice.")
    limits: Limits = Field((), description="What this key may use.")
    expires: Annotated[float | None, values.MOMENT] = Field(
        None, description="From when on it is refused: a date or a time, UTC unless it says otherwise."
    )
    revoked: Annotated[bool, values.FLAG] = Field(False, description="Refuse it from the next request on.")
    ips: tuple[Annotated[str, values.NETWORK], ...] = Field(
        (), min_length=1, description="Addresses and networks (CIDR) that it may be used from. Not written: any."
    )
    exact: Annotated[bool, values.FLAG] = Field(
        False, description="Measure each upload before it is let in, so that no limit is ever exceeded; slower."
    )


class File(Row):
    """The configuration of audiogate."""

    server: ServerRow = Field(ServerRow(), description="Where the gateway listens.")
    store: StoreRow = Field(StoreRow(), description="Where usage, limits and keys are kept.")
    uploads: UploadsRow = Field(UploadsRow(), description="Bounds on request bodies.")
    usage: UsageRow = Field(UsageRow(), description="How long the records of single requests are kept.")
    telemetry: TelemetryRow = Field(TelemetryRow(), description="Where traces and metrics of requests go.")
    upstreams: Annotated[dict[Name, UpstreamRow], Field(min_length=1), EMPTY] = Field(
        description="The servers that requests can go to, by a name of your choice."
    )
    prices: Prices = Field(
        {},
        description="Prices by model, for every upstream without one of its own; they go before OpenAI's list prices, "
        "which are shipped. `/v1/audio/*` is the row of requests that name no model.",
    )
    teams: Annotated[dict[Name, TeamRow], EMPTY] = Field({}, description="Teams by name.")
    keys: Annotated[dict[Name, KeyRow], EMPTY] = Field({}, description="Keys by name.")


def json_schema() -> dict[str, object]:
    """The JSON Schema (draft 2020-12) of the file as it is written, before `${…}` is replaced."""
    found = _for_editors(File.model_json_schema(mode="validation"))
    assert isinstance(found, dict)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **found, "title": "audiogate"}


def schema_text() -> str:
    """`json_schema()` as `config/audiogate.schema.json` holds it."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


def _for_editors(node: object) -> object:
    """No titles made up from names; nothing where a mapping may be empty; no keys beside those of the pattern.

    Defaults stay where they are a value that could be written.
    """
    if isinstance(node, list):
        return [_for_editors(item) for item in node]
    if not isinstance(node, Mapping):
        return node
    kept = {key: _for_editors(value) for key, value in node.items() if not (key == "title" and isinstance(value, str))}
    if kept.get("default") in (None, "", "0") or isinstance(kept["default"], list | dict):
        kept.pop("default", None)
    if "patternProperties" in kept:
        kept["additionalProperties"] = False
    if kept.get("type") == "object":
        kept["type"] = ["object", "null"]
    if kept.get("type") == "array" and "minItems" not in kept:
        kept["type"] = ["array", "null"]
    return kept
