"""The section `telemetry`: its row, and what its texts can mean."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated
from urllib.parse import unquote

from pydantic import Field

from gateway.config import values
from gateway.config.rows import Row
from gateway.config.scalars import REFERENCE, Scalar, matched, number, text

_PAIR = r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}=[ -+\--~]{0,4096}"


def _endpoint(value: str) -> str:
    return str(values.ADDRESS.read(value)) if value else ""


def _headers(value: str) -> Mapping[str, str]:
    pairs = (one.strip() for one in value.split(","))
    found = {}
    for pair in pairs:
        if pair:
            name, _, given = matched(_PAIR, pair).partition("=")
            found[name.lower()] = matched("[ -~]*", unquote(given.strip()))
    return found


def _share(value: str) -> float:
    share = values.DECIMAL.read(value)
    assert isinstance(share, Decimal)
    if share > 1:
        raise ValueError
    return float(share)


ENDPOINT = Scalar(
    "nothing or an address such as http://127.0.0.1:4318",
    _endpoint,
    {"type": ["string", "null"], "pattern": f"^(https?://[^?#@]+)?$|{REFERENCE}"},
    blank=True,
)
HEADERS = Scalar(
    "nothing or headers such as authorization=Bearer%20…,x-tenant=a",
    _headers,
    {"type": ["string", "null"]},
    secret=True,
    blank=True,
)
SHARE = Scalar("a number from 0 to 1", _share, number({"type": "number", "minimum": 0, "maximum": 1}, r"^[0-9.]+$"))
SERVICE = text("[!-~]{1,100}", "a name of 1 to 100 characters without spaces")


class TelemetryRow(Row):
    """Traces and metrics of requests for an OpenTelemetry collector, by OTLP over HTTP (docs/telemetry.md)."""

    endpoint: Annotated[str, ENDPOINT] = Field(
        "",
        description="The collector, such as http://127.0.0.1:4318; /v1/traces and /v1/metrics are put behind it. "
        "Empty: nothing is told.",
    )
    headers: Annotated[Mapping[str, str], HEADERS] = Field(
        {},
        repr=False,
        description="Headers that the collector wants, as OTEL_EXPORTER_OTLP_HEADERS has them: "
        "name=value,name=value, with %20 for a space.",
    )
    service: Annotated[str, SERVICE] = Field("audiogate", description="The name of this gateway there: service.name.")
    sample: Annotated[float, SHARE] = Field(
        1.0,
        description="Share of requests that are traced, from 0 to 1. Where the caller has a trace (traceparent), the "
        "caller decides.",
    )
    metrics: Annotated[bool, values.FLAG] = Field(True, description="Send metrics, too.")
    pass_on: Annotated[bool, values.FLAG] = Field(
        False, description="Tell upstreams of the trace, with the header traceparent."
    )
