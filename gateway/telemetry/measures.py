"""The metrics, under the names of the conventions where they have one. No label has values that callers make up."""

from opentelemetry.metrics import Meter
from opentelemetry.sdk.metrics.view import ExplicitBucketHistogramAggregation, View

from gateway.telemetry.seen import Seen
from gateway.telemetry.spans import where

REQUEST, FIRST_BYTE = "gen_ai.server.request.duration", "gen_ai.server.time_to_first_token"
ATTEMPT, AUDIO = "gen_ai.client.operation.duration", "audiogate.audio.duration"
# Those of the conventions, and on to the ten minutes that a request may take.
DURATION = (*(0.01 * 2**doubled for doubled in range(16)), 600.0)
WAIT = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0),
    *(20.0, 40.0, 80.0, 160.0, 320.0, 600.0),
)
BUCKETS = {REQUEST: DURATION, FIRST_BYTE: WAIT, ATTEMPT: DURATION}


def views() -> list[View]:
    """Which buckets they have."""
    return [
        View(instrument_name=name, aggregation=ExplicitBucketHistogramAggregation(bounds))
        for name, bounds in BUCKETS.items()
    ]


class Measures:
    """The instruments."""

    def __init__(self, meter: Meter) -> None:
        self._request = meter.create_histogram(REQUEST, "s", "Requests, to the last byte of their answer.")
        self._wait = meter.create_histogram(FIRST_BYTE, "s", "Until the first byte of an answer that is no error.")
        self._attempt = meter.create_histogram(ATTEMPT, "s", "Attempts at upstreams, to the end of their answer.")
        self._audio = meter.create_counter(AUDIO, "s", "Audio that was charged.")

    def note(self, seen: Seen) -> None:
        """A request has ended."""
        record = seen.record
        common = {"gen_ai.operation.name": seen.operation, "gen_ai.provider.name": seen.provider}
        if seen.label:
            common["gen_ai.request.model"] = seen.label
        fault = {"error.type": str(record["error"])} if record["error"] else {}
        self._request.record(seen.answered - seen.started, {**common, **fault})
        if seen.first_byte is not None and int(record["status"]) < 400:
            self._wait.record(seen.first_byte - seen.started, common)
        if record["audio_ms"]:
            self._audio.add(int(record["audio_ms"]) / 1000, common)
        for one in seen.tried:
            about = {**common, "gen_ai.provider.name": one.candidate.upstream.kind.name, **where(one)}
            if fault_here := seen.fault(one):
                about["error.type"] = fault_here
            self._attempt.record(seen.ended(one) - one.began, about)
