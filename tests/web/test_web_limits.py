"""Limits as callers meet them: every measure, in every scope, and what happens when an upstream has none left."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.config.model import Config, Key, Team
from gateway.policy.limits import Limit
from tests.media import make
from tests.running import configured, key_text, running, serving, until, upstream
from tests.stub import Answer, said, stub
from tests.wire import END, FORM, MODEL, Said, Wire, dial, file

WAV = make("wav", 10.0)  # 0.001 USD at 0.006 a minute
SOUND = MODEL + file(WAV) + END
TRANSCRIPTIONS, SPEECH = "/v1/audio/transcriptions", "/v1/audio/speech"
WORDS = b'{"model":"tts-1","input":"hello","voice":"x"}'

# The limit, which request it is about, and how many of those it lets through.
MEASURES = {
    "requests": (Limit("requests", "day", 2), SOUND, 2),
    "audio seconds": (Limit("audio_seconds", "month", 25_000), SOUND, 2),
    "US dollars": (Limit("usd", "total", 2_500), SOUND, 2),
    "characters": (Limit("characters", "day", 12), WORDS, 2),
    "requests per hour": (Limit("requests", "hour", 2), SOUND, 2),
}


def limited(config: Config, scope: str, limit: Limit) -> Config:
    """The configuration with this limit in one scope."""
    if scope == "upstream":
        return replace(config, upstream_limits={name: (limit,) for name in config.upstream_limits})
    if scope == "team":
        return replace(config, teams={"default": Team("default", limits=(limit,))})
    return replace(config, keys={"alice": Key("alice", "default", key_text(), limits=(limit,))})


async def ask(wire: Wire, body: bytes) -> Said:
    if body == WORDS:
        return await wire.post(SPEECH, body, content_type="application/json")
    return await wire.post(TRANSCRIPTIONS, body)


@pytest.mark.parametrize(("limit", "body", "count"), MEASURES.values(), ids=MEASURES)
@pytest.mark.parametrize("scope", ["key", "team", "upstream"])
async def test_a_limit_lets_so_many_through_and_no_more(
    store_url: str, data: Path, scope: str, limit: Limit, body: bytes, count: int
) -> None:
    async with stub() as one:
        config = limited(configured(data, upstream("a", one.url)), scope, limit)
        async with running(config, url=store_url) as gateway, dial(gateway) as wire:
            for _ in range(count):
                assert (await ask(wire, body)).status == 200
            await gateway.records(count)
            refused = await ask(wire, body)
            await gateway.idle()
    burst = limit.per == "hour"
    assert (refused.status, refused.error["code"]) == (429, "rate_limit_exceeded" if burst else "insufficient_quota")
    assert refused.error["type"] == ("requests" if burst else "insufficient_quota")
    name = {"key": "key alice", "team": "team default", "upstream": "upstream a"}[scope]
    assert name in str(refused.error["message"])
    if limit.per == "total":
        assert "retry-after" not in refused.headers
    else:
        assert int(refused.headers["retry-after"]) >= 1
        assert int(refused.headers["retry-after-ms"]) <= int(refused.headers["retry-after"]) * 1000
    if not burst:
        assert refused.headers["x-should-retry"] == "false"
    assert len(one.seen) == count


@pytest.mark.parametrize("scope", ["key", "team", "upstream"])
async def test_no_more_requests_at_once_than_allowed(store_url: str, data: Path, scope: str) -> None:
    hold = asyncio.Event()
    async with stub() as one:
        one.answers = [Answer(hold=hold)]
        config = limited(configured(data, upstream("a", one.url)), scope, Limit("concurrency", "", 2))
        async with running(config, url=store_url) as gateway, gateway.client() as client, dial(gateway) as wire:
            form: dict[str, Any] = {"data": {"model": "whisper-1"}, "files": {"file": ("x.wav", WAV)}}
            under_way = [asyncio.ensure_future(client.post("/audio/transcriptions", **form)) for _ in range(2)]
            await one.request(1)
            refused = await ask(wire, SOUND)
            hold.set()
            assert [answer.status_code for answer in await asyncio.gather(*under_way)] == [200, 200]
            await gateway.records(2)
            await gateway.idle()
            assert (await ask(wire, SOUND)).status == 200
            await gateway.records(3)
    assert (refused.status, refused.error["code"]) == (429, "rate_limit_exceeded")
    assert (refused.headers["retry-after"], refused.headers["x-should-retry"]) == ("1", "true")
    assert "requests at once" in str(refused.error["message"])


async def test_the_next_upstream_serves_when_the_first_has_no_quota_left(store_url: str, data: Path) -> None:
    async with stub() as one, stub() as two:
        two.answers = [said("from two")]
        config = configured(data, upstream("a", one.url), upstream("b", two.url, priority=2))
        config = replace(config, upstream_limits={"a": (Limit("audio_seconds", "month", 15_000),), "b": ()})
        async with running(config, url=store_url) as gateway, dial(gateway) as wire:
            texts = []
            for number in range(3):
                texts.append((await ask(wire, SOUND)).json["text"])
                await gateway.records(number + 1)
            records = await gateway.records(3)
    assert texts == ["hello", "from two", "from two"]
    assert [record["attempts"] for record in records] == ["1", "1", "1"]


async def test_nobody_has_quota_left(store_url: str, data: Path) -> None:
    async with stub() as one, stub() as two:
        config = configured(data, upstream("a", one.url), upstream("b", two.url, priority=2))
        month, hour = Limit("requests", "month", 1), Limit("requests", "hour", 1)
        config = replace(config, upstream_limits={"a": (month,), "b": (hour,)})
        async with running(config, url=store_url) as gateway, dial(gateway) as wire:
            for number in range(2):
                assert (await ask(wire, SOUND)).status == 200
                await gateway.records(number + 1)
            refused = await ask(wire, SOUND)
            await gateway.idle()
    assert (refused.status, refused.error["code"]) == (429, "rate_limit_exceeded")  # the hour gives way first
    assert "upstream b" in str(refused.error["message"])
    assert (len(one.seen), len(two.seen)) == (1, 1)


async def test_a_failed_upstream_hands_over_only_to_one_with_quota(store_url: str, data: Path) -> None:
    async with stub() as one, stub() as two, stub() as three:
        one.answers = [Answer(status=500)]
        three.answers = [said("from three")]
        config = configured(
            data, upstream("a", one.url), upstream("b", two.url, priority=2), upstream("c", three.url, priority=3)
        )
        config = replace(config, upstream_limits={"a": (), "b": (Limit("requests", "day", 0),), "c": ()})
        async with running(config, url=store_url) as gateway, dial(gateway) as wire:
            assert (await ask(wire, SOUND)).json == {"text": "from three"}
            (record,) = await gateway.records()
            await gateway.idle()
    assert (record["upstream"], record["attempts"]) == ("c", "2")
    assert two.seen == []


async def test_headers_tell_how_many_requests_are_left(store_url: str, data: Path) -> None:
    limits = (Limit("requests", "minute", 5), Limit("requests", "day", 3))
    keys = {"alice": Key("alice", "default", key_text(), limits=limits)}
    async with serving(store_url, data, keys=keys) as (gateway, _), dial(gateway) as wire:
        left = []
        for number in range(3):
            answer = await ask(wire, SOUND)
            left.append(answer.headers["x-ratelimit-remaining-requests"])
            await gateway.records(number + 1)
    assert left == ["2", "1", "0"]
    assert answer.headers["x-ratelimit-limit-requests"] == "3"
    assert "h" in answer.headers["x-ratelimit-reset-requests"] or "m" in answer.headers["x-ratelimit-reset-requests"]


async def test_without_a_limit_on_requests_no_header_speaks_of_one(store_url: str, data: Path) -> None:
    async with serving(store_url, data) as (gateway, _), dial(gateway) as wire:
        answer = await ask(wire, SOUND)
        await gateway.records()
    assert not [name for name in answer.headers if name.startswith("x-ratelimit")]


@pytest.mark.parametrize(
    "limit", [Limit("requests", "day", 0), Limit("usd", "total", 0), Limit("audio_seconds", "day", 0)]
)
@pytest.mark.parametrize("scope", ["key", "team", "upstream"])
async def test_an_exhausted_key_is_refused_before_its_audio_is_read(
    store_url: str, data: Path, scope: str, limit: Limit
) -> None:
    async with stub() as one:
        config = limited(configured(data, upstream("a", one.url)), scope, limit)
        async with running(config, url=store_url) as gateway, dial(gateway) as wire:
            await wire.begin("POST", TRANSCRIPTIONS, f"Content-Type: {FORM}", "Content-Length: 20000000")
            await wire.send(file(WAV, end=b"")[:5000])
            refused = await wire.answer()
            await gateway.idle()
    assert (refused.status, refused.error["code"]) == (429, "insufficient_quota")
    assert one.seen == []


async def test_a_request_that_asks_for_more_than_is_left_is_refused(store_url: str, data: Path) -> None:
    keys = {"alice": Key("alice", "default", key_text(), limits=(Limit("audio_seconds", "day", 5_000),))}
    async with serving(store_url, data, keys=keys) as (gateway, one), dial(gateway) as wire:
        refused = await ask(wire, SOUND)
        await gateway.idle()
    assert refused.status == 429
    assert "Limit 5, Requested 10" in str(refused.error["message"])
    assert one.seen == []


async def test_what_was_refused_or_failed_does_not_count(store_url: str, data: Path) -> None:
    keys = {"alice": Key("alice", "default", key_text(), limits=(Limit("requests", "day", 1),))}
    answers = [Answer(status=500), Answer(status=500), Answer(status=400), said()]  # the first one is tried twice
    async with serving(store_url, data, *answers, keys=keys) as (gateway, _), dial(gateway) as wire:
        statuses = []
        for number in range(3):
            statuses.append((await ask(wire, SOUND)).status)
            await gateway.records(number + 1)
        assert (await ask(wire, SOUND)).status == 429
        await gateway.idle()
    assert statuses == [502, 400, 200]


async def test_a_crowd_cannot_oversell_a_quota(store_url: str, data: Path) -> None:
    keys = {"alice": Key("alice", "default", key_text(), limits=(Limit("usd", "day", 7_000),))}
    async with serving(store_url, data, keys=keys) as (gateway, one), gateway.client() as client:
        form: dict[str, Any] = {"data": {"model": "whisper-1"}, "files": {"file": ("x.wav", WAV)}}
        asking = (client.post("/audio/transcriptions", **form) for _ in range(30))
        statuses = [answer.status_code for answer in await asyncio.gather(*asking)]
        served = statuses.count(200)
        await gateway.records(served)
        await gateway.idle()
        assert await gateway.cost() == served * 1000
    assert set(statuses) == {200, 429}
    assert len(one.seen) == served <= 7


async def test_one_record_per_request_and_nothing_held_after_many_at_once(store_url: str, data: Path) -> None:
    async with serving(store_url, data) as (gateway, one), gateway.client() as client:
        asking = (client.post("/audio/speech", json={"model": "tts-1", "input": "hello"}) for _ in range(60))
        assert {answer.status_code for answer in await asyncio.gather(*asking)} == {200}
        records = await gateway.records(60)
        await gateway.idle()
        await until(lambda: gateway.app.connection.client.zcard("{ag}:leases"), lambda count: count == 0)
    assert len({record["id"] for record in records}) == 60
    assert len(one.seen) == 60


async def test_a_request_that_moves_on_has_passed_its_rate_once(store_url: str, data: Path) -> None:
    async with stub() as one, stub() as two:
        one.answers = [Answer(status=503)]
        config = configured(data, upstream("a", one.url), upstream("b", two.url, priority=2))
        config = limited(config, "key", Limit("requests", "hour", 60, 2))
        async with running(config, url=store_url) as gateway, dial(gateway) as wire:
            answers = [await ask(wire, SOUND) for _ in range(3)]
            await gateway.records(2)
            await gateway.idle()
    assert [answer.status for answer in answers] == [200, 200, 429]
    assert [answer.headers["x-ratelimit-remaining-requests"] for answer in answers] == ["1", "0", "0"]
    assert [answer.headers["x-ratelimit-limit-requests"] for answer in answers] == ["60"] * 3
    assert (len(one.seen), len(two.seen)) == (2, 2)
    refused = answers[2]
    assert 0 < int(refused.headers["retry-after-ms"]) <= 60_000
    assert int(refused.headers["retry-after"]) == -(-int(refused.headers["retry-after-ms"]) // 1000)


async def test_an_upstream_s_rate_sends_the_next_one_on_and_lets_one_in_when_it_says(
    store_url: str, data: Path
) -> None:
    async with stub() as one, stub() as two:
        config = configured(data, upstream("a", one.url), upstream("b", two.url, priority=2))
        config = replace(config, upstream_limits={"a": (Limit("requests", "minute", 120, 1),), "b": ()})
        async with running(config, url=store_url) as gateway, dial(gateway) as wire:

            async def answered() -> int:
                assert (await ask(wire, SOUND)).status == 200
                return len(one.seen)

            began = asyncio.get_running_loop().time()
            assert await answered() == 1
            await until(answered, lambda seen: seen == 2)
            took = asyncio.get_running_loop().time() - began
            await gateway.idle()
    assert took >= 0.49, "one in half a second"
    assert len(two.seen) > 0
