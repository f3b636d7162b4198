"""What the doctor says of the software, the folders and the limits of the machine."""

import os
import resource
import ssl
import sys
from collections import namedtuple
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.config.model import Uploads
from gateway.doctor import machine
from gateway.doctor.finding import Scene
from gateway.doctor.machine import data_folder, filesystem, open_files, size, software, uploads
from tests.running import configured

Usage = namedtuple("Usage", "total used free")
GIB = 1024**3


def of(data: Path, **more: object) -> Scene:
    config = configured(data, **more)  # type: ignore[arg-type]
    return Scene(data / "gateway.yaml", {}, lambda: 0.0, config)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Make the disks have so many bytes left."""

    def have(free: int) -> None:
        monkeypatch.setattr(machine.shutil, "disk_usage", lambda _: Usage(free * 2, free, free))

    return have


@pytest.fixture
def mounts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Make the system tell these mounts."""

    def have(text: str) -> None:
        (tmp_path / "mounts").write_text(text)
        monkeypatch.setattr(machine, "MOUNTS", tmp_path / "mounts")

    return have


def test_the_software_that_runs_this_is_recent_enough_or_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (one,) = software(of(tmp_path))
    assert (one.verdict, sys.version.split()[0] in one.what) == ("ok", True)
    monkeypatch.setattr(ssl, "OPENSSL_VERSION_INFO", (1, 1, 1, 0, 0))
    monkeypatch.setattr(sys, "version_info", (3, 10, 9))
    assert [one.verdict for one in software(of(tmp_path))] == ["problem", "warning"]


def test_the_limit_of_open_files_is_held_against_what_may_be_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = 10_000 + 2 * 2000 + 256
    for hard, verdict in (
        (wanted, "ok"),
        (resource.RLIM_INFINITY, "ok"),
        (wanted - 1, "warning"),
    ):
        monkeypatch.setattr(resource, "getrlimit", lambda _, hard=hard: (1024, hard))
        (one,) = open_files(of(tmp_path))
        assert one.verdict == verdict
    assert f"LimitNOFILE={wanted}" in one.remedy


def test_a_data_folder_is_looked_at_and_never_made(tmp_path: Path, disk: Callable[[int], None]) -> None:
    disk(5 * GIB)
    scene = of(tmp_path / "not/there")
    (one,) = data_folder(scene)
    assert one.verdict == "ok"
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_up_is_a_warning_and_a_full_one_a_problem(
    tmp_path: Path, disk: Callable[[int], None], mounts: Callable[[str], None]
) -> None:
    mounts("")
    for free, verdict in ((GIB, "ok"), (GIB - 1, "warning"), (64 * 1024**2 - 1, "problem")):
        disk(free)
        (one,) = data_folder(of(tmp_path))
        assert one.verdict == verdict


@pytest.mark.parametrize(("kind", "words"), [("tmpfs", "in memory"), ("nfs4", "on another machine")])
def test_a_data_folder_that_does_not_last_is_a_warning(
    tmp_path: Path, mounts: Callable[[str], None], disk: Callable[[int], None], kind: str, words: str
) -> None:
    disk(5 * GIB)
    mounts(f"/dev/a / ext4 rw 0 0\nx {tmp_path} {kind} rw 0 0\nx {tmp_path}-other ext4 rw 0 0\n")
    (one,) = data_folder(of(tmp_path / "data"))
    assert (one.verdict, words in one.what) == ("warning", True)
    assert one.remedy


def test_a_folder_that_is_none_or_closed_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    for data in (tmp_path / "file", tmp_path / "file/in it"):
        (one,) = data_folder(of(data))
        assert (one.verdict, "is no folder" in one.what) == ("problem", True)
    gone = Uploads(folder=tmp_path / "gone")
    (one,) = uploads(of(tmp_path, uploads=gone))
    assert (one.verdict, "is not there" in one.what) == ("problem", True)
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may do anything
    for found in (data_folder(of(tmp_path)), uploads(of(tmp_path))):
        assert [one.verdict for one in found] == ["problem"]
        assert "chown" in found[0].remedy


def test_the_room_for_uploads_is_held_against_what_may_be_kept(
    tmp_path: Path, disk: Callable[[int], None], mounts: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    mounts(f"/dev/a / ext4 rw 0 0\nx {tmp_path} ext4 rw 0 0\n")
    bounds = Uploads(total_bytes=2 * GIB, folder=tmp_path)
    for free, verdict in ((2 * GIB, "ok"), (GIB, "warning"), (1_000_000, "problem")):
        disk(free)
        (one,) = uploads(of(tmp_path, uploads=bounds))
        assert one.verdict == verdict
    disk(9 * GIB)
    mounts(f"/dev/a / ext4 rw 0 0\nx {tmp_path} tmpfs rw 0 0\n")
    monkeypatch.setattr(machine, "_memory", lambda: 3 * GIB)
    (one,) = uploads(of(tmp_path, uploads=bounds))
    assert (one.verdict, "2.0 GiB of uploads would take most of the 3.0 GiB" in one.what) == ("warning", True)
    (one,) = uploads(of(tmp_path, uploads=replace(bounds, total_bytes=GIB)))
    assert one.verdict == "ok"


def test_the_file_system_is_that_of_the_nearest_mount(tmp_path: Path, mounts: Callable[[str], None]) -> None:
    mounts(f"a / ext4 rw\nb {tmp_path}/a xfs rw\nc {tmp_path}/a\\040b tmpfs rw\nd {tmp_path}/a nfs rw\n")
    assert filesystem(tmp_path / "a/b") == "nfs"  # what was mounted last hides the others
    assert filesystem(tmp_path / "a b/c") == "tmpfs"
    assert filesystem(tmp_path / "ab") == "ext4"


def test_without_a_list_of_mounts_the_kind_is_not_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "MOUNTS", tmp_path / "none")
    assert filesystem(tmp_path) == ""
    assert machine._memory() > GIB // 4


def test_sizes_are_written_as_people_read_them() -> None:
    assert [size(count) for count in (0, 5 * 1024**2, 1536 * 1024**2)] == ["0 MiB", "5 MiB", "1.5 GiB"]
