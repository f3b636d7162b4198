"""`audiogate upstreams` and its verbs, run as an operator runs them."""

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from gateway.cli import app
from tests.aggregator import looks, with_wallet
from tests.launched import config_of, launched, processes_in, room, run, transcribe, until, write_config
from tests.servers import start_store
from tests.stub import Answer, Stub, failed, stub


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
    common = {"host": host, "models": ["tts-[1]", "whisper-1"], "state": "used", "drained_since": None}
    common |= {"unlimited": False, "dry": False}
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


# -- the verbs, in this process


async def asked(*arguments: str, code: int = 0, **environ: str) -> str:
    """What `audiogate upstreams` prints, with this exit code."""

    def invoked() -> Result:
        return CliRunner(env={"COLUMNS": "200", "NO_COLOR": "1", **environ}).invoke(app, ["upstreams", *arguments])

    done = await asyncio.to_thread(invoked)
    assert done.exit_code == code, (done.output, done.exception)
    assert "sk-secret" not in done.output
    return done.stdout if code != 2 else done.output


@pytest.fixture
def tested(folder: Path) -> str:
    """A configuration of two upstreams at ports that the test sets, and one without a key."""
    return config_of(
        folder,
        "store: {data: data}",
        "upstreams:",
        "  a: {kind: openai, key: sk-secret-1, base_url: '${A}', allow_private: true, models: [whisper-1]}",
        "  b: {kind: openai, key: sk-secret-2, base_url: '${B}', allow_private: true, models: [whisper-1]}",
        "  unused: {kind: openai, key: '${UNSET:-}', base_url: 'https://host.example/v1', models: [whisper-1]}",
        "prices: {whisper-1: free}",
    )


async def test_all_upstreams_are_tested_and_one_that_is_not_usable_is_told_by_the_exit_code(tested: str) -> None:
    async with stub() as one, stub() as two:
        two.answers = [failed(401, "no such key")]
        urls = {"A": one.url, "B": two.url}
        rows = json.loads(await asked("test", "-c", tested, "--json", code=1, **urls))
        table = await asked("test", "-c", tested, code=1, **urls)
        good = json.loads(await asked("test", "a", "a", "-c", tested, "--json", **urls))
        assert len(two.seen) == 2
    assert [(row["name"], row["ok"], row["verdict"]) for row in rows] == [("a", True, "fine"), ("b", False, "key")]
    assert 0 <= rows[0]["connect_ms"] <= rows[0]["ms"]
    assert rows[1]["message"].startswith("It does not accept our key (401, no such key): set upstreams.b.key")
    assert [row["name"] for row in good] == ["a"]
    (line,) = [line for line in table.splitlines() if line.strip().startswith("b ")]
    assert re.search(r"b +key +\d+ +It does not accept our key", line)
    assert "note: upstream unused is left out" in table


@pytest.mark.parametrize("name", ["nobody", "unused"])
async def test_a_name_that_there_is_not_is_wrong_usage(tested: str, name: str) -> None:
    urls = {"A": "http://127.0.0.1:9/v1", "B": "http://127.0.0.1:9/v1"}
    assert f"no upstream with a key is called {name}" in await asked("test", "a", name, "-c", tested, code=2, **urls)


@pytest.fixture
def shared(folder: Path, store_url: str) -> str:
    """The same with a store of its own, and no secret of any upstream in this terminal."""
    return config_of(
        folder,
        f"store: {{data: data, url: '{store_url}'}}",
        "upstreams:",
        "  a: {kind: openai, key: '${A_KEY:-}', base_url: 'http://127.0.0.1:9/v1', allow_private: true, models: [m]}",
        "  b: {kind: openai, key: '${B_KEY:-}', base_url: 'http://127.0.0.1:9/v1', allow_private: true, models: [m]}",
        "prices: {m: free}",
    )


async def test_one_is_drained_without_its_key_and_listed_so_until_that_ends(shared: str) -> None:
    keys = {"A_KEY": "sk-secret-1", "B_KEY": "sk-secret-2"}

    async def states() -> dict[str, str]:
        rows = json.loads(await asked("-c", shared, "--json", **keys))
        assert all(bool(row["drained_since"]) == (row["state"] == "drained") for row in rows)
        return {row["name"]: row["state"] for row in rows}

    assert await states() == {"a": "used", "b": "used"}
    assert "'a' is drained within two seconds" in await asked("drain", "a", "-c", shared)
    assert "'a' is drained within two seconds" in await asked("drain", "a", "-c", shared)
    assert await states() == {"a": "drained", "b": "used"}
    assert re.search(r"^ *a .* drained since 2\d{3}-\S+Z ", await asked("-c", shared, **keys), re.MULTILINE)
    assert "requests go to the upstream 'a' again" in (await asked("undrain", "a", "-c", shared)).lower()
    assert await states() == {"a": "used", "b": "used"}


@pytest.mark.parametrize("verb", ["drain", "undrain"])
async def test_a_name_that_the_file_does_not_have_is_not_drained(shared: str, verb: str) -> None:
    done = await asyncio.to_thread(lambda: run(Path(shared).parent, "upstreams", verb, "nobody", "-c", shared))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "audiogate: There is no upstream called 'nobody'.\n"


async def test_upstreams_are_listed_while_the_store_is_away(folder: Path) -> None:
    with start_store("valkey") as url:
        gone = url
    path = config_of(
        folder,
        f"store: {{data: data, url: '{gone}'}}",
        "upstreams: {a: {kind: openai, key: k, base_url: 'http://127.0.0.1:9/v1', allow_private: true, models: [m]}}",
        "prices: {m: free}",
    )
    (row,) = json.loads(await asked("-c", path, "--json"))
    assert (row["name"], row["state"], row["drained_since"]) == ("a", "unknown", None)
    assert "note: the store does not answer" in await asked("-c", path)


async def test_all_workers_follow_within_two_seconds_and_a_restart_changes_nothing(folder: Path) -> None:
    async with stub() as one:
        path = str(write_config(folder, upstream=one.url, workers=2))
        async with launched(folder, "-c", path) as gateway, gateway.client() as client:
            key = gateway.key
            assert (await transcribe(client)).status_code == 200
            done = await asyncio.to_thread(run, folder, "upstreams", "drain", "stub", "-c", path)
            assert done.returncode == 0, done.stderr
            await until(lambda: gateway.said.count("upstream stub is drained:") == 2)
            assert await gateway.stopped() == 0
        async with launched(folder, "-c", path) as gateway, gateway.client(key) as client:
            before = len(one.seen)
            for _ in range(6):
                assert (await transcribe(client)).status_code == 503
            assert len(one.seen) == before
            await asyncio.to_thread(run, folder, "upstreams", "undrain", "stub", "-c", path)
            await until(lambda: gateway.said.count("upstream stub is drained no more") == 2)
            assert {(await transcribe(client)).status_code for _ in range(6)} == {200}
            assert await gateway.stopped() == 0
    await until(lambda: processes_in(folder) == [], else_tell=lambda: str(processes_in(folder)))
