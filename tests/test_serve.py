"""`audiogate serve` and `demo`, run as an operator runs them: how they start, and how they end."""

import asyncio
import json
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway import server
from gateway.errors import SetupError
from tests.launched import config_of, launched, processes_in, room, run, transcribe, until, write_config
from tests.stub import Answer, stub


@pytest.fixture
def folder() -> Iterator[Path]:
    """A room of its own; nothing may run in it after the command has ended."""
    with room() as one:
        yield one


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
async def test_a_signal_ends_it_well_and_leaves_no_process_and_no_temporary_file(
    folder: Path, how: signal.Signals
) -> None:
    async with launched(folder, "-c", str(write_config(folder))) as one:
        await until(lambda: len(processes_in(folder)) == 3)  # it, its store, and the child that counts packets
        assert await one.stopped(how) == 0
    assert processes_in(folder) == []
    assert "Traceback" not in one.said
    assert list((folder / "tmp").iterdir()) == []


async def test_the_key_is_printed_at_the_first_start_alone_and_works_ever_after(folder: Path) -> None:
    async with stub() as upstream:
        path = str(write_config(folder, upstream=upstream.url))
        async with launched(folder, "-c", path) as first:
            key = first.key
            assert first.said.count(key) == 1
            async with first.client() as client:
                assert (await transcribe(client)).status_code == 200
            assert await first.stopped() == 0
            assert first.said.count(key) == 1
        async with launched(folder, "-c", path) as second:
            async with second.client(key) as client:
                assert (await transcribe(client)).json()["text"] == "hello"
            assert "ag_" not in second.said.replace(key.split("_")[1], "")
            assert await second.stopped() == 0
    assert key not in second.said


async def test_every_request_leaves_one_line_of_json(folder: Path) -> None:
    async with stub() as upstream, launched(folder, "-c", str(write_config(folder, upstream=upstream.url))) as one:
        async with one.client() as client:
            rid = (await transcribe(client)).headers["x-request-id"]
        await until(lambda: rid in one.said)
        assert await one.stopped() == 0
    (line,) = [json.loads(text) for text in one.said.splitlines() if rid in text]
    assert (line["id"], line["status"], line["key_name"], line["audio_ms"]) == (rid, 200, "alice", 1000)


async def test_a_request_under_way_is_answered_before_it_ends(folder: Path) -> None:
    async with stub() as upstream:
        gate = asyncio.Event()
        upstream.answers = [Answer(pieces=(b'{"text":', b'"hello"}'), gate=gate)]
        async with launched(folder, "-c", str(write_config(folder, upstream=upstream.url))) as one:
            async with one.client() as client:
                asked = asyncio.ensure_future(transcribe(client))
                await upstream.request()
                one.process.send_signal(signal.SIGTERM)
                await until(lambda: not _listens(one.origin))
                gate.set()
                assert (await asked).json() == {"text": "hello"}
            assert await one.ended() == 0
    assert processes_in(folder) == []


async def test_an_impatient_second_interrupt_still_bills_and_leaves_no_process(folder: Path) -> None:
    async with stub() as upstream:
        upstream.answers = [Answer(pieces=(b'{"text":', b'"hello"}'), gate=asyncio.Event())]
        path = str(write_config(folder, upstream=upstream.url))
        async with launched(folder, "-c", path) as one, one.client() as client:
            asked = asyncio.ensure_future(transcribe(client))
            await upstream.request()
            one.process.send_signal(signal.SIGINT)
            await until(lambda: not _listens(one.origin))
            one.process.send_signal(signal.SIGINT)
            code = await one.ended()
            await asyncio.gather(asked, return_exceptions=True)
    assert (code, processes_in(folder)) == (0, []), one.said
    assert not [line for line in one.said.splitlines() if line.startswith("Traceback")]
    (row,) = json.loads(run(folder, "usage", "-c", path, "--json").stdout)
    assert (row["requests"], row["audio_seconds"]) == (1, 1.0)


def _listens(origin: str) -> bool:
    host, port = origin.removeprefix("http://").split(":")
    with socket.socket() as asking:
        return asking.connect_ex((host, int(port))) == 0


def _one_sentence(folder: Path, *arguments: str, **environ: str) -> str:
    done = run(folder, *arguments, **environ)
    assert done.returncode == 1, (done.stdout, done.stderr)
    assert "Traceback" not in done.stdout + done.stderr
    lines = (done.stdout + done.stderr).splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("audiogate: ")
    assert processes_in(folder) == []
    return lines[0]


def test_a_taken_port_is_one_sentence(folder: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        told = _one_sentence(folder, "serve", "-c", str(write_config(folder)), "--port", port)
    assert f"port {port}" in told
    assert "--port" in told


def test_a_socket_that_was_handed_over_is_taken_if_it_is_for_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"}
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        one.listen()
        monkeypatch.setattr(server, "HANDED_OVER", os.dup(one.fileno()))
        assert server.inherited({}) is None
        assert server.inherited({**ours, "LISTEN_FDS": "0"}) is None
        assert server.inherited({**ours, "LISTEN_PID": str(os.getppid())}) is None
        with pytest.raises(SetupError, match="hand over that"):
            server.inherited({**ours, "LISTEN_FDS": "2"})
        found = server.inherited(ours)
        assert found is not None
        with found:
            assert server.origin(found) == f"http://127.0.0.1:{one.getsockname()[1]}"
            assert not found.get_inheritable()


@pytest.mark.parametrize("what", ["no socket", "not listening", "a path"])
def test_what_else_is_handed_over_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, what: str) -> None:
    ours = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"}
    with socket.socket() as one, socket.socket(socket.AF_UNIX) as two, open(tmp_path / "file", "w") as file:
        two.bind(str(tmp_path / "path"))
        two.listen()
        fd = {"no socket": file.fileno(), "not listening": one.fileno(), "a path": two.fileno()}[what]
        monkeypatch.setattr(server, "HANDED_OVER", fd)
        with pytest.raises(SetupError, match="no socket" if what == "no socket" else "does not listen for TCP"):
            server.inherited(ours)


@pytest.mark.parametrize("blocked", ["data", "data/store"])
def test_an_unusable_data_folder_is_one_sentence(folder: Path, blocked: str) -> None:
    path = folder / blocked
    path.parent.mkdir(exist_ok=True)
    path.write_text("a file where a folder should be, which stops even root")
    told = _one_sentence(folder, "serve", "-c", str(write_config(folder)), "--port", "0")
    assert str(path) in told or "The data folder data cannot be used" in told


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read and write everything")
@pytest.mark.parametrize("what", ["data", "gateway.yaml"])
def test_a_missing_right_is_one_sentence(folder: Path, what: str) -> None:
    config = write_config(folder)
    (folder / "data").mkdir()
    (folder / what).chmod(0)
    told = _one_sentence(folder, "serve", "-c", str(config), "--port", "0")
    assert what in told
    (folder / what).chmod(0o700)


@pytest.mark.parametrize("content", [None, b"server: \xff", b"server: {", b"\x00"])
def test_an_unreadable_configuration_is_one_sentence(folder: Path, content: bytes | None) -> None:
    path = folder / "gateway.yaml"
    if content is not None:
        path.write_bytes(content)
    assert str(path) in _one_sentence(folder, "serve", "-c", str(path), "--port", "0")


def test_an_unknown_upstream_kind_is_one_sentence(folder: Path) -> None:
    text = write_config(folder).read_text().replace("kind: openai", "kind: newappi")
    told = _one_sentence(folder, "serve", "-c", config_of(folder, text))
    assert "newappi" in told
    assert "did you mean 'newapi'?" in told


@pytest.mark.parametrize("verb", ["serve", "usage"])
def test_many_mistakes_are_a_line_each(folder: Path, verb: str) -> None:
    path = config_of(
        folder,
        "server: {port: many, wrokers: 2}",
        'upstreams: {stub: {kind: openai, base_url: "ftp://x", models: [whisper-1]}}',
        "keys: {alice: {team: nobody}}",
    )
    done = run(folder, verb, "-c", path)
    assert done.returncode == 1
    lines = (done.stdout + done.stderr).removeprefix("audiogate: ").splitlines()
    assert len(lines) == 4, lines
    assert all(line.startswith(f"{path}:") for line in lines), lines


def test_the_demo_tries_everything_and_leaves_nothing_behind(folder: Path) -> None:
    pytest.importorskip("pocketsphinx")
    done = run(folder, "demo", "--once", "--port", "0")
    assert done.returncode == 0, done.stderr
    assert "every word should come back" in done.stdout
    assert "bytes of MP3" in done.stdout
    assert done.stderr == ""
    assert processes_in(folder) == []
    assert sorted(path.name for path in folder.rglob("*")) == ["tmp"]
