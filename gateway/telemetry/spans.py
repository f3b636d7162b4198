"""A request as spans: one of the server, below it one for each step and one for each attempt at an upstream."""

import random
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, StatusCode, TraceFlags, set_span_in_context

from gateway import __version__
from gateway.entry import Tried
from gateway.policy.steps import FIRST
from gateway.telemetry.seen import Seen

Facts = Mapping[str, str | int | float]
MILLION = 1_000_000
PORTS = {"http": 80, "https": 443}


class Ids(IdGenerator):
    """The ids of the next span: a trace's first one has an id that may have been told to others before."""

    trace = span = 0

    def generate_trace_id(self) -> int:
        """Of a span that has no parent."""
        return self.trace

    def generate_span_id(self) -> int:
        """The one that was asked for, once, or any."""
        span, self.span = self.span or random.getrandbits(64) or 1, 0
        return span


class Done(SpanProcessor):
    """Keeps the spans that have ended."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        """One has ended."""
        self.spans.append(span)


class Spans:
    """Makes spans, by the library's own tracer, of requests that have ended."""

    def __init__(self, resource: Resource) -> None:
        self._ids, self._done = Ids(), Done()
        provider = TracerProvider(ALWAYS_ON, resource, shutdown_on_exit=False, id_generator=self._ids)
        provider.add_span_processor(self._done)
        self._tracer = provider.get_tracer("audiogate", __version__)

    def of(self, seen: Seen) -> list[ReadableSpan]:
        """The spans of a request."""
        trace, shift = seen.trace, seen.began - seen.started
        below = Context()
        if trace.parent:
            flags = TraceFlags(TraceFlags.SAMPLED)
            caller = SpanContext(trace.trace, trace.parent, is_remote=True, trace_flags=flags)
            below = set_span_in_context(NonRecordingSpan(caller), below)
        self._ids.trace, self._ids.span = trace.trace, trace.span
        name = f"{seen.operation} {seen.model}".rstrip()
        self._kind, self._shift = SpanKind.SERVER, shift
        below = self._make(name, (seen.started, seen.answered), _facts(seen), fault=seen.failed, below=below)
        self._kind = SpanKind.INTERNAL
        for step, began, ended in _steps(seen):
            self._make(step, (began, ended), {}, below=below)
        self._kind = SpanKind.CLIENT
        for one in seen.tried:
            self._ids.span = one.span
            name = f"{seen.operation} {one.candidate.model}".rstrip()
            about = one.began, seen.ended(one)
            self._make(name, about, _attempt(seen, one), fault=seen.fault(one), below=below)
        spans, self._done.spans = self._done.spans, []
        return spans

    def _make(self, name: str, about: tuple[float, float], facts: Facts, *, below: Context, fault: str = "") -> Context:
        """A span from one moment to another; what to put others below it with."""
        began, ended = (int((moment + self._shift) * 1e9) for moment in about)
        span = self._tracer.start_span(name, below, self._kind, facts, start_time=began)
        if fault:
            span.set_status(StatusCode.ERROR, fault)
        span.end(ended)
        return set_span_in_context(span, Context())


def where(one: Tried) -> Facts:
    """The upstream's address."""
    parts = urlsplit(one.candidate.upstream.base_url)
    return {"server.address": parts.hostname or "", "server.port": parts.port or PORTS[parts.scheme]}


def _steps(seen: Seen) -> Iterator[tuple[str, float, float]]:
    name, since = FIRST, seen.started
    for following, moment in (*seen.marks, ("", seen.answered)):
        yield name, since, moment
        name, since = following, moment


def _facts(seen: Seen) -> Facts:
    """What is told of a request."""
    record = seen.record
    found: dict[str, str | int | float] = {
        "gen_ai.operation.name": seen.operation,
        "gen_ai.provider.name": seen.provider,
        "gen_ai.request.model": str(record["model"]),
        "gen_ai.response.model": str(record["model_sent"]),
        "gen_ai.usage.input_tokens": record["input_tokens"],
        "gen_ai.usage.output_tokens": record["output_tokens"],
        "http.request.method": record["method"],
        "url.path": record["path"],
        "error.type": record["error"],
        "audiogate.request.id": record["id"],
        "audiogate.key.id": record["key"],
        "audiogate.team": record["team"],
        "audiogate.step": record["step"],
        "audiogate.audio.duration": int(record["audio_ms"]) / 1000,
        "audiogate.characters": record["characters"],
        "audiogate.usage.source": record["source"],
    }
    kept = {name: value for name, value in found.items() if value}
    return kept | {
        "http.response.status_code": record["status"],
        "audiogate.cost_usd": int(record["cost_micro_usd"]) / MILLION,
    }


def _attempt(seen: Seen, one: Tried) -> Facts:
    """What is told of an attempt."""
    found: dict[str, str | int | float] = {
        "gen_ai.operation.name": seen.operation,
        "gen_ai.provider.name": one.candidate.upstream.kind.name,
        "gen_ai.request.model": one.candidate.model,
        **where(one),
        "http.request.method": seen.record["method"],
        "http.response.status_code": one.status or 0,
        "error.type": seen.fault(one),
        "audiogate.upstream": one.candidate.upstream.name,
        "audiogate.verdict": str(one.verdict),
    }
    return {name: value for name, value in found.items() if value}
