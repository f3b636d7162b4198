"""How long the steps of real requests took, as their records tell: served, refused, moved on, given up, sent again."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import redis
from typer.testing import CliRunner

from gateway.cli import app
from gateway.config.model import Key
from gateway.entry import Entry
from gateway.policy.ids import request_id
from gateway.policy.limits import Limit
from gateway.policy.steps import Step, read
from tests.launched import config_of
from tests.media import make
from tests.running import configured, key_text, running, serving, until, upstream
from tests.stub import Answer, said, stub
from tests.wire import END, FORM, MODEL, dial, file

TARGET = "/v1/audio/transcriptions"
WAV = make("wav", 1.0)
BODY = MODEL + file(WAV) + END
SPEECH = b'{"model":"tts-1","input":"hello","voice":"x"}'
SERVED = ["authenticate", "receive", "plan", "admit", "attempt", "relay", "settle"]
Record = Mapping[str, str | int]


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> list[Record]:
    """The lines of requests in the log, the refused ones as well."""
    found: list[Record] = []
    monkeypatch.setattr("gateway.ledger.requests.note", lambda record, _: found.append(dict(record)))
    return found


async def written(lines: list[Record], count: int = 1) -> Record:
    """The last line, once there are so many."""

    async def look() -> int:
        return len(lines)

    await until(look, lambda found: found == count)
    return lines[-1]


def steps_of(record: Record) -> Sequence[Step]:
    """Its steps, which must end where it ended, and add up to its latency."""
    steps = read(str(record["steps_ms"]))
    before = [step for step in steps if step.name != "settle"]
    assert before[-1].name == record["step"]
    assert sum(step.took_ms for step in before) == pytest.approx(int(record["latency_ms"]), abs=0.5 + 0.05 * len(steps))
    for step in steps:
        assert all(step.began_ms - 0.1 <= one.began_ms for one in step.attempts)
        assert sum(one.took_ms for one in step.attempts) <= step.took_ms + 0.1 * len(step.attempts)
    return steps


def names(record: Record) -> list[str]:
    return [step.name for step in steps_of(record)]


async def test_a_request_that_is_served_takes_seven_steps(store_url: str, data: Path) -> None:
    slow = Answer(pieces=(b'{"text":', b'"hello"}'), pace=0.05)
    async with serving(store_url, data, slow) as (gateway, _), dial(gateway) as wire:
        assert (await wire.post(TARGET, BODY)).status == 200
        (record,) = await gateway.records()
    assert names(record) == SERVED
    relay = steps_of(record)[5]
    assert relay.took_ms >= 45  # of the 50 that it waits
    assert relay.began_ms + relay.took_ms == pytest.approx(int(record["latency_ms"]), abs=1)
    assert "(" not in record["steps_ms"]


async def test_what_a_step_waits_for_is_in_its_time(store_url: str, data: Path) -> None:
    hold = asyncio.Event()
    async with serving(store_url, data, Answer(hold=hold)) as (gateway, one), dial(gateway) as wire:
        await wire.begin("POST", TARGET, f"Content-Type: {FORM}", f"Content-Length: {len(BODY)}")
        await gateway.asked(connections=1, requests=1)
        asyncio.get_running_loop().call_later(0.05, asyncio.ensure_future, wire.send(BODY))
        await one.request()
        asyncio.get_running_loop().call_later(0.08, hold.set)
        assert (await wire.answer()).status == 200
        (record,) = await gateway.records()
    took = {step.name: step.took_ms for step in steps_of(record)}
    assert took["receive"] >= 45
    assert took["attempt"] >= 75


async def test_attempts_are_told_apart_where_there_were_several(store_url: str, data: Path) -> None:
    async with stub() as one, stub() as two:
        one.answers, two.answers = [Answer(status=401)], [said("from two")]
        config = configured(data, upstream("a", one.url), upstream("b", two.url, priority=2))
        async with running(config, url=store_url) as gateway, dial(gateway) as wire:
            assert (await wire.post(TARGET, BODY)).status == 200
            (record,) = await gateway.records()
    assert names(record) == SERVED
    attempt = steps_of(record)[4]
    tries = [(found.upstream, found.verdict) for found in attempt.attempts]
    assert tries == [("a", "credentials"), ("b", "served")]
    assert int(record["attempts"]) == 2


async def test_so_are_those_of_a_request_that_none_served(store_url: str, data: Path) -> None:
    async with serving(store_url, data, Answer(status=500), Answer(status=500)) as (gateway, _), dial(gateway) as wire:
        assert (await wire.post(TARGET, BODY)).status == 502
        (record,) = await gateway.records()
    assert names(record) == ["authenticate", "receive", "plan", "admit", "attempt", "settle"]
    tries = [(found.upstream, found.verdict) for found in steps_of(record)[4].attempts]
    assert tries == [("a", "failed")] * int(record["attempts"])
    assert len(tries) > 1


async def test_a_caller_that_hangs_up_stops_an_attempt(store_url: str, data: Path) -> None:
    answers = Answer(status=500), Answer(hold=asyncio.Event())
    async with serving(store_url, data, *answers) as (gateway, one), dial(gateway) as wire:
        await wire.begin("POST", "/v1/audio/speech", "Content-Type: application/json", f"Content-Length: {len(SPEECH)}")
        await wire.send(SPEECH)
        await one.request(1)
        wire.hang_up()
        (record,) = await gateway.records()
    assert (record["status"], record["step"]) == ("499", "attempt")
    attempt = steps_of(record)[4]
    assert [(found.upstream, found.verdict) for found in attempt.attempts] == [("a", "failed"), ("a", "stopped")]


async def test_a_refused_key_comes_to_no_second_step(store_url: str, data: Path, lines: list[Record]) -> None:
    async with serving(store_url, data) as (gateway, _), dial(gateway) as wire:
        await wire.begin("POST", TARGET, f"Content-Type: {FORM}", "Content-Length: 0", key=key_text(7))
        assert (await wire.answer()).status == 401
        assert names(await written(lines)) == ["authenticate"]


async def test_a_model_that_nobody_has_ends_in_the_plan(store_url: str, data: Path, lines: list[Record]) -> None:
    async with serving(store_url, data) as (gateway, _), dial(gateway) as wire:
        answer = await wire.post(TARGET, BODY.replace(b"whisper-1", b"nobody-has"))
        assert answer.status == 404
        assert names(await written(lines)) == ["authenticate", "receive", "plan"]


async def test_an_exhausted_limit_ends_in_the_store(store_url: str, data: Path, lines: list[Record]) -> None:
    keys = {"alice": Key("alice", "default", key_text(), limits=(Limit("requests", "day", 1),))}
    async with serving(store_url, data, keys=keys) as (gateway, _), dial(gateway) as wire:
        assert (await wire.post(TARGET, BODY)).status == 200
        await written(lines)
        assert (await wire.post(TARGET, BODY)).status == 429
        assert names(await written(lines, 2)) == ["authenticate", "receive", "plan", "admit"]


async def test_a_body_that_breaks_off_ends_where_it_is_read(store_url: str, data: Path, lines: list[Record]) -> None:
    entries: list[Entry] = []
    async with serving(store_url, data) as (gateway, _), dial(gateway) as wire:
        gateway.app.parts.ledger.open = lambda entry: entries.append(entry) or entry  # type: ignore
        await wire.begin("POST", TARGET, f"Content-Type: {FORM}", f"Content-Length: {len(BODY)}")
        await wire.send(BODY[:40])

        async def received() -> bool:
            return any(entry.step == "receive" for entry in entries)

        await until(received, bool)
        wire.hang_up()
        assert names(await written(lines)) == ["authenticate", "receive"]


async def test_what_is_sent_again_is_replayed(store_url: str, data: Path, lines: list[Record]) -> None:
    async with serving(store_url, data) as (gateway, _), dial(gateway) as wire:
        for count in (1, 2):
            assert (await wire.post(TARGET, BODY, "Idempotency-Key: once")).status == 200
            await written(lines, count)
    found = [names(line) for line in lines]
    assert sorted(found, key=len) == [["authenticate", "replay"], SERVED]


def test_the_command_shows_them(store_url: str, data: Path) -> None:
    config = config_of(
        data,
        f"store: {{url: '{store_url}', data: data}}",
        "upstreams: {a: {kind: openai, base_url: 'http://127.0.0.1:9/v1', allow_private: true, models: [m]}}",
        "prices: {m: free}",
    )
    new, old = (request_id(1_700_000_000_000, bytes([number] * 10)) for number in (1, 2))
    steps = "authenticate=0.2 receive=1012.1 attempt=640.2(a:busy:0.1+20.3,b:served:22.4+617.8)"
    with redis.Redis.from_url(store_url) as client:
        client.xadd("{ag}:usage", {"id": new, "at": "1700000000.000", "steps_ms": steps})
        client.xadd("{ag}:usage", {"id": old, "at": "1700000000.000"})
    told = CliRunner().invoke(app, ["requests", "show", new, "--config", config])
    assert told.exit_code == 0, told.output
    assert [line.split() for line in told.stdout.splitlines()[-5:]] == [
        ["steps:", "authenticate", "0.2", "ms"],
        ["receive", "1,012.1", "ms"],
        ["attempt", "640.2", "ms"],
        ["20.3", "ms", "a,", "busy"],
        ["617.8", "ms", "b,", "served"],
    ]
    told = CliRunner().invoke(app, ["requests", "show", old, "--config", config])
    assert told.exit_code == 0, told.output
    assert "steps" not in told.stdout
