"""When a configuration file counts as another one: written to, replaced, led elsewhere; and when it does not yet."""

import os
import pickle
from pathlib import Path

import pytest

from gateway.config.expand import files
from gateway.config.sight import Watch, sight


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A configuration file."""
    path = tmp_path / "gateway.yaml"
    path.write_text("port: 1")
    return path


def seen(watch: Watch, looks: int = 4) -> list[bool]:
    return [watch.changed() for _ in range(looks)]


def test_nothing_is_told_of_a_file_that_nobody_touches(file: Path) -> None:
    assert seen(Watch(sight(file))) == [False] * 4


def test_a_file_that_was_written_to_is_told_once_after_two_looks_that_see_the_same(file: Path) -> None:
    watch = Watch(sight(file))
    file.write_text("port: 22")
    assert seen(watch) == [False, True, False, False]


def test_what_was_written_before_the_first_look_is_told(file: Path) -> None:
    before = sight(file)
    file.write_text("port: 22")
    assert seen(Watch(before)) == [False, True, False, False]


def test_a_file_that_is_still_being_written_is_left_alone(file: Path) -> None:
    watch = Watch(sight(file))
    for size in range(3):
        file.write_text("port: 2" + "2" * size)
        assert watch.changed() is False
    assert seen(watch, 2) == [True, False]


def test_a_file_in_the_place_of_another_one_is_told_even_if_size_and_time_are_the_same(file: Path) -> None:
    watch, old = Watch(sight(file)), file.stat()
    new = file.with_name("new")
    new.write_text("port: 2")
    os.utime(new, ns=(old.st_atime_ns, old.st_mtime_ns))
    new.replace(file)
    assert file.stat().st_mtime_ns == old.st_mtime_ns
    assert seen(watch) == [False, True, False, False]


def test_a_mounted_folder_whose_link_leads_elsewhere_is_told(tmp_path: Path) -> None:
    for name, text in (("v1", "port: 1"), ("v2", "port: 2")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "gateway.yaml").write_text(text)
    (tmp_path / "..data").symlink_to("v1")
    path = tmp_path / "gateway.yaml"
    path.symlink_to("..data/gateway.yaml")
    watch = Watch(sight(path))
    (tmp_path / "..data_tmp").symlink_to("v2")
    (tmp_path / "..data_tmp").replace(tmp_path / "..data")
    assert seen(watch) == [False, True, False, False]


def test_what_holds_the_same_as_before_is_not_told(file: Path) -> None:
    watch = Watch(sight(file))
    os.utime(file, ns=(1, 1))
    assert seen(watch) == [False] * 4
    file.write_text("port: 1")
    assert seen(watch) == [False] * 4


def test_a_file_that_is_gone_is_told_and_so_is_its_return(file: Path) -> None:
    watch = Watch(sight(file))
    file.unlink()
    assert seen(watch) == [False, True, False, False]
    file.write_text("port: 1")
    assert seen(watch) == [False, True, False, False]


def test_a_secret_that_the_file_names_is_watched_too_and_one_that_is_not_there_yet(tmp_path: Path, file: Path) -> None:
    secrets = [tmp_path / "first", tmp_path / "second"]
    file.write_text("\n".join(f"key: ${{file:{one}}}" for one in secrets))
    secrets[0].write_text("a")
    watch = Watch(sight(file))
    secrets[0].write_text("bb")
    assert seen(watch) == [False, True, False, False]
    secrets[1].write_text("c")
    assert seen(watch) == [False, True, False, False]
    file.write_text("no: secret")
    assert seen(watch) == [False, True, False, False]
    secrets[0].write_text("nobody asks")
    assert seen(watch) == [False] * 4


def test_what_was_read_meanwhile_for_another_reason_is_not_told_again(file: Path) -> None:
    watch = Watch(sight(file))
    file.write_text("port: 22")
    assert watch.changed() is False
    watch.read = sight(file)
    assert seen(watch) == [False] * 4


def test_it_is_known_whether_the_file_has_moved_since(file: Path) -> None:
    before = sight(file)
    assert before.moved is False
    file.write_text("port: 22")
    assert before.moved is True
    assert sight(file).digest != before.digest
    assert pickle.loads(pickle.dumps(before)) == before


def test_a_pipe_is_never_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    found = sight(tmp_path / "pipe")  # would wait for ever
    assert found.stamps == (None,)
    assert seen(Watch(found)) == [False] * 4


def test_a_file_that_may_not_be_read_holds_nothing(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    readable = sight(file)
    monkeypatch.setattr(Path, "open", refuse)
    found = sight(file)
    assert found.stamps == readable.stamps
    assert found.digest != readable.digest


def test_the_files_that_a_text_names() -> None:
    assert files("a ${file:/x} $${file:/y} ${FILE} ${file:/z z}${file:/open") == ("/x", "/z z")
    assert Watch(sight(Path("nul\0byte"))).changed() is False
