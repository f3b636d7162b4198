"""What was used as programs are told it: sums and single requests. Money is exact: decimal texts, or micro-USD."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from gateway.policy.exports import CURSOR, NUMBERS, row_of
from gateway.policy.terms import told
from gateway.store.stream import Record
from gateway.store.totals import Line
from gateway.web.rows import WHEN

MICRO = "Millionths of a US dollar: "


class UsageRow(BaseModel):
    """Sums of one combination of the columns asked for; the other columns are left out."""

    hour: str | None = Field(None, description="When it begins: 2026-01-31T15:00Z.")
    day: str | None = Field(None, description="2026-01-31 (UTC).")
    month: str | None = Field(None, description="2026-01 (UTC).")
    team: str | None = Field(None, description="The team's name.")
    key: str | None = Field(None, description="The key's name; its id if no key has that id any more.")
    model: str | None = Field(None, description="As callers called it.")
    upstream: str | None = Field(None, description="Where it was served, or where an attempt cost something.")
    route: str | None = Field(None, description="`transcription`, `translation`, `speech` or `other`.")
    requests: int = Field(description="Requests that were let in.")
    errors: int = Field(description="Those of them that were answered with an error.")
    audio_seconds: int | float = Field(description="Audio that was charged, to the millisecond.")
    characters: int = Field(description="Characters of speech that were charged.")
    input_tokens: int = Field(description="As upstreams counted them.")
    output_tokens: int = Field(description="As upstreams counted them.")
    cost_usd: str = Field(description="What was charged: US dollars, a decimal text.")
    upstream_cost_usd: str = Field(description="What upstreams are paid for it, failed attempts included; the same.")


class UsageList(BaseModel):
    """Sums of a period."""

    object: Literal["list"] = "list"
    since: str = Field(description="When it begins. " + WHEN)
    until: str = Field(description="When it ends, that moment not included. " + WHEN)
    data: list[UsageRow] = Field(description="Sorted by the columns asked for.")


class RequestRow(BaseModel):
    """The record of a request. What does not apply to it is left out; later versions may add fields."""

    model_config = ConfigDict(extra="allow")

    cursor: str = Field(description="Its place in the stream of records.")
    time: str = Field(description="When the request began, to the millisecond. " + WHEN)
    id: str = Field(description="The request's id, as `x-request-id` told it.")
    route: str | None = Field(None, description="`transcription`, `translation`, `speech` or `other`.")
    method: str | None = Field(None, description="The HTTP method.")
    path: str | None = Field(None, description="The path.")
    status: int | None = Field(None, description="The HTTP status that the caller got.")
    error: str | None = Field(None, description="Why it failed; empty: it did not.")
    step: str | None = Field(None, description="The step in which it ended.")
    key: str | None = Field(None, description="The key's public id.")
    key_name: str | None = Field(None, description="The key's name.")
    team: str | None = Field(None, description="The key's team.")
    model: str | None = Field(None, description="As the caller called it.")
    model_sent: str | None = Field(None, description="As the upstream calls it.")
    upstream: str | None = Field(None, description="Where it went last.")
    upstream_request: str | None = Field(None, description="The id that the upstream gave it.")
    attempts: int | None = Field(None, description="How many upstreams were tried.")
    audio_ms: int | None = Field(None, description="Milliseconds of audio that were charged.")
    characters: int | None = Field(None, description="Characters that were charged.")
    input_tokens: int | None = Field(None, description="As the upstream counted them.")
    output_tokens: int | None = Field(None, description="As the upstream counted them.")
    source: str | None = Field(
        None, description="Where the amounts are from: `upstream`, `packets`, `input`, `estimate`, `none`."
    )
    disputed: int | None = Field(None, description="1: two sources differed by more than 5 %.")
    cost_micro_usd: int | None = Field(None, description=MICRO + "what was charged.")
    takes_back: int | None = Field(None, description=MICRO + "what the earlier record of this id had charged.")
    upstream_micro_usd: int | None = Field(None, description=MICRO + "what upstreams are paid for it.")
    reserved_micro_usd: int | None = Field(None, description=MICRO + "what a dead gateway had reserved for it.")
    failed: str | None = Field(None, description="Attempts that served nobody: upstream:outcome:micro-USD.")
    bytes_in: int | None = Field(None, description="Bytes of the caller's body.")
    bytes_out: int | None = Field(None, description="Bytes of the answer.")
    latency_ms: int | None = Field(None, description="From the first byte in to the last byte out.")
    first_byte_ms: int | None = Field(None, description="Until the first byte of the answer; -1: there was none.")
    steps_ms: str | None = Field(None, description="How long each step took: step=milliseconds (docs/usage.md).")


class RequestList(BaseModel):
    """Records of requests."""

    object: Literal["list"] = "list"
    data: list[RequestRow]
    next: str | None = Field(None, description="For `before`, to go on; null: there are no more.")


class Cursor(BaseModel):
    """Up to where records are exported."""

    model_config = ConfigDict(extra="forbid")

    cursor: str = Field(pattern=f"^{CURSOR}$", description="The cursor of a record: it and all before it are safe.")


def usage_rows(lines: Iterable[Line], columns: Sequence[str]) -> list[UsageRow]:
    """Sums as they are told."""
    return [UsageRow(**dict(zip(columns, line.by, strict=True)), **amounts(line.sums)) for line in lines]


def amounts(sums: Mapping[str, int]) -> dict[str, str | int | float]:
    """Sums in the units of the configuration file."""
    same = {name: sums.get(name, 0) for name in ("requests", "errors", "characters", "input_tokens", "output_tokens")}
    return {
        **same,
        "audio_seconds": told("audio_seconds", sums.get("ms", 0)),
        "cost_usd": told("usd", sums.get("usd", 0)),
        "upstream_cost_usd": told("usd", sums.get("cost", 0)),
    }


def request_row(record: Record) -> RequestRow:
    """A record as it is told."""
    row = row_of(record.cursor, record.fields)
    return RequestRow.model_validate({k: v for k, v in row.items() if k not in NUMBERS or isinstance(v, int)})
