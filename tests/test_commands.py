"""The commands that tell something: check, usage, the version, and what they say to wrong usage."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway import __version__
from tests.launched import config_of, launched, processes_in, room, run, transcribe, until, write_config
from tests.stub import said, stub


@pytest.fixture
def folder() -> Iterator[Path]:
    """A room of its own."""
    with room() as one:
        yield one


def test_check_says_what_it_found_and_0(folder: Path) -> None:
    path = str(write_config(folder))
    done = run(folder, "check", "-c", path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "upstream stub: http://127.0.0.1:9/v1, whisper-1" in done.stdout
    assert "sk-secret" not in done.stdout
    done = run(folder, "check", "--json", AUDIOGATE_CONFIG=path)
    found = json.loads(done.stdout)
    assert found["ok"] is True
    assert found["upstreams"] == {"stub": {"url": "http://127.0.0.1:9/v1", "models": ["whisper-1"]}}
    assert not (folder / "data").exists()


def test_check_shows_what_each_model_costs_where(folder: Path) -> None:
    path = config_of(
        folder,
        "upstreams:",
        "  one: {kind: openai, base_url: 'http://127.0.0.1:9/v1', allow_private: true, multiplier: 1.50,",
        "        models: [tts-1, whisper-1, m], prices: {m: {per_second: 0.0001, per_request: 1}}}",
        "  two: {kind: openai, base_url: 'http://127.0.0.1:9/v1', allow_private: true, models: ['*'],",
        "        can: {routes: [speech]}}",
        "prices: {tts-1: {per_1m_characters: 20}, '*': free, '/v1/audio/*': {per_request: 0.001}}",
    )
    done = run(folder, "check", "-c", path)
    assert (done.returncode, done.stderr) == (0, "")
    rows = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert [row for row in rows if row.startswith(("one ", "two "))] == [
        "one m $0.0001 per second + $1 per request own",
        "one tts-1 $30 per 1M characters common × 1.5",
        "one whisper-1 free common × 1.5",
        "one /v1/audio/* $0.0015 per request common × 1.5",
        "two * free common",
    ]
    assert json.loads(run(folder, "check", "-c", path, "--json").stdout)["prices"] == [
        {"upstream": "one", "model": "m", "per_second": "0.0001", "per_request": "1", "from": "own"},
        {"upstream": "one", "model": "tts-1", "per_1m_characters": "30", "from": "common × 1.5"},
        {"upstream": "one", "model": "whisper-1", "from": "common × 1.5"},
        {"upstream": "one", "model": "/v1/audio/*", "per_request": "0.0015", "from": "common × 1.5"},
        {"upstream": "two", "model": "*", "from": "common"},
    ]


def test_check_as_json_tells_each_problem_as_the_text_does(folder: Path) -> None:
    path = config_of(folder, "server: {port: many}", "upstreams: 3")
    as_text = run(folder, "check", "-c", path)
    as_json = run(folder, "check", "-c", path, "--json")
    assert (as_text.returncode, as_json.returncode) == (1, 1)
    found = json.loads(as_json.stdout)
    assert found["ok"] is False
    assert "Problem(" not in as_json.stdout
    assert len(found["problems"]) == len(as_text.stderr.splitlines())


async def test_usage_is_a_table_or_json_while_it_serves_and_after(folder: Path) -> None:
    async with stub() as upstream:
        upstream.answers = [said(usage={"type": "duration", "seconds": 60})]
        path = str(write_config(folder, upstream=upstream.url))
        async with launched(folder, "-c", path) as one:
            async with one.client() as client:
                assert (await transcribe(client)).status_code == 200
            await until(lambda: '"cost_micro_usd"' in one.said)
            arguments = ("usage", "-c", path, "--by", "key,model,upstream,route", "--json")
            while not (while_serving := json.loads((await asyncio.to_thread(run, folder, *arguments)).stdout)):
                pass
            assert await one.stopped() == 0
    (row,) = while_serving
    assert row == {
        "key": "alice",
        "model": "whisper-1",
        "upstream": "stub",
        "route": "transcription",
        "requests": 1,
        "errors": 0,
        "audio_seconds": 60,
        "characters": 0,
        "input_tokens": 0,
        "output_tokens": 0,
        "cost_usd": "0.006",
        "upstream_cost_usd": "0.006",
    }
    assert json.loads(run(folder, *arguments).stdout) == while_serving
    table = run(folder, "usage", "-c", path)
    assert table.returncode == 0
    assert [word for word in table.stdout.split() if word in ("alice", "whisper-1")] == ["alice", "whisper-1"]
    assert "0.006" in table.stdout
    assert processes_in(folder) == []


def test_the_version_is_one_line(folder: Path) -> None:
    done = run(folder, "--version")
    assert (done.returncode, done.stdout) == (0, f"audiogate {__version__}\n")


@pytest.mark.parametrize(
    "arguments",
    [(), ("nonsense",), ("serve", "--port", "many"), ("usage", "--since", "yesterday")],
    ids=" ".join,
)
def test_wrong_usage_is_told_with_code_2(folder: Path, arguments: tuple[str, ...]) -> None:
    done = run(folder, *arguments, AUDIOGATE_CONFIG=str(write_config(folder)))
    assert done.returncode == 2
    assert "Usage:" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
