"""`audiogate upstreams`, run as an operator runs it."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.aggregator import looks, with_wallet
from tests.launched import config_of, processes_in, room, run
from tests.stub import Answer, Stub, stub


@pytest.fixture
def folder() -> Iterator[Path]:
    """A room of its own."""
    with room() as one:
        yield one


def write(folder: Path, one: Stub) -> str:
    common = f"base_url: '{one.url}', allow_private: true, models: [whisper-1, 'tts-[1]']"
    return config_of(
        folder,
        "upstreams:",
        f"  full: {{kind: newapi, key: sk-secret-1, {common}}}",
        f"  quiet: {{kind: newapi, key: sk-secret-2, {common}, balance: off}}",
        f"  keyless: {{kind: newapi, {common}}}",
        f"  plain: {{kind: openai, key: sk-secret-3, {common}}}",
        f"  unused: {{kind: newapi, key: '${{UNSET:-}}', {common}}}",
        "prices: {whisper-1: free, 'tts-[1]': free}",
    )


async def told(folder: Path, *arguments: str) -> str:
    done = await asyncio.to_thread(run, folder, "upstreams", *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert "sk-secret" not in done.stdout
    assert processes_in(folder) == []
    return done.stdout


async def test_each_wallet_is_asked_once_and_what_is_not_known_says_why(folder: Path) -> None:
    async with stub() as one:
        with_wallet(one, usd=12.5)
        rows = json.loads(await told(folder, "-c", write(folder, one), "--json"))
        assert len(looks(one)) == 1
    host = f"127.0.0.1:{one.port}"
    common = {"host": host, "models": ["tts-[1]", "whisper-1"], "unlimited": False, "dry": False}
    unknown = {**common, "balance_usd": None, "source": ""}
    assert rows == [
        {"name": "full", "kind": "newapi", **common, "balance_usd": 12.5, "source": "token", "why_unknown": ""},
        {"name": "quiet", "kind": "newapi", **unknown, "why_unknown": "it is not asked; `balance: auto` asks it"},
        {"name": "keyless", "kind": "newapi", **unknown, "why_unknown": "there is no key to ask with"},
        {"name": "plain", "kind": "openai", **unknown, "why_unknown": "it is not asked; `balance: auto` asks it"},
    ]
    assert not (folder / "data").exists()


@pytest.mark.parametrize(
    ("usd", "answer", "shown"),
    [
        (1234.5, None, "$1,234.500000"),
        (0.0, None, "$0.000000 (dry)"),
        (None, Answer(pieces=(b'{"code":true,"data":{"unlimited_quota":true}}',)), "no limit"),
        (None, Answer(refuse=True), "unknown: it does not answer"),
        (None, None, "unknown: it does not tell"),
    ],
)
async def test_as_a_table(folder: Path, usd: float | None, answer: Answer | None, shown: str) -> None:
    async with stub() as one:
        answers = with_wallet(one, usd=usd)
        if answer is not None:
            answers.pages["/api/usage/token/"] = answer
        table = await told(folder, "-c", write(folder, one))
    (line,) = [line for line in table.splitlines() if line.strip().startswith("full ")]
    assert shown in line
    assert "tts-[1], whisper-1" in line
    assert "note: upstream unused is left out because its key is empty; set UNSET to use it" in table


def test_a_wrong_file_is_told_with_code_1(folder: Path) -> None:
    done = run(folder, "upstreams", "-c", config_of(folder, "upstreams: 3"))
    assert (done.returncode, done.stdout) == (1, "")
    assert "Traceback" not in done.stderr
