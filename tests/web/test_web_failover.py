"""Upstreams in trouble: who serves then, and what the caller is told."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from gateway.config.model import Config, Key
from gateway.policy.limits import Limit
from gateway.policy.pricing import Price
from gateway.policy.routing import Market
from tests.media import make
from tests.running import Running, configured, key_text, running, serving, upstream
from tests.stub import Answer, Stub, failed, said, stub
from tests.wire import END, MODEL, Wire, dial, file

BODY = MODEL + file(b"not really sound" * 100) + END
TARGET = "/v1/audio/transcriptions"
SPEECH = b'{"model":"tts-1","input":"hello","voice":"x"}'


@asynccontextmanager
async def two_upstreams(
    store_url: str, data: Path, *, kind: str = "openai"
) -> AsyncIterator[tuple[Running, Stub, Stub, Wire]]:
    """A gateway, the upstream it goes to first, and the one it goes to next."""
    async with stub() as one, stub() as two:
        two.answers = [said("from two")]
        config = configured(data, upstream("a", one.url, kind=kind), upstream("b", two.url, kind=kind, priority=2))
        async with running(config, url=store_url) as gateway, dial(gateway) as wire:
            yield gateway, one, two, wire


ELSEWHERE = {
    "openai": {
        "a refused key": failed(401, "Incorrect API key provided: sk-secret-of-a"),
        "a forbidden country": failed(403, "not here"),
        "a dry account": failed(429, "no", code="insufficient_quota", type="insufficient_quota"),
        "a missing model": failed(404, "no", code="model_not_found"),
        "a full upstream": failed(429, "slow down"),
        "a broken upstream": failed(500),
        "a bad gateway": Answer(status=502, content_type="text/html", pieces=(b"<html>nginx</html>",)),
        "an unavailable upstream": failed(503),
        "a redirect": Answer(status=302, headers={"location": "http://127.0.0.1:9/v1"}, pieces=()),
        "a reset": Answer(refuse=True),
    },
    "newapi": {
        "a dry wallet": failed(403, "用户额度不足", code="insufficient_user_quota"),
        "a token that is used up": failed(401, "该令牌额度已用尽"),
        "no channel": failed(503, "当前分组下对于模型 whisper-1 无可用渠道"),
        "a duration it cannot measure": failed(500, "error getting audio duration", code="count_token_failed"),
        "a saturated group": failed(429, "当前分组上游负载已饱和，请稍后再试"),
        "an error with status 200": failed(200, "额度不足"),
        "an unknown error with status 200": failed(200, "strange"),
        "an error with status 200, in the other shape": Answer(pieces=(b'{"success":false,"message":"no"}',)),
        "an error with a number as code": failed(500, code=500),
    },
}


@pytest.mark.parametrize(
    ("kind", "answer"),
    [pytest.param(kind, answer, id=name) for kind, rows in ELSEWHERE.items() for name, answer in rows.items()],
)
async def test_the_next_upstream_serves(store_url: str, data: Path, kind: str, answer: Answer) -> None:
    async with two_upstreams(store_url, data, kind=kind) as (gateway, one, two, wire):
        one.answers = [answer]
        got = await wire.post(TARGET, BODY)
        (record,) = await gateway.records()
        await gateway.idle()
    assert (got.status, got.json) == (200, {"text": "from two"})
    assert (record["upstream"], record["attempts"], record["error"]) == ("b", "2", "")
    assert (len(one.seen), len(two.seen)) == (1, 1)
    assert two.seen[0].headers["authorization"] == "Bearer sk-secret-of-b"
    assert two.seen[0].fields[1] == ("file", b"not really sound" * 100)


async def test_an_error_with_status_200_is_found_however_it_is_cut(store_url: str, data: Path) -> None:
    async with two_upstreams(store_url, data, kind="newapi") as (gateway, one, _, wire):
        one.answers = [Answer(pieces=(b'{"err', b'or":{"message":"no"}}'), gate=asyncio.Event())]
        asking = asyncio.ensure_future(wire.post(TARGET, BODY))
        await one.request()
        one.answers[0].gate.set()  # type: ignore[union-attr]
        assert (await asking).json == {"text": "from two"}
        await gateway.records()


async def test_an_upstream_that_cannot_be_reached_is_passed_over(store_url: str, data: Path) -> None:
    with socket.socket() as taken:  # bound but not listening: refused, and nobody else gets the port
        taken.bind(("127.0.0.1", 0))
        async with stub() as two:
            dead = upstream("a", f"http://127.0.0.1:{taken.getsockname()[1]}/v1")
            config = configured(data, dead, upstream("b", two.url, priority=2))
            async with running(config, url=store_url) as gateway, dial(gateway) as wire:
                assert (await wire.post(TARGET, BODY)).status == 200
                (record,) = await gateway.records()
            alone = configured(data, dead)
            async with running(alone, url=store_url) as gateway, dial(gateway) as wire:
                got = await wire.post(TARGET, BODY)
                await gateway.idle()
    assert record["upstream"] == "b"
    assert (got.status, got.error["code"]) == (503, "upstream_unreachable")
    assert got.headers["x-should-retry"] == "false"


ALONE = {
    "401": (failed(401, "bad key sk-secret-of-a"), 502, "upstream_refused", 1),
    "403": (failed(403), 502, "upstream_refused", 1),
    "404 of the model": (failed(404, code="model_not_found"), 502, "upstream_refused", 1),
    "429 of the account": (failed(429, code="insufficient_quota"), 429, "insufficient_quota", 1),
    "500": (failed(500), 502, "upstream_failed", 2),
    "503": (failed(503), 502, "upstream_failed", 2),
    "504": (failed(504), 502, "upstream_failed", 2),
    "a redirect": (
        Answer(status=307, headers={"location": "/v1/other"}, pieces=()),
        502,
        "upstream_failed",
        1,
    ),
    "a reset": (Answer(refuse=True), 503, "upstream_unreachable", 1),
}


@pytest.mark.parametrize(("answer", "status", "code", "attempts"), ALONE.values(), ids=ALONE)
async def test_when_nobody_serves_the_caller_is_told_why_and_pays_nothing(
    store_url: str, data: Path, answer: Answer, status: int, code: str, attempts: int
) -> None:
    async with serving(store_url, data, answer) as (gateway, one), dial(gateway) as wire:
        got = await wire.post(TARGET, BODY)
        (record,) = await gateway.records()
        await gateway.idle()
    assert (got.status, got.error["code"]) == (status, code)
    assert got.headers["x-should-retry"] == "false"
    assert "sk-secret" not in got.body.decode()
    assert (record["cost_micro_usd"], record["status"], record["attempts"]) == ("0", str(status), str(attempts))
    assert len(one.seen) == attempts


@pytest.mark.parametrize(
    ("told", "wait"),
    [({}, "1"), ({"retry-after": "7"}, "7"), ({"retry-after": "0"}, "1"), ({"retry-after": "900"}, "300")],
)
async def test_a_busy_upstream_says_when_to_come_back(
    store_url: str, data: Path, told: dict[str, str], wait: str
) -> None:
    again = "true" if int(wait) < 60 else "false"  # beyond that SDKs come back at once
    busy = Answer(status=429, headers=told, pieces=(b'{"error":{"message":"slow down"}}',))
    async with serving(store_url, data, busy) as (gateway, _), dial(gateway) as wire:
        got = await wire.post("/v1/audio/speech", SPEECH, content_type="application/json")
        await gateway.records()
    assert (got.status, got.error["code"]) == (429, "rate_limit_exceeded")
    assert (got.headers["retry-after"], got.headers["x-should-retry"]) == (wait, again)


async def test_a_form_is_not_to_be_sent_again_when_every_upstream_is_busy(store_url: str, data: Path) -> None:
    async with serving(store_url, data, failed(429)) as (gateway, _), dial(gateway) as wire:
        got = await wire.post(TARGET, BODY)
        await gateway.records()
    assert (got.status, got.headers["x-should-retry"]) == (429, "false")


async def test_speech_may_be_asked_for_again(store_url: str, data: Path) -> None:
    async with serving(store_url, data, failed(500)) as (gateway, _), dial(gateway) as wire:
        got = await wire.post("/v1/audio/speech", SPEECH, content_type="application/json")
        await gateway.records()
    assert got.status == 502
    assert "x-should-retry" not in got.headers


CALLERS = {
    "400": (failed(400, "bad audio", code="invalid_value", type="invalid_request_error"), 400, "invalid_value"),
    "404": (failed(404, "no such voice"), 404, None),
    "413": (failed(413, "too big"), 413, None),
    "422": (failed(422, "odd"), 422, None),
}


@pytest.mark.parametrize(("answer", "status", "code"), CALLERS.values(), ids=CALLERS)
async def test_what_the_caller_did_wrong_is_passed_on_and_not_tried_elsewhere(
    store_url: str, data: Path, answer: Answer, status: int, code: str | None
) -> None:
    async with two_upstreams(store_url, data) as (gateway, one, two, wire):
        one.answers = [answer]
        got = await wire.post(TARGET, BODY)
        (record,) = await gateway.records()
    assert (got.status, got.error["code"], got.error["param"]) == (status, code, None)
    assert got.error["message"] == json.loads(answer.pieces[0])["error"]["message"]
    assert two.seen == []
    assert record["cost_micro_usd"] == "0"


async def test_an_upstreams_words_are_cleaned_of_hosts_keys_and_hops(store_url: str, data: Path) -> None:
    words = "bad  file at https://api.example/v1/x?k=1 with sk-abcdef123456 (request id: 2026a) (request id: b)"
    async with serving(store_url, data, failed(400, words)) as (gateway, _), dial(gateway) as wire:
        got = await wire.post(TARGET, BODY)
        await gateway.records()
    assert got.error["message"] == "bad file at [address] with [key]"


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>Bad Request</html>", b'{"error":"plain"}', b'{"error":{"message":["list"],"code":7}}', b"\xff" * 9],
)
async def test_an_error_in_any_shape_comes_out_in_ours(store_url: str, data: Path, body: bytes) -> None:
    odd = Answer(status=400, pieces=(body,))
    async with serving(store_url, data, odd) as (gateway, _), dial(gateway) as wire:
        got = await wire.post(TARGET, BODY)
        await gateway.records()
    assert got.status == 400
    assert got.error["type"] == "invalid_request_error"


async def test_an_upstream_that_does_not_answer_in_time_is_not_tried_again(store_url: str, data: Path) -> None:
    async with stub() as one, stub() as two:
        one.answers = [Answer(hold=asyncio.Event())]
        config = configured(data, upstream("a", one.url, first_byte_timeout=0.1), upstream("b", two.url, priority=2))
        async with running(config, url=store_url) as gateway, dial(gateway) as wire:
            got = await wire.post(TARGET, BODY)
            await gateway.records()
            async with asyncio.timeout(1):
                await one.seen[0].closed.wait()
    assert (got.status, got.error["code"]) == (504, "upstream_timeout")
    assert two.seen == []


async def test_a_kept_connection_that_the_upstream_closed_is_replaced(store_url: str, data: Path) -> None:
    closing = said()
    closing.cut = True
    async with serving(store_url, data, closing) as (gateway, one), dial(gateway) as wire:
        for _ in range(5):
            assert (await wire.post(TARGET, BODY)).status == 200
        records = await gateway.records(5)
    assert [record["attempts"] for record in records] == ["1"] * 5
    assert len(one.seen) == 5


async def test_an_upstream_that_keeps_failing_rests_and_goes_last(store_url: str, data: Path) -> None:
    async with two_upstreams(store_url, data) as (gateway, one, two, wire):
        one.answers = [failed(500)]
        for _ in range(8):
            assert (await wire.post(TARGET, BODY)).status == 200
        await gateway.records(8)
    assert (len(one.seen), len(two.seen)) == (5, 8)


async def test_a_dry_upstream_rests_at_once(store_url: str, data: Path) -> None:
    async with two_upstreams(store_url, data) as (gateway, one, two, wire):
        one.answers = [failed(429, code="insufficient_quota")]
        for _ in range(3):
            assert (await wire.post(TARGET, BODY)).status == 200
        await gateway.records(3)
    assert (len(one.seen), len(two.seen)) == (1, 3)


async def test_two_failures_are_enough(store_url: str, data: Path) -> None:
    async with stub() as one, stub() as two, stub() as three:
        one.answers = two.answers = three.answers = [failed(500)]
        ups = [
            upstream(name, each.url, priority=rank)
            for rank, (name, each) in enumerate(zip("abc", (one, two, three), strict=True), 1)
        ]
        async with running(configured(data, *ups), url=store_url) as gateway, dial(gateway) as wire:
            got = await wire.post(TARGET, BODY)
            (record,) = await gateway.records()
            await gateway.idle()
    assert (got.status, record["attempts"], len(three.seen)) == (502, "2", 0)


async def test_an_early_refusal_sends_the_upload_on_to_the_next(store_url: str, data: Path) -> None:
    async with two_upstreams(store_url, data) as (gateway, one, two, wire):
        early = failed(503)
        early.early = True
        one.answers = [early]
        sound = bytes(1_000_000)
        got = await wire.post(TARGET, MODEL + file(sound) + END)
        (record,) = await gateway.records()
    assert (got.status, record["upstream"]) == (200, "b")
    assert two.seen[0].fields[1] == ("file", sound)


# -- what failed attempts cost

WAV = make("wav", 10.0)
EXACT = {"alice": Key("alice", "default", key_text(), exact=True)}  # so that the length is known to the millisecond
SCOPES = {"alice": f"{{ag}}:k:{key_text()[3:13]}", "team": "{ag}:t:default"}
BROKEN = Answer(headers={"content-length": "99"}, pieces=(b'{"te',), cut=True)
PER_MINUTE = {"a": "0.006", "b": "0.012", "c": "0.018"}


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Reads the whole request and goes away without a word."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    await reader.readexactly(int(head.partition(b"content-length: ")[2].split(b"\r\n")[0]))
    writer.transport.abort()


def priced(config: Config, **more: object) -> Config:
    """The upstreams of a configuration, each at its own price; `more` replaces other parts."""
    upstreams = config.market.upstreams
    rows = {one.name: {"whisper-1": Price(per_minute=Decimal(PER_MINUTE[one.name]))} for one in upstreams}
    return replace(config, market=Market(upstreams, rows), **more)  # type: ignore[arg-type]


async def used(gateway: Running, scope: str) -> list[int]:
    """What a scope was charged in all: micro-USD, milliseconds, characters, requests."""
    script = (
        "local s = redis.call('HGET', KEYS[1], 's') return s and {unpack(cmsgpack.unpack(s), 27, 30)} or {0, 0, 0, 0}"
    )
    found: list[int] = await gateway.app.connection.client.eval(script, 1, SCOPES.get(scope, f"{{ag}}:u:{scope}"))  # type: ignore[misc]
    return found or [0, 0, 0, 0]


async def cube(gateway: Running, metric: str) -> dict[str, int]:
    """What the sums of the day say of a metric, by upstream."""
    client: Any = gateway.app.connection.client
    (day,) = await client.keys("{ag}:day:*")
    found = {}
    for field, amount in (await client.hgetall(day)).items():
        *_, name, _, of = field.split("|")
        if of == metric:
            found[name] = int(amount)
    return found


async def test_Q_12_a_caller_pays_once_and_the_operator_for_each_attempt_that_may_be_billed(
    store_url: str, data: Path
) -> None:
    dropping = await asyncio.start_server(silent, "127.0.0.1", 0)
    async with dropping, stub() as one, stub() as three:
        one.answers = [BROKEN]
        two_url = f"http://127.0.0.1:{dropping.sockets[0].getsockname()[1]}/v1"
        urls = {"a": (one.url, "newapi"), "b": (two_url, "openai"), "c": (three.url, "openai")}
        ups = [upstream(name, url, kind=kind, priority=ord(name)) for name, (url, kind) in urls.items()]
        limits = {"a": (Limit("usd", "day", 1_999),), "b": (Limit("usd", "day", 2_000),), "c": ()}
        config = priced(configured(data, *ups, keys=EXACT), upstream_limits=limits)
        async with running(config, url=store_url) as gateway, dial(gateway) as wire:
            assert (await wire.post(TARGET, MODEL + file(WAV) + END)).status == 200
            (record,) = await gateway.records()
            await gateway.idle()
            charged = {scope: await used(gateway, scope) for scope in ("alice", "team", "a", "b", "c")}
            sums = {metric: await cube(gateway, metric) for metric in ("usd", "cost", "requests", "ms")}
            assert (await wire.post(TARGET, MODEL + file(WAV) + END)).status == 200
            _, second = await gateway.records(2)
    assert (record["upstream"], record["attempts"]) == ("c", "3")
    assert record["failed"] == "a:failed:1000 b:unreachable:2000"
    assert (record["cost_micro_usd"], record["upstream_micro_usd"]) == ("3000", "6000")
    assert charged["alice"] == charged["team"] == charged["c"] == [3_000, 10_000, 0, 1]
    assert (charged["a"], charged["b"]) == ([1_000, 10_000, 0, 1], [2_000, 10_000, 0, 1])
    assert sums["cost"] == {"a": 1_000, "b": 2_000, "c": 3_000}
    assert (sums["usd"], sums["requests"], sums["ms"]) == ({"c": 3_000}, {"c": 1}, {"c": 10_000})
    assert (second["upstream"], second["attempts"]) == ("c", "1"), "a and b have nothing left of their own limits"


async def test_Q_12_an_attempt_that_timed_out_costs_the_caller_nothing_and_the_operator_what_it_may(
    store_url: str, data: Path
) -> None:
    async with stub() as one:
        one.answers = [Answer(hold=asyncio.Event())]
        config = priced(configured(data, upstream("a", one.url, first_byte_timeout=0.2), keys=EXACT))
        async with running(config, url=store_url) as gateway, dial(gateway) as wire:
            assert (await wire.post(TARGET, MODEL + file(WAV) + END)).status == 504
            (record,) = await gateway.records()
            await gateway.idle()
            charged = {scope: await used(gateway, scope) for scope in ("alice", "team", "a")}
            cost, usd = await cube(gateway, "cost"), await cube(gateway, "usd")
    assert one.seen[0].whole
    assert (record["error"], record["failed"]) == ("upstream_timeout", "a:timeout:1000")
    assert (record["cost_micro_usd"], record["upstream_micro_usd"]) == ("0", "1000")
    assert charged == {"alice": [0, 0, 0, 0], "team": [0, 0, 0, 0], "a": [1_000, 10_000, 0, 1]}
    assert (cost, usd) == ({"a": 1_000}, {})


FREE_OF_COST = {
    "refused connection": Answer(refuse=True, early=True),
    "500": failed(500),
    "503": failed(503),
    "a 503 that breaks off": Answer(status=503, headers={"content-length": "99"}, pieces=(b'{"er',), cut=True),
    "a busy one": failed(429, "slow down"),
    "a dry one": failed(429, code="insufficient_quota"),
    "a refused key": failed(401),
}


@pytest.mark.parametrize("answer", FREE_OF_COST.values(), ids=FREE_OF_COST)
async def test_Q_12_an_attempt_that_was_refused_costs_nothing(store_url: str, data: Path, answer: Answer) -> None:
    async with stub() as one, stub() as two:
        one.answers = [answer]
        config = priced(configured(data, upstream("a", one.url), upstream("b", two.url, priority=2)))
        async with running(config, url=store_url) as gateway, dial(gateway) as wire:
            assert (await wire.post(TARGET, MODEL + file(WAV) + END)).status == 200
            (record,) = await gateway.records()
            await gateway.idle()
            charged, cost = await used(gateway, "a"), await cube(gateway, "cost")
    assert (record["upstream"], record["attempts"]) == ("b", "2")
    assert record["failed"].startswith("a:")
    assert record["failed"].endswith(":0")
    assert record["upstream_micro_usd"] == record["cost_micro_usd"] != "0"
    assert charged == [0, 0, 0, 0]
    assert cost == {"b": int(record["cost_micro_usd"])}


async def test_Q_12_when_nobody_serves_the_failed_attempts_are_paid_all_the_same(store_url: str, data: Path) -> None:
    async with stub() as one, stub() as two:
        one.answers = two.answers = [BROKEN]
        ups = [upstream("a", one.url, kind="newapi"), upstream("b", two.url, kind="newapi", priority=2)]
        async with running(priced(configured(data, *ups, keys=EXACT)), url=store_url) as gateway, dial(gateway) as wire:
            assert (await wire.post(TARGET, MODEL + file(WAV) + END)).status == 502
            (record,) = await gateway.records()
            await gateway.idle()
            charged = {scope: await used(gateway, scope) for scope in ("alice", "team", "a", "b")}
            cost = await cube(gateway, "cost")
    assert record["failed"] == "a:failed:1000 b:failed:2000"
    assert (record["cost_micro_usd"], record["upstream_micro_usd"]) == ("0", "3000")
    assert charged["alice"] == charged["team"] == [0, 0, 0, 0]
    assert (charged["a"], charged["b"]) == ([1_000, 10_000, 0, 1], [2_000, 10_000, 0, 1])
    assert cost == {"a": 1_000, "b": 2_000}
