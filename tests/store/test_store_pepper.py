"""The secret under which keys are digested: made once, by whoever comes first."""

import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from gateway.errors import SetupError
from gateway.store.pepper import BYTES, FILE, read_pepper

# Waits for a line, so that all processes go off together.
PROCESS = """
import sys
from pathlib import Path
from gateway.store.pepper import read_pepper
print("here", flush=True)
sys.stdin.readline()
print(read_pepper(Path(sys.argv[1])).hex(), flush=True)
"""


def test_it_is_made_once_and_read_ever_after(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    made = read_pepper(folder)
    assert len(made) == BYTES
    assert read_pepper(folder) == made == (folder / FILE).read_bytes()
    assert os.listdir(folder) == [FILE]
    assert read_pepper(tmp_path / "other") != made


def test_only_its_owner_may_read_it_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        read_pepper(tmp_path / "data")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "data" / FILE).stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700


def test_it_is_on_disk_before_anybody_reads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, sync, link = list[str](), os.fsync, os.link

    def synced(fd: int) -> None:
        seen.append("folder" if stat.S_ISDIR(os.fstat(fd).st_mode) else "file")
        sync(fd)

    def linked(old: Path, new: Path) -> None:
        seen.append("link")
        link(old, new)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "link", linked)
    read_pepper(tmp_path)
    read_pepper(tmp_path)
    assert seen == ["file", "link", "folder"]


def test_threads_at_once_get_the_same(tmp_path: Path) -> None:
    for turn in range(20):
        folder, barrier = tmp_path / str(turn), Barrier(20)

        def read(_: int, folder: Path = folder, barrier: Barrier = barrier) -> bytes:
            barrier.wait(10)
            return read_pepper(folder)

        with ThreadPoolExecutor(20) as pool:
            assert len(set(pool.map(read, range(20)))) == 1
        assert os.listdir(folder) == [FILE]


def test_processes_at_once_get_the_same(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PROCESS, str(tmp_path / "data")]
    children = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(20)]
    try:
        for child in children:
            assert child.stdout is not None
            assert child.stdout.readline() == "here\n"
        for child in children:
            assert child.stdin is not None
            child.stdin.write("\n")
            child.stdin.flush()
        found = {child.communicate(timeout=20)[0].strip() for child in children}
    finally:
        for child in children:
            child.kill()
            child.communicate()
    assert found == {(tmp_path / "data" / FILE).read_bytes().hex()}
    assert os.listdir(tmp_path / "data") == [FILE]


@pytest.mark.parametrize("size", [0, 1, BYTES - 1])
def test_a_file_that_is_too_short_is_refused_and_left_as_it_is(tmp_path: Path, size: int) -> None:
    (tmp_path / FILE).write_bytes(b"x" * size)
    with pytest.raises(SetupError, match="restore it from your back-up"):
        read_pepper(tmp_path)
    assert (tmp_path / FILE).read_bytes() == b"x" * size


def test_a_longer_one_of_the_operator_s_own_is_taken_whole(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"y" * 100)
    assert read_pepper(tmp_path) == b"y" * 100


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("in the way")
    for folder in (tmp_path / "data", tmp_path / "data" / "deeper"):
        with pytest.raises(SetupError, match=r"set store\.data to a folder"):
            read_pepper(folder)


def test_a_folder_in_place_of_the_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / FILE).mkdir()
    with pytest.raises(SetupError, match="cannot be used"):
        read_pepper(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_to_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(SetupError, match=r"set store\.data to a folder"):
            read_pepper(tmp_path)
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="there is no /proc, in which nobody can write")
def test_a_place_where_nobody_can_write_is_refused() -> None:
    for folder in (Path("/proc/audiogate"), Path("/proc/self/fd")):
        with pytest.raises(SetupError, match=r"set store\.data to a folder"):
            read_pepper(folder)
