"""The way to the collector. This room loads OpenTelemetry's library, and is itself loaded where telemetry is on."""

import logging
import math
from collections.abc import Sequence
from typing import Any

from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricExportResult, MetricsData, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult

from gateway import __version__
from gateway.config.model import Telemetry
from gateway.telemetry.measures import Measures, views
from gateway.telemetry.seen import Seen
from gateway.telemetry.spans import Spans

log = logging.getLogger("audiogate")
SECONDS = 10.0  # that the collector is given for one message, repetitions included


class Heard(logging.Handler):
    """What the library says of messages that it could not send, instead of a line for each of them."""

    last = ""

    def emit(self, record: logging.LogRecord) -> None:
        """It says something."""
        self.last = record.getMessage()


class Sending:
    """What goes out, and whether it arrives. To be used in one thread, but for `give_up`.

    `away`: what does not arrive at present, of `traces` and `metrics`: some collectors take one of them alone.
    """

    def __init__(self, settings: Telemetry, instance: str) -> None:
        self._endpoint = settings.endpoint
        self.away: set[str] = set()
        self._over = False
        self._heard = _listen()
        names = {"service.name": settings.service, "service.version": __version__, "service.instance.id": instance}
        resource = Resource.create(names)
        self._gathered = Spans(resource)
        told = self._told
        options: dict[str, Any] = {
            "headers": settings.headers,
            "timeout": SECONDS,
            "compression": Compression.Gzip,
        }

        class Metrics(OTLPMetricExporter):
            def export(
                self, metrics_data: MetricsData, timeout_millis: float | None = None, **more: Any
            ) -> MetricExportResult:
                result = super().export(metrics_data, timeout_millis, **more)
                told("metrics", result is MetricExportResult.SUCCESS)
                return result

        self._spans = OTLPSpanExporter(f"{settings.endpoint}/v1/traces", **options)
        self._metrics: OTLPMetricExporter | None = None
        if settings.metrics:
            self._metrics = Metrics(f"{settings.endpoint}/v1/metrics", **options)
            reader = PeriodicExportingMetricReader(self._metrics, math.inf)  # we tell it when
            self._reader = reader
            provider = MeterProvider([reader], resource, shutdown_on_exit=False, views=views())
            self._measures = Measures(provider.get_meter("audiogate", __version__))

    def requests(self, some: Sequence[Seen]) -> None:
        """Tell of these."""
        if self._metrics is not None:
            for one in some:
                self._measures.note(one)
        spans: list[ReadableSpan] = []
        for one in some:
            if one.trace.kept:
                spans += self._gathered.of(one)
        if spans:
            self._told("traces", self._spans.export(spans) is SpanExportResult.SUCCESS)

    def measures(self) -> None:
        """Tell what the metrics are now."""
        if self._metrics is not None and not self._over:
            self._reader.collect(SECONDS * 1000)

    def give_up(self) -> None:
        """Wait for no repetition any more, and send nothing else."""
        if self._over:
            return
        self._over = True
        self._spans.shutdown()  # type: ignore[no-untyped-call]
        if self._metrics is not None:
            self._metrics.shutdown()

    def _told(self, what: str, well: bool) -> None:
        if self._over or well is (what not in self.away):
            return
        if well:
            self.away.remove(what)
            log.info("telemetry: %s reach %s again", what, self._endpoint)
        else:
            self.away.add(what)
            log.warning(
                "telemetry: %s do not reach %s (%s); this is not said again", what, self._endpoint, self._heard.last
            )


def _listen() -> Heard:
    library, heard = logging.getLogger("opentelemetry.exporter"), Heard()
    library.handlers, library.propagate = [heard], False
    return heard
