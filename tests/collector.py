"""An OpenTelemetry collector: takes OTLP over HTTP on a real socket, and keeps what it is sent."""

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

KINDS = {"/v1/traces": ExportTraceServiceRequest, "/v1/metrics": ExportMetricsServiceRequest}


def facts(attributes: Any) -> dict[str, Any]:
    """Attributes as a dictionary."""
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}


@dataclass
class Collector:
    """`status` is what it answers, and 404 at `refused`. `messages`: path, headers and what it was sent."""

    port: int = 0
    status: int = 200
    refused: str = ""
    messages: list[tuple[str, dict[str, str], Any]] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def spans(self) -> list[Span]:
        """All spans that it was sent."""
        sent = [message for path, _, message in self.messages if path == "/v1/traces"]
        return [span for one in sent for r in one.resource_spans for s in r.scope_spans for span in s.spans]

    @property
    def metrics(self) -> dict[str, list[Any]]:
        """The points of the last metrics that each process sent, by name."""
        sent = {resource(one): one for path, _, one in self.messages if path == "/v1/metrics"}
        found: dict[str, list[Any]] = {}
        for one in sent.values():
            for metric in (m for r in one.resource_metrics for s in r.scope_metrics for m in s.metrics):
                found.setdefault(metric.name, []).extend(getattr(metric, metric.WhichOneof("data")).data_points)
        return found


def resource(message: Any) -> str:
    """Which process sent a message."""
    (one,) = message.resource_spans if hasattr(message, "resource_spans") else message.resource_metrics
    return str(facts(one.resource.attributes)["service.instance.id"])


@contextmanager
def collector() -> Iterator[Collector]:
    """It runs in a thread of its own."""
    found = Collector()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            message = KINDS[self.path]()
            message.ParseFromString(body)
            status = 404 if self.path == found.refused else found.status
            if status == 200:
                found.messages.append((self.path, {k.lower(): v for k, v in self.headers.items()}, message))
            self.send_response(status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    found.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
