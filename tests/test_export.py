"""`audiogate export` as a process: killed at any moment, run twice at once, against what the gateway really did."""

import asyncio
import csv
import io
import json
import random
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.launched import COMMAND, config_of, environment, room, run, until

MANY = 12_000


@pytest.fixture
def folder() -> Iterator[Path]:
    """A room of its own."""
    with room() as one:
        yield one


def config(folder: Path, url: str) -> str:
    """A configuration of nothing but the store."""
    return config_of(
        folder,
        f"store: {{url: '{url}', data: data}}",
        "upstreams: {a: {kind: openai, base_url: 'http://127.0.0.1:9/v1', allow_private: true, models: [m]}}",
        "prices: {m: free}",
    )


def fill(url: str, count: int = MANY) -> list[str]:
    """Records of about the usual length; returns their ids."""
    ids = [f"req_{number:032x}" for number in range(count)]
    with redis.Redis.from_url(url) as client:
        pipe = client.pipeline(transaction=False)
        for number, rid in enumerate(ids):
            pipe.xadd("{ag}:usage", {"id": rid, "model": "whisper-1", "path": "/v1/" + "x" * 300}, id=f"{number + 1}-0")
        pipe.execute()
    return ids


def ids_in(path: Path) -> list[str]:
    if path.suffix == ".csv":
        return [row["id"] for row in csv.DictReader(io.StringIO(path.read_text(), newline=""), strict=True)]
    return [json.loads(line)["id"] for line in path.read_text().splitlines()]


def started(folder: Path, *arguments: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [*COMMAND, "export", "-c", "gateway.yaml", *arguments],
        cwd=folder,
        env=environment(folder),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@pytest.mark.parametrize("form", ["jsonl", "csv"])
async def test_killed_again_and_again_it_loses_and_doubles_nothing(folder: Path, store_url: str, form: str) -> None:
    config(folder, store_url)
    ids = fill(store_url)
    path, kills = folder / f"usage.{form}", 0
    arguments = ("--to", path.name, "--format", form)
    size, dice = 0, random.Random(1)
    while True:
        process = started(folder, *arguments)
        enough = size + dice.randrange(1, 1_500_000)
        await until(
            lambda: process.poll() is not None or (path.exists() and path.stat().st_size > enough)  # noqa: B023
        )
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            kills += 1
        process.communicate()
        size = path.stat().st_size
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL
    assert kills >= 2
    assert run(folder, "export", "-c", "gateway.yaml", *arguments).returncode == 0
    assert ids_in(path) == ids
    with redis.Redis.from_url(store_url) as client:
        assert client.hget("{ag}:exported", "cursor") == f"{MANY}-0".encode()


async def test_of_two_at_once_one_writes_and_the_other_says_why_not(folder: Path, store_url: str) -> None:
    config(folder, store_url)
    ids = fill(store_url)
    both = [started(folder, "--to", "usage.jsonl") for _ in range(2)]
    told = [(await asyncio.to_thread(one.communicate))[1].decode() for one in both]
    for one, words in zip(both, told, strict=True):
        if one.returncode:
            assert one.returncode == 1
            assert words == "audiogate: Another export writes to usage.jsonl now; wait for it, or name another file.\n"
    assert 0 in [one.returncode for one in both]
    assert ids_in(folder / "usage.jsonl") == ids


def test_standard_output_goes_page_by_page_and_commits_what_it_is_told(folder: Path, store_url: str) -> None:
    path = config(folder, store_url)
    ids = fill(store_url, 5)

    def export(*arguments: str, code: int = 0) -> "subprocess.CompletedProcess[str]":
        done = run(folder, "export", "-c", path, *arguments)
        assert done.returncode == code, done.stderr
        return done

    done = export("--to", "-")
    assert [json.loads(line)["id"] for line in done.stdout.splitlines()] == ids
    assert done.stderr == "5 records; once they are safe: audiogate export --commit 5-0\n"
    assert export("--to", "-").stdout == done.stdout, "nothing was committed"
    after = export("--to", "-", "--after", "3-0", "--format", "csv").stdout
    assert [row["id"] for row in csv.DictReader(io.StringIO(after, newline=""))] == ids[3:]
    assert export("--commit", "3-0").stdout == ""
    done = export("--to", "-", "--commit", "4-0")
    assert [json.loads(line)["cursor"] for line in done.stdout.splitlines()] == ["5-0"]
    assert "4-0 is committed already" in export("--commit", "2-0", code=1).stderr
    assert "No record has the cursor 6-0 yet" in export("--commit", "6-0", code=1).stderr
    assert export("--to", "-", "--commit", "5-0").stderr == "0 records\n"
    assert export("--to", "usage.jsonl").stdout == "0 records were added to usage.jsonl, which ends with 5-0.\n"
    assert export("--to", "all.jsonl", "--after", "0-0").stdout == (
        "5 records were added to all.jsonl, which ends with 5-0.\n"
    )
    with redis.Redis.from_url(store_url, decode_responses=True) as client:
        deeds = [fields for _, fields in client.xrange("{ag}:audit")]
    assert {deed["door"] for deed in deeds} == {"cli"}
    assert [(deed["action"], deed["what"], deed["result"]) for deed in deeds][2:6] == [
        ("export.read", "3-0", "ok"),
        ("export.commit", "3-0", "ok"),
        ("export.commit", "4-0", "ok"),
        ("export.read", "4-0", "ok"),
    ]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "name a file, or - for standard output"),
        (("--to", "x", "--format", "xml"), "'xml' is not one of"),
        (("--to", "-", "--after", "x"), "expected a cursor such as 1767225600000-0, got 'x'"),
        (("--commit", "5"), "expected a cursor such as 1767225600000-0, got '5'"),
        (("--to", "x", "--commit", "5-0"), "a file is committed as it is written"),
        (("x",), "unexpected extra argument"),
    ],
)
def test_wrong_usage_is_told_with_code_2(folder: Path, arguments: tuple[str, ...], words: str) -> None:
    path = config(folder, "unix:///nowhere")
    done = run(folder, "export", "-c", path, *arguments)
    assert done.returncode == 2
    assert words in " ".join(done.stderr.replace("│", " ").split())
    assert not (folder / "x").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--to", "-", "--shard", "1"), "Invalid value for 'shard': name one shard, 0 to 0"),
        (("--to", "/dev/null"), "/dev/null is no file; write to standard output with --to -."),
        (("--to", "nowhere/x"), "nowhere/x cannot be opened (No such file or directory); name a file that can be"),
        (("--to", "gateway.yaml"), "gateway.yaml does not end like an export as jsonl, so it is left as it is;"),
    ],
)
def test_what_cannot_be_done_is_one_sentence_with_code_1(
    folder: Path, store_url: str, arguments: tuple[str, ...], words: str
) -> None:
    path = config(folder, store_url)
    before = Path(path).read_bytes()
    done = run(folder, "export", "-c", path, *arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"audiogate: {words}")
    assert len(done.stderr.splitlines()) == 1
    assert Path(path).read_bytes() == before


def test_a_store_that_is_away_is_told_and_the_file_stays(folder: Path) -> None:
    path = config(folder, "unix:///nowhere/store.sock")
    done = run(folder, "export", "-c", path, "--to", "usage.jsonl")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert (folder / "usage.jsonl").read_bytes() == b""


def test_who_reads_standard_output_may_go_away(folder: Path, store_url: str) -> None:
    config(folder, store_url)
    fill(store_url)
    process = started(folder, "--to", "-")
    assert process.stdout
    process.stdout.read(100)
    process.stdout.close()
    assert process.wait(20) == 1
    assert process.stderr
    assert b"Traceback" not in process.stderr.read()
    process.stderr.close()
