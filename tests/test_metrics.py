"""Every instrument: its name and labels as docs/metrics.md tells them, and its value after known traffic."""

import asyncio
import re
import time
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway import __version__
from gateway.config.model import Key, Team
from gateway.metrics import MAX_TEAMS, Metrics
from gateway.policy.limits import Limit
from gateway.policy.pricing import Price
from tests.launched import WAV
from tests.metrics_table import documented, labels
from tests.running import MODELS, Running, configured, key_text, running, until, upstream
from tests.stub import Answer, failed, said, stub

SIDE_SERIES = ("_bucket", "_sum", "_count", "_created")


async def numbers(gateway: Running) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """Values by name and labels, as Prometheus reads them."""
    async with gateway.client() as client:
        answer = await client.get(f"{gateway.origin}/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return found


def labelled(**labels: str) -> tuple[tuple[str, str], ...]:
    """Labels as `numbers` has them."""
    return tuple(sorted(labels.items()))


async def transcribe(client: httpx2.AsyncClient) -> httpx2.Response:
    """Have a second of silence written down."""
    form = {"file": ("x.wav", WAV)}
    return await client.post("/audio/transcriptions", data={"model": "whisper-1"}, files=form)


async def quiet(gateway: Running) -> None:
    """Wait until the last request is in the books and in the numbers."""
    await gateway.idle()

    async def busy() -> float:
        found = await numbers(gateway)
        names = ("inflight_requests", "reservations_held", "unsettled", "spool_bytes")
        return sum(found[f"audiogate_{name}"][()] for name in names)

    await until(busy, lambda count: count == 0)


async def test_one_transcription_is_in_every_number_it_should_be_in(store_url: str, data: Path) -> None:
    async with stub() as one:
        one.answers = [said(usage={"type": "duration", "seconds": 60})]
        config = configured(data, upstream("a", one.url))
        async with running(config, url=store_url) as gateway, gateway.client() as client:
            answer = await transcribe(client)
            await quiet(gateway)
            found = await numbers(gateway)
    by_model = {"team": "default", "model": "whisper-1"}
    common = labelled(route="transcription", upstream="a", status_class="2xx", **by_model)
    route = labelled(route="transcription")
    assert found["audiogate_requests_total"] == {common: 1}
    assert found["audiogate_audio_bytes_total"] == {
        labelled(direction="in"): int(answer.request.headers["content-length"]),
        labelled(direction="out"): len(answer.content),
    }
    assert found["audiogate_request_duration_seconds_count"] == {route: 1}
    assert found["audiogate_time_to_first_byte_seconds_count"] == {route: 1}
    assert found["audiogate_overhead_seconds_count"] == {(): 1}
    assert 0 < found["audiogate_overhead_seconds_sum"][()] < found["audiogate_request_duration_seconds_sum"][route] < 10
    assert found["audiogate_audio_seconds_total"] == {labelled(direction="in", **by_model): 60}
    assert set(found["audiogate_characters_total"].values()) == {0}
    assert found["audiogate_cost_micro_usd_total"] == {labelled(upstream="a", **by_model): 6000}
    assert found["audiogate_metered_total"] == {labelled(source="upstream"): 1}
    assert found["audiogate_upstream_request_duration_seconds_count"] == {labelled(upstream="a", outcome="served"): 1}
    assert found["audiogate_upstream_up"] == {labelled(upstream="a"): 1}
    assert found["audiogate_upstream_ejected"] == {labelled(upstream="a"): 0}
    calls = found["audiogate_redis_latency_seconds_count"]
    assert (calls[labelled(script="admit")], calls[labelled(script="settle")]) == (1, 1)
    assert found["audiogate_build_info"] == {labelled(version=__version__): 1}
    assert found["audiogate_loop_lag_seconds"][()] >= 0
    for name in ("redis_errors_total", "retries_total", "client_aborts_total", "quota_rejections_total"):
        assert not found.get(f"audiogate_{name}"), name


async def test_speech_counts_characters(store_url: str, data: Path) -> None:
    async with stub() as one:
        one.answers = [Answer(content_type="audio/mpeg", pieces=(b"ID3abc",))]
        config = configured(data, upstream("a", one.url))
        async with running(config, url=store_url) as gateway, gateway.client() as client:
            await client.post("/audio/speech", json={"model": "tts-1", "input": "héllo 你好", "voice": "x"})
            await quiet(gateway)
            found = await numbers(gateway)
    by_model = {"team": "default", "model": "tts-1"}
    assert found["audiogate_characters_total"] == {labelled(**by_model): 8}
    assert found["audiogate_cost_micro_usd_total"] == {labelled(upstream="a", **by_model): 120}
    assert found["audiogate_metered_total"] == {labelled(source="input"): 1}


async def test_gauges_rise_while_a_request_is_served_and_fall_after_it(store_url: str, data: Path) -> None:
    async with stub() as one:
        gate = asyncio.Event()
        one.answers = [Answer(pieces=(b'{"text":', b'"hello"}'), gate=gate)]
        config = configured(data, upstream("a", one.url))
        async with running(config, url=store_url) as gateway, gateway.client() as client:
            asked = asyncio.ensure_future(transcribe(client))
            await (await one.request()).has(len(WAV))
            during = await numbers(gateway)
            gate.set()
            size = int((await asked).request.headers["content-length"])
            await quiet(gateway)
            after = await numbers(gateway)
    for name in ("inflight_requests", "reservations_held"):
        assert during[f"audiogate_{name}"] == {(): 1}, name
    assert len(WAV) <= during["audiogate_spool_bytes"][()] <= size
    for name in ("inflight_requests", "reservations_held", "spool_bytes"):
        assert after[f"audiogate_{name}"] == {(): 0}, name
    assert after["audiogate_unsettled"] == {(): 0}


async def test_a_retry_and_a_rest_are_seen(store_url: str, data: Path) -> None:
    async with stub() as one, stub() as two:
        one.answers = [failed(403, "用户额度不足", code="insufficient_user_quota")]
        config = configured(data, upstream("a", one.url, kind="newapi"), upstream("b", two.url, priority=2))
        async with running(config, url=store_url) as gateway, gateway.client() as client:
            await transcribe(client)
            await quiet(gateway)
            found = await numbers(gateway)
    assert found["audiogate_retries_total"] == {labelled(reason="exhausted"): 1}
    assert found["audiogate_upstream_up"] == {labelled(upstream="a"): 0, labelled(upstream="b"): 1}
    assert found["audiogate_upstream_ejected"] == {labelled(upstream="a"): 1, labelled(upstream="b"): 0}
    attempts = found["audiogate_upstream_request_duration_seconds_count"]
    assert attempts == {labelled(upstream="a", outcome="exhausted"): 1, labelled(upstream="b", outcome="served"): 1}
    assert found["audiogate_redis_latency_seconds_count"][labelled(script="switch")] == 1


@pytest.mark.parametrize(("per", "kind"), [("minute", "rate_limit"), ("day", "quota")])
async def test_a_refusal_by_a_limit_is_counted_by_its_kind(store_url: str, data: Path, per: str, kind: str) -> None:
    team = Team("default", limits=(Limit("requests", per, 4),))
    async with stub() as one:
        config = configured(data, upstream("a", one.url), teams={"default": team})
        async with running(config, url=store_url) as gateway, gateway.client() as client:
            codes = [(await transcribe(client)).status_code for _ in range(5)]
            await quiet(gateway)
            found = await numbers(gateway)
    assert codes == [200] * 4 + [429]
    assert found["audiogate_quota_rejections_total"] == {labelled(team="default", kind=kind): 1}
    assert found["audiogate_quota_remaining_ratio"] == {labelled(team="default", window=per): pytest.approx(0, abs=0.3)}


async def test_a_caller_that_hangs_up_is_counted_with_the_step_it_was_at(store_url: str, data: Path) -> None:
    async with stub() as one:
        one.answers = [Answer(pieces=(b'{"text":', b'"hello"}'), gate=asyncio.Event())]
        config = configured(data, upstream("a", one.url))
        async with running(config, url=store_url) as gateway:
            async with gateway.client() as client:
                request = client.build_request(
                    "POST", "/audio/transcriptions", data={"model": "whisper-1"}, files={"file": ("x.wav", WAV)}
                )
                answer = await client.send(request, stream=True)
                await answer.aclose()
            await quiet(gateway)
            found = await numbers(gateway)
    assert found["audiogate_client_aborts_total"] == {labelled(phase="relay"): 1}


async def test_a_store_that_is_away_is_counted(data: Path) -> None:
    metrics = Metrics(models=MODELS, teams=("default",))
    metrics.store_failed("admit")
    metrics.store_answered("admit", 2.0)
    text = metrics.render().decode()
    assert 'audiogate_redis_errors_total{script="admit"} 1.0' in text
    assert 'audiogate_redis_latency_seconds_sum{script="admit"} 2.0' in text
    assert 'audiogate_redis_latency_seconds_bucket{le="2.5",script="admit"} 1.0' in text


async def test_nothing_that_callers_make_up_becomes_a_label(store_url: str, data: Path) -> None:
    async with stub() as one:
        one.answers = [said()]
        wide = replace(upstream("a", one.url), models={**MODELS, "made-up-*": "*"})
        prices = {name: Price(per_minute=Decimal(1)) for name in (*MODELS, "made-up-*", "/v1/audio/*")}
        keys = {"alice": Key("alice", "default", key_text()), "bob": Key("bob", "rare", key_text(3))}
        teams = {"default": Team("default"), "rare": Team("rare")}
        config = configured(data, wide, keys=keys, teams=teams, prices=prices)
        async with running(config, url=store_url) as gateway:
            await _vandalise(gateway)
            await quiet(gateway)
            found = await numbers(gateway)
    ours: Mapping[str, set[str]] = {
        "model": {*MODELS, "other", ""},
        "upstream": {"a", ""},
        "team": {"default", "rare", ""},
        "version": {__version__},
    }
    allowed = labels()
    series = {(name, pair) for name, values in found.items() for pairs in values for pair in pairs}
    for name, (label, value) in series:
        if not name.startswith("audiogate_") or label == "le":
            continue
        assert value in (ours.get(label, allowed[label])), (name, label, value)
    assert "made-up" not in str(found)
    family = {name.removesuffix(side) for name in found for side in SIDE_SERIES if name.endswith(side)} | set(found)
    assert set(documented()) <= family | {
        "audiogate_client_aborts_total",
        "audiogate_redis_errors_total",
        "audiogate_retries_total",
        "audiogate_upstream_balance_usd",
        "audiogate_quota_rejections_total",
        "audiogate_quota_remaining_ratio",
    }


async def _vandalise(gateway: Running) -> None:
    for number, key in enumerate((None, key_text(3), key_text(99), "sk-made-up-key")):
        async with gateway.client(key) as client:
            for path in ("transcriptions", "translations", f"made-up/{number}", "speech", "voices?made-up=1"):
                for model in ("whisper-1", f"made-up-{number}", f"unknown-made-up-{number}"):
                    await client.post(f"/audio/{path}", data={"model": model}, files={"file": ("x.wav", WAV)})
                    await client.post(f"/audio/{path}", json={"model": model, "input": "x", "voice": "made-up"})
                await client.request(f"MADE-UP{number}", f"/audio/{path}")
            for _ in range(2):  # one name for all that follows
                spoken = {"model": "tts-1", "input": "x", "voice": "made-up"}
                await client.post("/audio/speech", json=spoken, headers={"idempotency-key": f"made-up-{number}"})


def test_teams_beyond_the_bound_share_one_label() -> None:
    teams = [f"team{number:04}" for number in range(MAX_TEAMS + 50)]
    metrics = Metrics(models=("whisper-1",), teams=teams)
    for team in [*teams, "made-up", ""]:
        labels = {"route": "speech", "model": "whisper-1", "upstream": "a", "team": team}
        metrics.ended(labels, status=200, seconds=1, first_byte=None)
        metrics.rejected(team, "quota")
    pattern = r'^audiogate_(?:requests|quota_rejections)_total\{.*team="(\w*)".*\} (\S+)$'
    found = re.findall(pattern, metrics.render().decode(), re.MULTILINE)
    assert len(found) == 2 * (MAX_TEAMS + 2)
    assert [value for team, value in found if team == "other"] == ["51.0", "51.0"]


def values(metrics: Metrics, name: str) -> dict[str, str]:
    """A family of one label, as it is rendered."""
    return dict(
        re.findall(rf'^audiogate_{name}\{{.*?(?:window|upstream|result)="(\w*)"\}} (\S+)$', _text(metrics), re.M)
    )


def _text(metrics: Metrics) -> str:
    return metrics.render().decode()


def test_only_the_window_that_a_team_has_least_left_in_is_told() -> None:
    metrics = Metrics(models=(), teams=("default",))
    for window, left in (("day", 0.05), ("day", 0.04), ("", 1.0), ("month", 0.3)):
        metrics.admitted("default", seconds=0.001, window=window, remaining=left)
    assert values(metrics, "quota_remaining_ratio") == {"day": "NaN", "month": "0.3"}
    metrics.admitted("default", seconds=0.001, window="day", remaining=0.2)
    assert values(metrics, "quota_remaining_ratio") == {"day": "0.2", "month": "NaN"}


def test_the_work_of_an_upstream_counts_with_its_audio_where_both_are_known() -> None:
    metrics = Metrics(models=(), teams=())
    metrics.upstream_state("a", resting=False)
    assert values(metrics, "upstream_work_seconds_total") == {"a": "0.0"}
    metrics.attempted("a", "served", 9.0, took=3.0, audio=60.0)
    metrics.attempted("a", "served", 9.0, took=3.0)  # nobody knows how long the audio is
    metrics.attempted("a", "served", 9.0, audio=60.0)  # the answer began before the upload had ended
    metrics.attempted("a", "failed", 9.0)
    assert values(metrics, "upstream_work_seconds_total") == {"a": "3.0"}
    assert values(metrics, "upstream_audio_seconds_total") == {"a": "60.0"}
    assert 'audiogate_upstream_request_duration_seconds_count{outcome="served",upstream="a"} 3.0' in _text(metrics)


def test_a_file_that_is_read_again_is_counted_and_its_time_is_told() -> None:
    before = time.time()
    metrics = Metrics(models=(), teams=())
    assert values(metrics, "config_reloads_total") == {"applied": "0.0", "refused": "0.0"}
    metrics.applied.set(1)
    metrics.reloaded("refused")
    assert "audiogate_config_applied_timestamp_seconds 1.0" in _text(metrics)
    metrics.follow(models=(), teams=())
    metrics.reloaded("applied")
    assert values(metrics, "config_reloads_total") == {"applied": "1.0", "refused": "1.0"}
    ((told,),) = [re.findall(r"^audiogate_config_applied_timestamp_seconds (\S+)$", _text(metrics), re.M)]
    assert before <= float(told) <= time.time()


def test_a_request_that_is_not_tried_again_is_counted() -> None:
    metrics = Metrics(models=(), teams=())
    assert "audiogate_retry_budget_exhausted_total 0.0" in _text(metrics)
    metrics.gave_up()
    assert "audiogate_retry_budget_exhausted_total 1.0" in _text(metrics)
