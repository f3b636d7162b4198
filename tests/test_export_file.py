"""An export is exactly once: whatever byte a crash came at, however often it is run, whoever else runs it."""

import csv
import io
import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from itertools import count
from pathlib import Path

import pytest
import redis

from gateway.cli import export_file
from gateway.cli.export import add
from gateway.cli.export_file import opened
from gateway.config.model import Usage
from gateway.errors import Refused, SetupError
from gateway.metrics import Metrics
from gateway.policy.exports import Form, head_of
from gateway.store.books import Books
from gateway.store.connection import Connection
from gateway.store.history import History
from gateway.store.roll import Roll
from gateway.store.stream import Stream
from gateway.store.totals import Totals

FORMS: tuple[Form, ...] = ("jsonl", "csv")
RECORDS = 7
ODD = ["", "=1+1", 'a "b", c', "two\r\nlines\\n", "语 \x00 \x1b[31m"]


class Crash(BaseException):
    """The process ends here; nothing may catch this."""


@pytest.fixture
async def books(store_url: str) -> AsyncIterator[Books]:
    """The books of a store with RECORDS records."""
    with redis.Redis.from_url(store_url) as client:
        for number in range(RECORDS):
            client.xadd("{ag}:usage", {"id": f"r{number}", "model": ODD[number % len(ODD)]}, id=f"{number + 1}-0")
    metrics = Metrics(models=(), teams=())
    connection = Connection(store_url, metrics)
    try:
        history = History(connection, Usage(), metrics=metrics)
        yield Books(Totals(connection), history, Roll(connection, door="cli"))
    finally:
        await connection.close()


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several visits to the disk for a few records."""
    monkeypatch.setattr("gateway.store.stream.AT_ONCE", 2)
    monkeypatch.setattr("gateway.cli.export.AT_ONCE", 3)


async def run(books: Books, path: Path, form: Form, after: str = "") -> int:
    """One run of the command, in this process."""
    with opened(path, form) as file:
        return (await add(books, books.history.stream(), file, after))[0]


def cursors(path: Path, form: Form) -> list[str]:
    text = path.read_bytes().decode()
    if form == "csv":
        return [row["cursor"] for row in csv.DictReader(io.StringIO(text, newline=""), strict=True)]
    return [json.loads(line)["cursor"] for line in text.splitlines(keepends=False) if line] if text else []


ALL = [f"{number + 1}-0" for number in range(RECORDS)]


@pytest.mark.parametrize("form", FORMS)
async def test_each_record_is_there_once_however_often_it_is_run(
    books: Books, tmp_path: Path, store_url: str, form: Form
) -> None:
    path = tmp_path / "usage"
    assert await run(books, path, form) == RECORDS
    whole = path.read_bytes()
    assert whole.startswith(head_of(form))
    assert cursors(path, form) == ALL
    assert await books.history.stream().cursor() == ALL[-1]
    assert await run(books, path, form) == 0
    assert path.read_bytes() == whole
    with redis.Redis.from_url(store_url) as client:
        client.xadd("{ag}:usage", {"id": "later"}, id="99-5")
    assert await run(books, path, form) == 1
    assert path.read_bytes().startswith(whole)
    assert cursors(path, form) == [*ALL, "99-5"]
    assert path.stat().st_mode & 0o777 == 0o640
    (deed, older) = await books.roll.audit(2)
    assert (deed.action, deed.what, older.action, older.what) == ("export.commit", "99-5", "export.commit", "7-0")


@pytest.mark.parametrize("committed", ["nothing", "all that is whole"])
@pytest.mark.parametrize("form", FORMS)
async def test_a_file_cut_off_at_any_byte_is_made_whole(
    books: Books, tmp_path: Path, store_url: str, form: Form, committed: str
) -> None:
    """Killed while it wrote (a torn line), before fsync or before the commit: the file is any beginning of it."""
    path = tmp_path / "usage"
    await run(books, path, form)
    whole = path.read_bytes()
    with redis.Redis.from_url(store_url) as client:
        for size in range(len(whole) + 1):
            client.delete("{ag}:exported")
            path.write_bytes(whole[: whole.rfind(b"\n", 0, size) + 1])
            has = cursors(path, form)
            if has and committed != "nothing":
                client.hset("{ag}:exported", "cursor", has[-1])
            path.write_bytes(whole[:size])
            assert await run(books, path, form) == RECORDS - len(has), size
            assert path.read_bytes() == whole, size
            assert client.hget("{ag}:exported", "cursor") == ALL[-1].encode(), size


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("how", ["half written", "unwritten", "before fsync", "after fsync", "before the commit"])
async def test_a_crash_at_every_step_loses_and_doubles_nothing(
    books: Books, tmp_path: Path, form: Form, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, stream, crashes = tmp_path / "usage", books.history.stream(), 0
    for step in range(1, 20):
        with monkeypatch.context() as patch, suppress(Crash):
            crash_at(step, how, stream, patch)
            await run(books, path, form)
            crashes -= 1
        crashes += 1
        committed = await stream.cursor()
        assert not committed or committed in cursors_whole(path, form), "what is committed is in the file"
    await run(books, path, form)
    assert cursors(path, form) == ALL
    assert await stream.cursor() == ALL[-1]
    assert 1 <= crashes < 19, "some runs crashed and some came through"


def crash_at(step: int, how: str, stream: Stream, patch: pytest.MonkeyPatch) -> None:
    """Have the process end at such a call, the `step`-th time that it comes."""
    steps, write, fsync, commit = count(1), os.write, os.fsync, stream.commit

    def perhaps(*where: str) -> None:
        if how in where and next(steps) == step:
            raise Crash

    def crashing_write(fd: int, data: bytes) -> int:
        perhaps("unwritten")
        done = write(fd, data[: len(data) // 2])
        perhaps("half written")
        return done + write(fd, data[done:])

    def crashing_fsync(fd: int) -> None:
        perhaps("before fsync")
        fsync(fd)
        perhaps("after fsync")

    async def crashing_commit(cursor: str) -> object:
        perhaps("before the commit")
        return await commit(cursor)

    patch.setattr(export_file.os, "write", crashing_write)
    patch.setattr(export_file.os, "fsync", crashing_fsync)
    patch.setattr(stream, "commit", crashing_commit)


def cursors_whole(path: Path, form: Form) -> list[str]:
    """The cursors of the whole lines of a file."""
    data = path.read_bytes()
    lines = data[: data.rfind(b"\n") + 1].decode().splitlines()
    if form == "csv":
        return [line.partition(",")[0] for line in lines[1:]]
    return [json.loads(line)["cursor"] for line in lines]


async def test_a_full_disk_is_told_and_the_next_run_goes_on(
    books: Books, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, write = tmp_path / "usage", os.write

    def full(fd: int, data: bytes) -> int:
        if len(data) < 20:
            raise OSError(28, "No space left on device")
        return write(fd, data[: len(data) // 2])

    with monkeypatch.context() as patch:
        patch.setattr(export_file.os, "write", full)
        with pytest.raises(SetupError, match=r"usage cannot be written \(No space left on device\); put that right"):
            await run(books, path, "jsonl")
    assert path.read_bytes()
    await run(books, path, "jsonl")
    assert cursors(path, "jsonl") == ALL


@pytest.mark.parametrize("form", FORMS)
async def test_a_new_file_begins_where_the_last_one_ended(
    books: Books, tmp_path: Path, store_url: str, form: Form
) -> None:
    await run(books, tmp_path / "january", form)
    assert await run(books, tmp_path / "february", form) == 0
    with redis.Redis.from_url(store_url) as client:
        client.xadd("{ag}:usage", {"id": "later"}, id="99-5")
    assert await run(books, tmp_path / "february", form) == 1
    assert cursors(tmp_path / "february", form) == ["99-5"]
    assert await run(books, tmp_path / "all", form, after="0-0") == RECORDS + 1
    assert await run(books, tmp_path / "january", form) == 1, "a file is whole by itself"
    assert cursors(tmp_path / "january", form) == cursors(tmp_path / "all", form) == [*ALL, "99-5"]
    assert await books.history.stream().cursor() == "99-5"


async def test_after_skips_on_purpose_and_never_doubles(books: Books, tmp_path: Path) -> None:
    path = tmp_path / "usage"
    assert await run(books, path, "jsonl", after="2-0") == 5
    with pytest.raises(SetupError, match="The file has everything up to 7-0 already"):
        await run(books, path, "jsonl", after="3-0")
    assert cursors(path, "jsonl") == ALL[2:]


FOREIGN: dict[str, tuple[bytes, Form]] = {
    "notes": (b"do not lose me\n", "jsonl"),
    "notes without an end": (b"do not lose me", "jsonl"),
    "another JSON": (b'{"id": 1}\n', "jsonl"),
    "another CSV": (b"cursor,id\r\n1-0,x\r\n", "csv"),
    "CSV for JSON": (head_of("csv"), "jsonl"),
    "JSON for CSV": (b'{"cursor": "1-0"}\n', "csv"),
    "zeros": (bytes(100), "jsonl"),
}


@pytest.mark.parametrize("what", FOREIGN)
async def test_a_file_of_something_else_is_left_as_it_is(books: Books, tmp_path: Path, what: str) -> None:
    content, form = FOREIGN[what]
    path = tmp_path / "usage"
    path.write_bytes(content)
    with pytest.raises(SetupError, match=f"does not end like an export as {form}, so it is left as it is"):
        await run(books, path, form)
    assert path.read_bytes() == content


async def test_a_torn_end_may_be_anything_behind_a_line_of_ours(books: Books, tmp_path: Path) -> None:
    path = tmp_path / "usage"
    await run(books, path, "jsonl")
    whole = path.read_bytes()
    for torn in (bytes(5000), b"x" * 200_000, b'{"cursor": "8-0"}'):
        path.write_bytes(whole + torn)
        assert await run(books, path, "jsonl") == 0
        assert path.read_bytes() == whole


async def test_long_lines_are_found_from_the_end(books: Books, tmp_path: Path, store_url: str) -> None:
    with redis.Redis.from_url(store_url) as client:
        for number in range(3):
            client.xadd("{ag}:usage", {"id": "long", "path": "y" * (65_536 * number + 65_500)}, id=f"{50 + number}-0")
    path = tmp_path / "usage"
    await run(books, path, "csv")
    for _ in range(2):
        assert await run(books, path, "csv") == 0
    assert cursors_whole(path, "csv") == [*ALL, "50-0", "51-0", "52-0"]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: path.mkdir(), "cannot be opened"),
        (lambda path: os.mkfifo(path), "is no file; write to standard output with --to -"),
        (lambda path: path.symlink_to(path.parent / "nowhere" / "x"), "cannot be opened"),
    ],
    ids=["a folder", "a pipe", "a dead link"],
)
async def test_what_is_no_file_is_told(books: Books, tmp_path: Path, make: Callable[[Path], None], words: str) -> None:
    make(tmp_path / "usage")
    with pytest.raises(SetupError, match=words):
        await run(books, tmp_path / "usage", "jsonl")


async def test_two_at_once_on_one_file_is_one_too_many(books: Books, tmp_path: Path) -> None:
    path = tmp_path / "usage"
    with opened(path, "jsonl"):
        with pytest.raises(SetupError, match="usage now; wait for it, or name another file"):
            await run(books, path, "jsonl")
        assert path.read_bytes() == b""
    assert await run(books, path, "jsonl") == RECORDS


async def test_a_store_older_than_the_file_is_told_and_nothing_is_written(
    books: Books, tmp_path: Path, store_url: str
) -> None:
    path = tmp_path / "usage"
    await run(books, path, "jsonl")
    whole = path.read_bytes()
    with redis.Redis.from_url(store_url) as client:
        client.flushall()
        client.xadd("{ag}:usage", {"id": "r"}, id="3-0")
    with pytest.raises(SetupError, match="ends with 7-0, and the store never had such a record: it is another store"):
        await run(books, path, "jsonl")
    assert path.read_bytes() == whole


async def test_records_that_went_before_they_were_exported_are_not_passed_over_in_silence(
    books: Books, tmp_path: Path, store_url: str
) -> None:
    path = tmp_path / "usage"
    metrics = Metrics(models=(), teams=())
    connection = Connection(store_url, metrics)
    await run(books, path, "jsonl")
    with redis.Redis.from_url(store_url) as client:
        client.xadd("{ag}:usage", {"id": "x"}, id="8-0")
        await History(connection, Usage(keep=3600, trim="always"), metrics=metrics).trim()
        client.xadd("{ag}:usage", {"id": "y"})
    await connection.close()
    with pytest.raises(Refused, match=r"behind 7-0 are gone: .* let go of all up to 8-0; go on from"):
        await run(books, path, "jsonl")
    assert cursors(path, "jsonl") == ALL
    assert await run(books, path, "jsonl", after="8-0") == 1
