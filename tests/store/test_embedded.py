import asyncio
import os
import re
import signal
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis.exceptions import RedisError

from gateway.errors import SetupError
from gateway.store.embedded import Embedded
from gateway.store.engine import Search, is_running, locked
from tests.servers import (
    EACH_ENGINE,
    client_of,
    data_folder,
    ended,
    engine_alone,
    gateways,
    heard,
    said_by,
    starts,
    tell,
    until,
)


@pytest.fixture
def folder() -> Iterator[Path]:
    with data_folder() as path:
        yield path


@pytest.fixture(params=EACH_ENGINE)
def search(request: pytest.FixtureRequest, tmp_path: Path) -> Search:
    return engine_alone(request.param, tmp_path)


async def test_processes_that_start_at_once_share_one_server_and_the_last_one_stops_it(folder, search):
    with gateways(4, folder, search) as processes:
        for process in processes:
            tell(process, "start")
        urls = {heard(process) for process in processes}
        assert urls == {f"unix://{folder}/store.sock"}
        (url,) = urls
        assert starts(folder) == 1
        server = int(await said_by(url, "process_id"))
        assert server == int((folder / "store.pid").read_text())
        assert server not in {process.pid for process in processes}
        for process in processes[:3]:
            tell(process, "stop")
            assert heard(process) == "None"
        assert int(await said_by(url, "process_id")) == server, "a user is left, so it has to stay"
        tell(processes[3], "stop")
        assert heard(processes[3]) == "None"
    await until(lambda: ended(server))
    assert not is_running(folder)
    assert not (folder / "store.sock").exists()
    assert starts(folder) == 1


async def test_the_server_survives_killed_gateways_and_the_next_start_finds_it_with_everything_in_it(folder, search):
    with gateways(2, folder, search) as processes:
        for process in processes:
            tell(process, "start")
        (url,) = {heard(process) for process in processes}
        async with client_of(url) as client:
            await client.set("kept", "yes")
        run = await said_by(url, "run_id")
        for process in processes:
            process.kill()
            process.wait()
    store = Embedded(folder, search=search)
    assert await store.start() == url
    assert await said_by(url, "run_id") == run
    async with client_of(url) as client:
        assert await client.get("kept") == b"yes"
    await store.stop()
    assert not is_running(folder), "killed gateways do not count as users"


async def test_a_killed_server_loses_no_acknowledged_write_and_any_process_brings_it_back(folder, search):
    """With `everysec` it can: while it syncs, it answers and writes later."""
    first, second = (Embedded(folder, search=search, fsync="always") for _ in range(2))
    url = await first.start()
    assert await second.start() == url
    server = int(await said_by(url, "process_id"))
    acknowledged: list[str] = []

    async def write(writer: int) -> None:
        async with client_of(url) as client:
            for number in range(1_000_000):
                try:
                    await client.sadd("written", f"{writer}:{number}")
                except (RedisError, OSError):
                    return
                acknowledged.append(f"{writer}:{number}")

    async with asyncio.TaskGroup() as group:
        for writer in range(4):
            group.create_task(write(writer))
        await until(lambda: len(acknowledged) > 400)
        os.kill(server, signal.SIGKILL)
    await asyncio.gather(first.ensure(), second.ensure())
    async with client_of(url) as client:
        written = {member.decode() for member in await client.smembers("written")}
    assert set(acknowledged) <= written
    assert len(written) - len(acknowledged) <= 4, "at most one write per writer was done but not acknowledged"
    assert starts(folder) == 2
    await first.stop()
    await second.stop()
    assert not is_running(folder)


async def test_what_was_stored_is_there_after_a_stop_and_a_start(folder, search):
    store = Embedded(folder, search=search)
    async with client_of(await store.start()) as client:
        await client.hset("team", mapping={"spent": "12.5"})
    await store.stop()
    assert not is_running(folder)
    async with client_of(await store.start()) as client:
        assert await client.hgetall("team") == {b"spent": b"12.5"}
    await store.stop()
    assert starts(folder) == 2


async def test_a_server_that_is_still_loading_is_waited_for(folder, search):
    store = Embedded(folder, search=search, fsync="no")
    url = await store.start()
    async with client_of(url) as client:
        await client.eval("for i = 1, 150000 do redis.call('SET', 'key:' .. i, string.rep('x', 40)) end", 0)
    os.kill(int(await said_by(url, "process_id")), signal.SIGKILL)
    await store.ensure()
    async with client_of(url) as client:
        assert await client.dbsize() == 150_000
    await store.stop()


async def test_nobody_loses_the_server_while_others_come_and_go(folder, search):
    async def come_and_go(name: str) -> None:
        store = Embedded(folder, search=search, fsync="no")
        for _ in range(12):
            async with client_of(await store.start()) as client:
                for _ in range(5):
                    await client.incr(name)
            await store.stop()

    await asyncio.gather(*(come_and_go(name) for name in "abc"))
    store = Embedded(folder, search=search)
    async with client_of(await store.start()) as client:
        assert await client.mget("a", "b", "c") == [b"60"] * 3
    await store.stop()


async def test_a_running_server_takes_over_the_durability_asked_for_last(folder, search):
    careless, careful = Embedded(folder, search=search, fsync="no"), Embedded(folder, search=search, fsync="always")
    url = await careless.start()
    async with client_of(url) as client:
        assert await client.config_get("appendfsync") == {"appendfsync": "no"}
        await careful.start()
        assert await client.config_get("appendfsync") == {"appendfsync": "always"}
    await careless.stop()
    await careful.stop()


async def test_a_server_that_hangs_or_lost_its_socket_gets_no_rival(folder, search):
    store = Embedded(folder, search=search)
    url = await store.start()
    server = int(await said_by(url, "process_id"))
    os.kill(server, signal.SIGSTOP)
    async with asyncio.TaskGroup() as group:
        healing = group.create_task(store.ensure())
        done, _ = await asyncio.wait([healing], timeout=1.2)  # longer than one unanswered PING
        assert not done
        os.kill(server, signal.SIGCONT)
    assert int(await said_by(url, "process_id")) == server
    (folder / "store.sock").unlink()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(store.ensure(), 0.2)
    assert starts(folder) == 1, "two servers would write one append-only file"
    os.kill(server, signal.SIGTERM)
    await store.ensure()
    assert starts(folder) == 2
    await store.stop()


async def test_nothing_is_brought_back_before_start_or_after_stop(folder, search):
    store = Embedded(folder, search=search)
    await store.ensure()
    await store.stop()
    assert not folder.exists()
    await store.start()
    await store.stop()
    await store.ensure()
    await store.stop()
    assert not is_running(folder)


async def test_starting_twice_counts_as_one_user(folder, search):
    store = Embedded(folder, search=search)
    assert await store.start() == await store.start()
    await store.stop()
    assert not is_running(folder)


async def test_a_start_that_is_cancelled_while_it_waits_leaves_no_lock_behind(folder, search):
    store = Embedded(folder, search=search)
    with locked(folder, "start.lock"), pytest.raises(TimeoutError):
        await asyncio.wait_for(store.start(), 0.05)
    assert await store.start()
    await store.stop()
    assert not is_running(folder)


async def test_a_folder_with_a_path_too_long_for_a_socket_is_reached_through_a_link(folder, search, monkeypatch):
    temporary = folder.parent / "tmp"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    deep = folder / ("x" * 60) / ("y" * 60)
    store = Embedded(deep, search=search)
    url = await store.start()
    assert re.fullmatch(rf"unix://{temporary}/audiogate-{os.getuid()}/[0-9a-f]{{16}}/store\.sock", url)
    assert stat.S_IMODE((temporary / f"audiogate-{os.getuid()}").stat().st_mode) == 0o700
    async with client_of(url) as client:
        assert await client.config_get("dir") == {"dir": str(deep)}
    Path(url.removeprefix("unix://")).parent.unlink()  # as a clean-up of the temporary folder does
    await store.ensure()
    assert await said_by(url, "process_id")
    assert starts(deep) == 1
    await store.stop()
    assert not is_running(deep)


async def test_a_temporary_folder_that_others_may_enter_is_not_trusted(folder, search, monkeypatch):
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    (folder / f"audiogate-{os.getuid()}").mkdir()
    (folder / f"audiogate-{os.getuid()}").chmod(0o755)
    with pytest.raises(SetupError, match="choose a data folder with a shorter path"):
        await Embedded(folder / ("x" * 120), search=search).start()


async def test_a_path_with_odd_characters_survives_in_the_url(folder, search):
    odd = folder / "a \"b' %41?#c ü"
    store = Embedded(odd, search=search)
    async with client_of(await store.start()) as client:
        assert await client.config_get("dir") == {"dir": str(odd)}
    await store.stop()
