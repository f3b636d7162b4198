"""What a real gateway tells a real OpenTelemetry receiver of real requests."""

import asyncio
import logging
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from typer.testing import CliRunner

from gateway.cli import app
from gateway.config.model import Telemetry
from gateway.errors import SetupError
from gateway.telemetry import teller
from tests.collector import Collector, collector, facts, resource
from tests.launched import config_of, launched, room, transcribe, write_config
from tests.media import make
from tests.running import Running, configured, key_text, running, until, upstream
from tests.stub import Answer, Stub, failed, said, stub
from tests.wire import END, FORM, MODEL, Said, Wire, dial, file

TARGET, SPEAK = "/v1/audio/transcriptions", "/v1/audio/speech"
BODY = MODEL + file(make("wav", 1.0)) + END
THEIRS, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
STEPS = ["authenticate", "receive", "plan", "admit", "attempt", "relay"]


@asynccontextmanager
async def watched(
    store_url: str, data: Path, *upstreams: Stub, endpoint: str = "", **more: Any
) -> AsyncIterator[tuple[Running, Wire]]:
    """A gateway that tells a collector; what it has not told yet, it tells as it ends."""
    rows = [
        upstream(name, one.url, priority=place)
        for place, (name, one) in enumerate(zip("abc", upstreams, strict=False), 1)
    ]
    config = replace(configured(data, *rows), telemetry=Telemetry(endpoint, **more))
    async with running(config, url=store_url) as gateway, dial(gateway) as wire:
        yield gateway, wire
        await gateway.idle()


async def post(wire: Wire, body: bytes, *headers: str, target: str = TARGET, key: str | None = None) -> Said:
    """Send a whole request, return the whole answer."""
    kind = FORM if target == TARGET else "application/json"
    await wire.begin("POST", target, f"Content-Type: {kind}", f"Content-Length: {len(body)}", *headers, key=key)
    await wire.send(body)
    return await wire.answer()


def tree(spans: list[Span]) -> tuple[Span, list[Span], list[Span]]:
    """The server's span, its steps and its attempts; all are of one trace, and in their time."""
    (root,) = [one for one in spans if one.kind == Span.SPAN_KIND_SERVER]
    steps = [one for one in spans if one.kind == Span.SPAN_KIND_INTERNAL]
    attempts = [one for one in spans if one.kind == Span.SPAN_KIND_CLIENT]
    assert len(spans) == 1 + len(steps) + len(attempts)
    assert {one.trace_id for one in spans} == {root.trace_id}
    assert {one.parent_span_id for one in (*steps, *attempts)} == {root.span_id}
    assert len({one.span_id for one in spans}) == len(spans)
    for one in spans:
        assert root.start_time_unix_nano - 1000 <= one.start_time_unix_nano <= one.end_time_unix_nano
        assert one.end_time_unix_nano <= root.end_time_unix_nano + 1000
    for one, following in pairwise(steps):
        assert one.end_time_unix_nano == following.start_time_unix_nano
    return root, steps, attempts


def points(told: Collector, name: str) -> dict[tuple[str, ...], Any]:
    """The points of a metric, by the values of their labels in the order of the labels."""
    return {tuple(str(v) for _, v in sorted(facts(one.attributes).items())): one for one in told.metrics.get(name, [])}


async def test_a_transcription(store_url: str, data: Path) -> None:
    more = {"headers": {"x-tenant": "t"}}
    with collector() as told:
        async with stub() as one, watched(store_url, data, one, endpoint=told.url, **more) as (gateway, wire):
            answer = await post(wire, BODY)
            (record,) = await gateway.records()
    root, steps, (attempt,) = tree(told.spans)
    assert (root.name, attempt.name) == ("transcription whisper-1", "transcription whisper-1")
    assert [step.name for step in steps] == STEPS
    assert facts(root.attributes) == {
        "gen_ai.operation.name": "transcription",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "whisper-1",
        "gen_ai.response.model": "whisper-1",
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "url.path": TARGET,
        "audiogate.request.id": answer.headers["x-request-id"],
        "audiogate.key.id": record["key"],
        "audiogate.team": "default",
        "audiogate.step": "relay",
        "audiogate.audio.duration": 1.0,
        "audiogate.usage.source": "packets",
        "audiogate.cost_usd": 0.0001,
    }
    assert facts(attempt.attributes) == {
        "gen_ai.operation.name": "transcription",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "whisper-1",
        "server.address": "127.0.0.1",
        "server.port": one.port,
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "audiogate.upstream": "a",
        "audiogate.verdict": "served",
    }
    took = (root.end_time_unix_nano - root.start_time_unix_nano) / 1e6
    assert took == pytest.approx(int(record["latency_ms"]), abs=0.51)
    assert root.start_time_unix_nano / 1e9 == pytest.approx(float(record["at"]), abs=0.001)
    assert root.status.code == attempt.status.code == Status.STATUS_CODE_UNSET
    assert not root.parent_span_id
    assert all(headers["x-tenant"] == "t" for _, headers, _ in told.messages)
    assert "traceparent" not in one.seen[0].headers


async def test_its_metrics(store_url: str, data: Path) -> None:
    with collector() as told:
        async with stub() as one, watched(store_url, data, one, endpoint=told.url) as (gateway, wire):
            for _ in range(3):
                await post(wire, BODY)
            await gateway.records(3)
    common = ("transcription", "openai", "whisper-1")
    request = points(told, "gen_ai.server.request.duration")[common]
    assert (request.count, list(request.explicit_bounds)[-1]) == (3, 600)
    assert list(request.explicit_bounds)[:14] == pytest.approx([0.01 * 2**n for n in range(14)])
    assert points(told, "gen_ai.server.time_to_first_token")[common].count == 3
    assert points(told, "gen_ai.client.operation.duration")[*common, "127.0.0.1", str(one.port)].count == 3
    assert points(told, "audiogate.audio.duration")[common].as_double == 3.0
    assert len(told.metrics) == 4


async def test_a_failover_has_an_attempt_for_each_upstream(store_url: str, data: Path) -> None:
    with collector() as told:
        async with stub() as one, stub() as two:
            one.answers, two.answers = [failed(401)], [said("from two")]
            async with watched(store_url, data, one, two, endpoint=told.url) as (gateway, wire):
                assert (await post(wire, BODY)).status == 200
                await gateway.records()
    root, steps, (first, second) = tree(told.spans)
    assert [step.name for step in steps] == STEPS
    assert root.status.code == Status.STATUS_CODE_UNSET
    about = facts(first.attributes)
    assert (about["audiogate.upstream"], about["error.type"], about["http.response.status_code"]) == (
        "a",
        "credentials",
        401,
    )
    assert (first.status.code, first.status.message) == (Status.STATUS_CODE_ERROR, "credentials")
    assert facts(second.attributes)["audiogate.upstream"] == "b"
    assert first.end_time_unix_nano <= second.start_time_unix_nano
    assert second.end_time_unix_nano == root.end_time_unix_nano, "it lasts until its answer is out"
    attempts = points(told, "gen_ai.client.operation.duration")
    assert {key[0] for key in attempts} == {"credentials", "transcription"}


async def test_a_refusal_is_its_callers_doing(store_url: str, data: Path) -> None:
    with collector() as told:
        async with stub() as one, watched(store_url, data, one, endpoint=told.url) as (_, wire):
            assert (await post(wire, BODY, key=key_text(9))).status == 401
    root, (step,), attempts = tree(told.spans)
    assert (root.name, step.name, attempts) == ("transcription", "authenticate", [])
    about = facts(root.attributes)
    assert (about["http.response.status_code"], about["error.type"]) == (401, "bad_key")
    assert about["gen_ai.provider.name"] == "audiogate"
    assert root.status.code == Status.STATUS_CODE_UNSET
    assert list(points(told, "gen_ai.server.request.duration")) == [("bad_key", "transcription", "audiogate")]
    assert "gen_ai.server.time_to_first_token" not in told.metrics


async def test_what_callers_make_up_is_no_label(store_url: str, data: Path) -> None:
    with collector() as told:
        async with stub() as one, watched(store_url, data, one, endpoint=told.url) as (_, wire):
            assert (await post(wire, BODY.replace(b"whisper-1", b"made--up!"))).status == 404
    root, _, _ = tree(told.spans)
    assert root.name == "transcription"
    assert facts(root.attributes)["gen_ai.request.model"] == "made--up!"
    assert "made" not in str(told.metrics)


async def test_a_failure_of_all_upstreams_is_an_error(store_url: str, data: Path) -> None:
    with collector() as told:
        async with stub() as one:
            one.answers = [failed(401)]
            async with watched(store_url, data, one, endpoint=told.url) as (gateway, wire):
                status = (await post(wire, BODY)).status
                (record,) = await gateway.records()
    root, _, attempts = tree(told.spans)
    assert (root.status.code, root.status.message) == (Status.STATUS_CODE_ERROR, record["error"])
    assert facts(root.attributes)["http.response.status_code"] == status >= 500
    assert len(attempts) == int(record["attempts"])


async def test_a_stream_that_breaks_off_is_an_error_of_the_attempt_that_served(store_url: str, data: Path) -> None:
    with collector() as told:
        async with stub() as one:
            one.answers = [
                Answer(pieces=(b"ID3", b"more"), content_type="audio/mpeg", cut=True, chunked=True, pace=0.02)
            ]
            async with watched(store_url, data, one, endpoint=told.url) as (gateway, wire):
                body = b'{"model":"tts-1","input":"hello","voice":"x"}'
                await wire.begin("POST", SPEAK, "Content-Type: application/json", f"Content-Length: {len(body)}")
                await wire.send(body)
                await wire.head()
                (record,) = await gateway.records()
    root, steps, (attempt,) = tree(told.spans)
    assert root.name == "speech tts-1"
    assert facts(root.attributes)["audiogate.characters"] == 5
    assert (record["status"], record["error"]) == ("200", "upstream_failed")
    for span in (root, attempt):
        assert (span.status.code, span.status.message) == (Status.STATUS_CODE_ERROR, "upstream_failed")
        assert facts(span.attributes)["error.type"] == "upstream_failed"
    assert steps[-1].end_time_unix_nano - steps[-1].start_time_unix_nano >= 15e6
    first = points(told, "gen_ai.server.time_to_first_token")["speech", "openai", "tts-1"]
    whole = points(told, "gen_ai.server.request.duration")["upstream_failed", "speech", "openai", "tts-1"]
    assert first.sum < whole.sum


async def test_the_callers_trace_is_gone_on_with(store_url: str, data: Path) -> None:
    with collector() as told:
        async with stub() as one, watched(store_url, data, one, endpoint=told.url, sample=0.0) as (gateway, wire):
            await post(wire, BODY, f"traceparent: 00-{THEIRS}-{PARENT}-01")
            await post(wire, BODY, f"traceparent: 00-{THEIRS}-{PARENT}-00")
            await post(wire, BODY, "traceparent: nonsense")
            await gateway.records(3)
    root, _, _ = tree(told.spans)
    assert (root.trace_id.hex(), root.parent_span_id.hex()) == (THEIRS, PARENT)
    assert all("traceparent" not in seen.headers for seen in one.seen)
    assert points(told, "gen_ai.server.request.duration")["transcription", "openai", "whisper-1"].count == 3


async def test_upstreams_are_told_of_the_trace_where_that_is_wanted(store_url: str, data: Path) -> None:
    with collector() as told:
        async with stub() as one, stub() as two:
            one.answers = [failed(401)]
            async with watched(store_url, data, one, two, endpoint=told.url, pass_on=True) as (gateway, wire):
                await post(wire, BODY, f"traceparent: 00-{THEIRS}-{PARENT}-01")
                await gateway.records()
    _, _, attempts = tree(told.spans)
    told_them = [up.seen[0].headers["traceparent"] for up in (one, two)]
    assert told_them == [f"00-{THEIRS}-{attempt.span_id.hex()}-01" for attempt in attempts]


async def test_traces_and_metrics_go_out_while_it_serves(
    store_url: str, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(teller, "PAUSE", 0.01)
    monkeypatch.setattr(teller, "MEASURES", 0.02)
    with collector() as told:
        async with stub() as one, watched(store_url, data, one, endpoint=told.url) as (_, wire):
            await post(wire, BODY)

            async def both() -> bool:
                return bool(told.spans and told.metrics)

            await until(both, bool)


async def test_without_metrics_there_are_traces_alone(store_url: str, data: Path) -> None:
    with collector() as told:
        async with stub() as one, watched(store_url, data, one, endpoint=told.url, metrics=False) as (_, wire):
            await post(wire, BODY)
    assert {path for path, _, _ in told.messages} == {"/v1/traces"}


async def test_a_collector_that_is_away_is_told_of_once_and_holds_up_nobody(
    store_url: str, data: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(teller, "PAUSE", 0.01)
    monkeypatch.setattr("gateway.telemetry.sending.SECONDS", 0.2)
    caplog.set_level(logging.INFO)

    def lines() -> list[str]:
        return [one.getMessage() for one in caplog.records if "telemetry" in one.getMessage()]

    async def count() -> int:
        return len(lines())

    with collector() as told:
        told.status = 400
        async with stub() as one, watched(store_url, data, one, endpoint=told.url) as (gateway, wire):
            for number in range(3):
                assert (await post(wire, BODY)).status == 200
                await gateway.records(number + 1)
                await until(count, lambda found: found >= 1)
            assert len(lines()) == 1
            assert f"telemetry: traces do not reach {told.url} (Failed to export spans batch code: 400" in lines()[0]
            told.status = 200

            async def again() -> int:
                await post(wire, BODY)
                return len(lines())

            await until(again, lambda found: found == 2)
            assert lines()[1] == f"telemetry: traces reach {told.url} again"
    assert not [one for one in caplog.records if one.name.startswith("opentelemetry")]


async def test_a_collector_that_takes_traces_alone_is_told_of_once_too(
    store_url: str, data: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(teller, "PAUSE", 0.01)
    monkeypatch.setattr(teller, "MEASURES", 0.01)
    with collector() as told:
        told.refused = "/v1/metrics"
        async with stub() as one, watched(store_url, data, one, endpoint=told.url) as (_, wire):

            async def both() -> bool:
                await post(wire, BODY)
                return len(told.spans) > 20 and "telemetry" in caplog.text

            await until(both, bool)
    lines = [one.getMessage() for one in caplog.records if "telemetry" in one.getMessage()]
    assert len(lines) == 1
    assert lines[0].startswith(f"telemetry: metrics do not reach {told.url} (")


async def test_it_ends_in_time_though_the_collector_never_answers(
    store_url: str, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.telemetry.sending.SECONDS", 5.0)

    theirs: list[asyncio.StreamWriter] = []

    async def silent(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        theirs.append(writer)

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    clock = asyncio.get_running_loop().time
    async with server, stub() as one:
        async with watched(store_url, data, one, endpoint=f"http://127.0.0.1:{port}") as (gateway, wire):
            await post(wire, BODY)
            gateway.app.books = 0.4
            (thread,) = [one for one in threading.enumerate() if one.name == "telemetry"]
            began = clock()
        assert clock() - began < 3
        server.close()
        for writer in theirs:
            writer.close()
        await asyncio.to_thread(thread.join)
    assert theirs


async def test_too_many_that_wait_are_dropped_and_counted(
    store_url: str, data: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(teller, "MOST", 2)
    monkeypatch.setattr(teller, "PAUSE", 60.0)
    with collector() as told:
        async with stub() as one, watched(store_url, data, one, endpoint=told.url) as (gateway, wire):
            for _ in range(5):
                await post(wire, BODY)
            await gateway.records(5)
    assert len([span for span in told.spans if span.kind == Span.SPAN_KIND_SERVER]) == 2
    assert "telemetry: 3 requests were not told, since too many waited" in caplog.text


def test_nothing_of_it_is_loaded_where_it_is_off() -> None:
    code = (
        "import sys, gateway.app, gateway.cli.serve, gateway.serving, gateway.telemetry.teller as t\n"
        "from gateway.config.model import Telemetry\n"
        "assert t.teller_of(Telemetry()) is None\n"
        "rooms = 'opentelemetry.sdk', 'opentelemetry.exporter', 'google'\n"
        "print([one for one in sys.modules if one.startswith(rooms)])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_missing_libraries_are_told_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(teller, "find_spec", missing)
    assert teller.teller_of(Telemetry()) is None
    with pytest.raises(SetupError, match=r"pip install 'audiogate\[otel\]'"):
        teller.teller_of(Telemetry("http://127.0.0.1:4318"))
    monkeypatch.setattr(teller, "find_spec", lambda _: None)
    with pytest.raises(SetupError, match="libraries are not installed"):
        teller.checked(Telemetry("http://127.0.0.1:4318"))


def test_a_start_without_them_is_refused_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    with room() as folder:
        path = config_of(
            folder,
            "telemetry: {endpoint: 'http://127.0.0.1:4318'}",
            "upstreams: {a: {kind: openai, base_url: 'http://127.0.0.1:9/v1', allow_private: true, models: [m]}}",
            "prices: {m: free}",
        )
        monkeypatch.setattr(teller, "find_spec", lambda _: None)
        with pytest.raises(SetupError, match="pip install"):
            CliRunner().invoke(app, ["serve", "--config", path, "--port", "0"], catch_exceptions=False)
        assert not (folder / "data").exists()


async def test_every_worker_tells_its_own() -> None:
    with collector() as told, room() as folder:
        async with stub() as one:
            path = write_config(folder, upstream=one.url, workers=2)
            path.write_text(path.read_text() + f"telemetry: {{endpoint: '{told.url}'}}\n")
            async with launched(folder, "-c", str(path)) as served:
                for _ in range(20):
                    async with served.client() as client:
                        assert (await transcribe(client)).status_code == 200
                assert await served.stopped() == 0
            assert "Traceback" not in served.said
    points_of = told.metrics["gen_ai.server.request.duration"]
    assert sum(one.count for one in points_of) == 20
    assert len([span for span in told.spans if span.kind == Span.SPAN_KIND_SERVER]) == 20
    assert len({resource(message) for _, _, message in told.messages}) == 2
