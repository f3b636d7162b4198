"""The tools that the speed is measured with: they count right, and what is reported follows from what was counted."""

import json
import mmap
import os
import shutil
import socket
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from benchmarks import configs, measure, ours, programs, report, workloads
from benchmarks.bar import BARS, Bar, Verdict, verdicts
from benchmarks.contestants import CONTESTANTS
from benchmarks.figures import figures
from benchmarks.results import Results, read
from gateway.config.load import load as load_config

SPEECH = ("--speech", "tts-1")
ROOT = Path(__file__).parent.parent
needs_compiler = pytest.mark.skipif(
    not (shutil.which("gcc") or shutil.which("cc")) or not shutil.which("taskset"), reason="there is no C compiler"
)


@pytest.fixture(scope="module")
def mock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The upstream of the benchmarks; its port."""
    with programs.mock(tmp_path_factory.mktemp("mock"), programs.cores()[1]) as port:
        yield port


def stats(mock: int) -> dict[str, int]:
    with urllib.request.urlopen(f"http://127.0.0.1:{mock}/stats", timeout=5) as answer:
        return dict(json.load(answer))


def load(mock: int, *options: object) -> dict[str, Any]:
    return programs.load(programs.cores()[1], mock, *options, seconds=5, drain=5)


@needs_compiler
@pytest.mark.parametrize("more", [(), ("--file-first",)])
def test_load_and_upstream_count_the_same_requests_and_bytes(mock: int, more: tuple[str, ...]) -> None:
    before = stats(mock)
    told = load(mock, "--path", workloads.FORM, "--form", 300_000, *more, "--connections", 7, "--requests", 50)
    after = stats(mock)
    assert told["requests"] == 50
    assert told["errors"] == told["abandoned"] == 0
    assert told["bytes_out"] == 50 * told["body"] > 50 * 300_000
    assert after["requests"] - before["requests"] == 50
    assert after["body_bytes"] - before["body_bytes"] == told["bytes_out"]
    assert after["open"] == 1  # the one that asks: load has closed its own


@needs_compiler
@pytest.mark.parametrize(
    ("model", "size"),
    [("tts-1", 4096), ("tts-1-mock-megabyte", workloads.MEGABYTE), ("tts-1-mock-paced", workloads.MEGABYTE)],
)
def test_answers_are_read_to_their_last_byte(mock: int, model: str, size: int) -> None:
    told = load(mock, "--speech", model, "--connections", 3, "--requests", 3)
    assert (told["requests"], told["errors"]) == (3, 0)
    assert told["bytes_in"] == 3 * size
    paced = "paced" in model
    assert (told["whole_ms"]["p50"] > 600) == paced, "64 chunks, 10 ms apart, take 630 ms"
    assert told["first_ms"]["p50"] < 300


@needs_compiler
def test_events_come_and_errors_are_counted(mock: int) -> None:
    told = load(mock, "--path", workloads.FORM, "--form", 3000, *workloads.EVENTS, "--connections", 1, "--requests", 2)
    assert (told["requests"], told["errors"]) == (2, 0)
    told = load(mock, "--get", "--path", "/nothing", "--connections", 2, "--requests", 6)
    assert (told["requests"], told["errors"]) == (0, 6)
    assert "status 404" in told["first_error"]


@needs_compiler
def test_a_slow_upstream_takes_its_time(mock: int) -> None:
    told = load(
        mock, "--path", workloads.FORM, "--form", 2_000_000, "--model", "whisper-1-mock-slow", "--connections", 2,
        "--requests", 2,
    )  # fmt: skip
    assert told["requests"] == 2
    assert told["whole_ms"]["p50"] >= 300, "2 MB at 6.5 MB/s each"


@needs_compiler
def test_nobody_there_is_an_error_and_an_end() -> None:
    told = load(programs.free_port(), *SPEECH, "--connections", 2, "--requests", 4)
    assert (told["requests"], told["errors"]) == (0, 4)


@needs_compiler
def test_callers_show_their_keys_in_turn(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("one\ntwo\nthree\n")
    heard: list[bytes] = []
    with closing(socket.create_server(("127.0.0.1", 0))) as server:

        def answer() -> None:
            line, _ = server.accept()
            with line:
                while data := line.recv(65536):  # a request is sent at once
                    heard.append(data)
                    line.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

        thread = threading.Thread(target=answer)
        thread.start()
        told = load(server.getsockname()[1], *SPEECH, "--keys", tmp_path / "keys", "--connections", 1, "--requests", 4)
        thread.join(5)
    assert told["requests"] == 4
    shown = [request.partition(b"Authorization: Bearer ")[2].partition(b"\r\n")[0] for request in heard]
    assert shown == [b"one", b"two", b"three", b"one"]


@needs_compiler
@pytest.mark.parametrize("size", [1, 7, 4096])
def test_the_upstream_reads_chunks_however_they_are_cut(mock: int, size: int) -> None:
    body = (
        b"".join(b"%x;x=y\r\n%s\r\n" % (len(piece), piece) for piece in (b"a" * 300, b"b" * 20)) + b"0\r\nt: 1\r\n\r\n"
    )
    request = b"POST /v1/audio/speech HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + body
    before = stats(mock)["body_bytes"]
    with closing(socket.create_connection(("127.0.0.1", mock), timeout=5)) as line:
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(0, len(request), size):
            line.sendall(request[at : at + size])
        assert line.recv(65536).startswith(b"HTTP/1.1 200 OK\r\n")
    assert stats(mock)["body_bytes"] - before == 320


@needs_compiler
def test_the_upstream_survives_nonsense(mock: int) -> None:
    before = stats(mock)["broken"]
    for nonsense in (
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"x" * 20_000,
        b"POST /v1/audio/speech HTTP/1.1\r\nContent-Length: 1\r\n\r\n" + b"a" * 40_000,
    ):
        with closing(socket.create_connection(("127.0.0.1", mock), timeout=5)) as line:
            line.sendall(nonsense)
            try:
                while line.recv(65536):
                    pass
            except ConnectionError:
                pass
    assert stats(mock)["broken"] > before
    assert load(mock, *SPEECH, "--connections", 1, "--requests", 1)["requests"] == 1


def test_the_gateway_understands_what_it_is_told(tmp_path: Path) -> None:
    path = tmp_path / "gateway.yaml"
    path.write_text(configs.audiogate("http://127.0.0.1:9", ours.key_texts(2), workers=2, store="redis://127.0.0.1:9"))
    found = load_config(path, {})
    assert len(found.keys) == 2
    assert all(key.limits for key in found.keys.values())
    assert all(found.upstream_limits.values())
    (upstream,) = found.market.upstreams
    for model in configs.MODELS:
        price = found.market.price(upstream, model)
        assert upstream.sent_model(model) == model
        assert price is not None, model
        assert price.origin == "common"


def test_every_bar_is_about_a_row_and_somebody_in_it() -> None:
    rows = {**{name: row.against for name, row in workloads.ROWS.items()}, "memory": (), "memory-used": (), "slow": ()}
    for bar in BARS:
        assert not bar.other or bar.other in rows[bar.row], bar
        assert not bar.than or bar.than in rows, bar
        assert not bar.added or "direct" in rows[bar.row], bar
    assert {who for against in rows.values() for who in against} <= set(CONTESTANTS)


SAMPLES = [
    {"row": "W1", "who": "audiogate", "per_second": 900.0, "cpu_ms": 0.1, "store_ms": 0.3, "requests": 9, "errors": 0},
    {"row": "W1", "who": "audiogate", "per_second": 1000.0, "cpu_ms": 0.1, "store_ms": 0.1, "requests": 9, "errors": 0},
    {"row": "W1", "who": "audiogate", "per_second": 5000.0, "cpu_ms": 0.1, "store_ms": 0.1, "requests": 9, "errors": 0},
    {"row": "W1", "who": "nginx", "per_second": 5000.0, "cpu_ms": 0.02, "store_ms": 0.0, "requests": 9, "errors": 0},
    {"row": "W1", "who": "litellm", "per_second": 9.0, "cpu_ms": 5.0, "store_ms": 0.0, "requests": 9, "errors": 0},
    {"row": "W1", "who": "portkey", "per_second": 1.0, "requests": 8, "errors": 1, "first_error": "status 500"},
    {"row": "paced-1", "who": "audiogate", "first_p50": 0.5, "requests": 9, "errors": 0},
    {"row": "paced-1", "who": "direct", "first_p50": 0.2, "requests": 9, "errors": 0},
]


def test_verdicts_follow_from_medians_and_what_failed_has_no_figure() -> None:
    found = {(one.bar.row, one.bar.measure, one.bar.other): one for one in verdicts(figures(SAMPLES))}
    litellm = found["W1", "per_second", "litellm"]
    assert (litellm.found, litellm.met, litellm.words) == (pytest.approx(1000 / 9), True, "met by 11 %")
    portkey = found["W1", "per_second", "portkey"]
    assert (portkey.found, portkey.words) == (None, "not measured")
    nginx = found["W1", "cpu_ms", "nginx"]
    assert (nginx.found, nginx.with_store) == (pytest.approx(5), pytest.approx(10))
    assert (nginx.met, nginx.words) == (False, "**missed** by 25 %")
    paced = found["paced-1", "first_p50", ""]
    assert (paced.found, paced.met) == (pytest.approx(0.3), True)
    assert ("W2", "cpu_ms", "nginx") not in found, "nothing was measured there"


def test_a_miss_by_far_is_told_as_a_multiple() -> None:
    assert Verdict(Bar("W1", "cpu_ms", 4, "nginx"), 40.0).words == "**missed** by 10.0 ×"


def test_the_report_shows_what_is_behind_and_what_failed() -> None:
    samples = [{**sample, "aside_busy": 0.5, "intact": sample["who"] != "litellm"} for sample in SAMPLES]
    facts = {"day": "2027-01-01", "length": "3 rounds of 1 s", "cpu": "A chip", "cores": 2, "memory_gb": 4,
             "kernel": "6.1", "python": "3.11", "versions": {"nginx": "1.22"}}  # fmt: skip
    text = report.report(facts, figures(samples), {"haproxy": "haproxy is not installed"})
    assert "Taken on 2027-01-01: 3 rounds of 1 s, medians. A chip, 2 cores" in text
    assert "| W1 | requests/s | **0.2** |  |  |  |" in text
    assert "| W1 | CPU per request | **5** |  |  |  |" in text
    assert "| W1 | Portkey | 1 of 9 failed: status 500 |" in text
    assert "| W1 | LiteLLM | bytes were lost |" in text
    assert "Not in this run: HAProxy, because haproxy is not installed." in text
    assert "| W1 | audiogate | 1,000 (900…5,000) | 0.1 | 0.1 (0.1…0.3) |" in text


def test_of_several_files_the_last_one_that_has_a_row_counts(tmp_path: Path) -> None:
    for at, (name, rows) in enumerate({"a": ("W1", "W2"), "b": ("W1",)}.items()):
        told = Results(tmp_path / name, {"day": "today", "rounds": at + 1, "seconds": 2.0, "versions": {name: "1"}})
        for row in rows:
            told.tell({"row": row, "who": "nginx", "per_second": float(at)})
    told.unfit("portkey", "it is not here")
    facts, samples, unfit = read([tmp_path / "a", tmp_path / "b"])
    assert {sample["row"]: sample["per_second"] for sample in samples} == {"W1": 1.0, "W2": 0.0}
    assert facts["length"] == "1 rounds of 2 s, 2 rounds of 2 s"
    assert facts["versions"] == {"a": "1", "b": "1"}
    assert unfit == {"portkey": "it is not here"}


def test_what_is_written_goes_between_the_marks_of_the_document() -> None:
    document = (ROOT / "docs" / "performance.md").read_text()
    once = report.put(document, "figures\n")
    assert "figures\n" in once
    assert report.put(once, "figures\n") == once
    assert once.startswith(document.partition(report.BEGIN)[0])
    assert once.endswith(document.partition(report.END)[2])
    with pytest.raises(ValueError, match="has no lines"):
        report.put("nothing", "figures")


def test_cpu_time_and_memory_of_a_process_are_seen() -> None:
    pid = os.getpid()
    assert pid in measure.family(pid)
    assert measure.family(pid, without=[pid]) == [one for one in measure.family(pid) if one != pid]
    before = measure.used([pid])
    while measure.used([pid]).cpu < before.cpu + 0.02:
        sum(range(10_000))
    with measure.memory(pid) as seen, mmap.mmap(-1, 20_000_000) as held:  # never from what the heap has left over
        held.write(bytes(20_000_000))
        while seen.growth <= 15:  # it looks every now and then
            time.sleep(0.001)
    assert seen.growth < 1_000
