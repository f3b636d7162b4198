"""When a change is done: what our own server has yet to write is waited for, another one is asked what it knows."""

import os
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

import pytest

from gateway.errors import Refused
from gateway.store.connection import Connection
from gateway.store.durable import on_disk
from gateway.store.embedded import Embedded
from tests.servers import EACH_ENGINE, Server, data_folder, engine_alone, listening
from tests.store.conftest import Rooms, rooms_on


@pytest.fixture(params=EACH_ENGINE)
async def ours(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Connection]:
    """A connection to an embedded store."""
    with data_folder() as folder:
        store = Embedded(folder, search=engine_alone(request.param, tmp_path))
        try:
            async with rooms_on(await store.start()) as rooms:
                yield rooms.connection
        finally:
            await store.stop()


def says(connection: Connection, monkeypatch: pytest.MonkeyPatch, *looks: Mapping[str, int]) -> list[Mapping[str, int]]:
    """Have the server say this of its files, the last again and again; returns what was said."""
    left, said = list(looks), list[Mapping[str, int]]()

    async def info(section: str) -> Mapping[str, int]:
        assert section == "persistence"
        said.append(left.pop(0) if len(left) > 1 else left[0])
        return said[-1]

    monkeypatch.setattr(connection.client, "info", info)
    return said


def look(waiting: int, size: int, *, files: int = 0) -> Mapping[str, int]:
    return {"aof_buffer_length": waiting, "aof_current_size": size, "aof_base_size": files}


@pytest.mark.parametrize(
    ("looks", "enough"),
    [
        ([look(0, 50), look(0, 50)], 1),
        ([look(27, 50), look(27, 50), look(0, 77), look(0, 77)], 3),
        ([look(27, 50), look(30, 76), look(30, 77), look(0, 107)], 3),  # under load something always waits
        ([look(27, 900), look(5, 940, files=90), look(9, 944, files=90), look(9, 945, files=90)], 4),
    ],
    ids=["nothing waits", "written later", "more comes", "files rewritten"],
)
async def test_what_our_server_has_yet_to_write_is_waited_for(ours, monkeypatch, looks, enough):
    synced = []
    monkeypatch.setattr("gateway.store.durable._sync", synced.append)
    said = says(ours, monkeypatch, *looks)
    await on_disk(ours, ours)
    assert len(said) == enough
    assert len(synced) == 1, "once, however many shards the server has"


async def test_a_server_of_ours_that_cannot_write_is_a_store_that_is_away(ours, monkeypatch):
    monkeypatch.setattr("gateway.store.durable.PATIENCE", 0.05)
    says(ours, monkeypatch, look(27, 50))
    with pytest.raises(Refused) as refused:
        await on_disk(ours)
    assert refused.value.name == "store_down"


async def test_a_disk_that_fails_is_told(ours, monkeypatch, caplog):
    def failing(_: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(Refused) as refused:
        await on_disk(ours)
    assert refused.value.name == "store_down"
    assert "cannot be written through to the disk: [Errno 5] Input/output error" in caplog.text


async def test_files_and_folders_of_our_server_are_synced(ours, monkeypatch):
    synced, really = set[int](), os.fsync

    def noting(fd: int) -> None:
        synced.add(os.fstat(fd).st_ino)
        really(fd)

    monkeypatch.setattr(os, "fsync", noting)
    await on_disk(ours)
    folder = Path(ours.client.connection_pool.connection_kwargs["path"]).parent
    files = {folder.parent, folder, *folder.glob("appendonly*"), *folder.glob("appendonly*/*")}
    assert len(files) > 3
    assert {path.stat().st_ino for path in files} == synced


def calls(told: Mapping[str, object], command: str) -> int:
    found = told.get(f"cmdstat_{command}", {"calls": 0})
    assert isinstance(found, dict)
    return int(found["calls"])


@pytest.fixture(params=EACH_ENGINE)
def engine(request: pytest.FixtureRequest) -> Iterator[str]:
    return request.param


async def declared(server: Server, *, user: str = "") -> tuple[Rooms, Mapping[str, object]]:
    """Keys and teams, declared on somebody else's server, and what it was asked."""
    await server.answering()
    if user:
        await server.ask("ACL", "SETUSER", *user.split())
    async with rooms_on(server.url.replace("//", "//gateway:pass@") if user else server.url) as rooms:
        await rooms.declare()
        return rooms, await server.told("commandstats")


async def test_another_server_with_an_append_only_file_is_asked_once(engine):
    with listening(engine, "--appendonly", "yes", "--appendfsync", "always") as server:
        rooms, told = await declared(server)
    assert rooms.caller.name == "alice"
    assert calls(told, "waitaof") == (1 if engine == "valkey" else 0), "Redis 7.0 does not know it, which is no fault"


async def test_another_server_without_an_append_only_file_is_not_asked(engine):
    with listening(engine) as server:
        rooms, told = await declared(server)
        assert await server.ask("EXISTS", "{ag}:sync") == 0
    assert rooms.caller.name == "alice"
    assert calls(told, "waitaof") == 0


async def test_another_server_may_keep_that_to_itself(engine):
    rights = "gateway on >pass ~{ag*}:* -@all +@hash +@set +@sortedset +@stream +get +set +exists +expire +time"
    with listening(engine, "--appendonly", "yes") as server:
        rooms, told = await declared(server, user=f"{rights} +eval +evalsha +info +ping")
    assert rooms.caller.name == "alice"
    assert calls(told, "waitaof") == 0
