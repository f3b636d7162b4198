"""What a request costs under a file that is read as an operator writes it."""

from dataclasses import replace
from pathlib import Path

import pytest

from gateway.config.load import load
from gateway.config.model import Config
from tests.media import make
from tests.running import PEPPER, key_text, running
from tests.stub import said, stub
from tests.wire import END, dial, file, text

WAV = make("wav", 60.0)
TRANSCRIPTIONS, SPEECH = "/v1/audio/transcriptions", "/v1/audio/speech"
FILE = """\
upstreams:
  a: {{kind: openai, base_url: "{url}", allow_private: true, key: sk-1, models: {models}{row}}}
keys: {{alice: {{key: {key}}}}}
{rest}
"""


def written(data: Path, url: str, *, models: str, row: str = "", rest: str = "") -> Config:
    path = data / "gateway.yaml"
    path.write_text(FILE.format(url=url, key=key_text(), models=models, row=row, rest=rest))
    config = load(path, {})
    return replace(config, store=replace(config.store, data=data, pepper=PEPPER))


def sound(model: str) -> bytes:
    return text("model", model) + file(WAV) + END


@pytest.mark.parametrize(
    ("row", "rest", "micro"),
    [
        ("", "", 6_000),
        (", multiplier: 1.5", "", 9_000),
        (", multiplier: 0.000001", "", 0),  # 0.006 micro-USD
        (", multiplier: 0.0001", "", 1),  # 0.6 micro-USD: rounded once, at the end
        (", multiplier: 2, prices: {whisper-1: {per_minute: 0.01}}", "", 10_000),
        (", multiplier: 2", "prices: {'w*': {per_minute: 0.01}}", 20_000),
        ("", "prices: {'*': free}", 0),
    ],
)
async def test_a_minute_costs_what_the_upstream_bills(
    store_url: str, data: Path, row: str, rest: str, micro: int
) -> None:
    async with stub() as one:
        config = written(data, one.url, models="[whisper-1]", row=row, rest=rest)
        async with running(config, url=store_url) as gateway, dial(gateway) as wire:
            assert (await wire.post(TRANSCRIPTIONS, sound("whisper-1"))).status == 200
            (record,) = await gateway.records()
    assert (record["audio_ms"], record["cost_micro_usd"]) == ("60000", str(micro))


async def test_tokens_are_billed_by_the_shipped_list(store_url: str, data: Path) -> None:
    usage = {"type": "tokens", "input_tokens": 600, "output_tokens": 100, "input_token_details": {"audio_tokens": 600}}
    async with stub() as one:
        one.answers = [said(usage=usage)]
        config = written(data, one.url, models="[gpt-4o-transcribe]", row=", multiplier: 2")
        async with running(config, url=store_url) as gateway, dial(gateway) as wire:
            assert (await wire.post(TRANSCRIPTIONS, sound("gpt-4o-transcribe"))).status == 200
            (record,) = await gateway.records()
    assert record["cost_micro_usd"] == "5000"  # twice 600 at $2.5 and 100 at $10 a million


async def test_Q_13_a_model_without_a_price_that_a_pattern_lets_through_is_refused(store_url: str, data: Path) -> None:
    async with stub() as one:
        # The pattern has a price, and not every model that it stands for has one.
        config = written(data, one.url, models="['whisper-*']", rest="prices: {'whisper-?': {per_minute: 0.006}}")
        async with running(config, url=store_url) as gateway, dial(gateway) as wire:
            answer = await wire.post(TRANSCRIPTIONS, sound("whisper-22"))
            assert (answer.status, answer.error["code"]) == (404, "model_not_found")
            answer = await wire.post(SPEECH, b'{"model":"whisper-xl","input":"x"}', content_type="application/json")
            assert (answer.status, answer.error["code"]) == (404, "model_not_found")
            assert one.seen == []
            assert (await wire.post(TRANSCRIPTIONS, sound("whisper-2"))).status == 200
            (record,) = await gateway.records()
    assert record["cost_micro_usd"] == "6000"


async def test_Q_13_a_route_without_a_price_is_refused(store_url: str, data: Path) -> None:
    async with stub() as one:
        config = written(data, one.url, models="[whisper-1]", rest="prices: {'*': {per_request: 1}}")
        async with running(config, url=store_url) as gateway, gateway.client() as client:
            answer = await client.get("/audio/voices")
            assert (answer.status_code, answer.json()["error"]["code"]) == (403, "upstream_not_allowed")
    assert one.seen == []
