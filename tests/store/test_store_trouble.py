"""Servers that answer with an error of their own, lose their scripts, or have too few connections for everybody."""

import asyncio
import random
import re
import shutil
import threading
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
import redis.asyncio
import uvloop

from gateway.errors import Refused, SetupError
from gateway.metrics import Metrics
from gateway.store.checks import checked
from tests.servers import EACH_ENGINE, ENGINES, Server, client_of, free_ports, listening, until_true
from tests.store.conftest import Rooms, Timed
from tests.wires import wired

each_engine = pytest.mark.parametrize("engine", EACH_ENGINE)
POOL = 20
ROOT = Path(__file__).parent.parent.parent


async def down(asked) -> Refused:
    """The refusal of what was asked: the store is down."""
    with pytest.raises(Refused) as refused:
        await asked
    assert (refused.value.name, refused.value.row.status) == ("store_down", 503)
    return refused.value


@asynccontextmanager
async def rooms_at(url: str) -> AsyncIterator[Rooms]:
    """Rooms on a store of any form."""
    connection = Timed(url, Metrics(models=(), teams=()))
    try:
        yield Rooms(connection, connection.client)
    finally:
        await connection.close()


@asynccontextmanager
async def rooms_of(server: Server) -> AsyncIterator[Rooms]:
    """Rooms on a server that answers, with alice declared and one request of hers admitted."""
    await server.answering()
    async with rooms_at(server.url) as rooms:
        await rooms.declare()
        await rooms.admit("before", usd=5)
        yield rooms


async def refused_until(rooms: Rooms, mend: Awaitable[object]) -> None:
    """Everything is refused, and nothing is changed by that; once mended, it goes on."""
    await down(rooms.admit("meanwhile", usd=1))
    refusal = await down(rooms.settle("before", usd=4))
    assert isinstance(refusal.__cause__, redis.ConnectionError), "it is about the server, not about this request"
    await mend
    await until_true(lambda: asked_again(rooms), seconds=10)
    await rooms.admit("after", usd=1)
    await rooms.settle("after", usd=1)
    assert (await rooms.numbers("alice")).used["total"][0] == 5


async def asked_again(rooms: Rooms) -> bool:
    with suppress(Refused):
        return await rooms.settle("before", usd=4) or True
    return False


@each_engine
async def test_R_11_a_replica_is_refused(engine: str) -> None:
    with listening(engine) as server:
        async with rooms_of(server) as rooms:
            await server.ask("REPLICAOF", "127.0.0.1", free_ports(1)[0])
            with pytest.raises(SetupError, match=r"is a replica and takes no writes; write its master's address"):
                await checked(rooms.connection)
            await refused_until(rooms, server.ask("REPLICAOF", "NO", "ONE"))


@each_engine
async def test_R_11_a_server_that_is_loading_is_refused(engine: str, data: Path) -> None:
    with listening(engine, folder=data) as server:
        async with rooms_of(server) as rooms, client_of(server.url) as client:
            caller = rooms.caller
            await client.mset({f"filler:{number}": random.randbytes(1100) for number in range(100)})
            await client.save()
    slowly = ("--key-load-delay", 20_000, "--loading-process-events-interval-bytes", 1024)  # 20 ms a key
    with listening(engine, *slowly, folder=data, ports=(server.port, server.bus)) as server:
        async with rooms_at(server.url) as rooms:
            rooms.caller = caller
            await until_true(lambda: loading(server), seconds=10)
            await refused_until(rooms, server.answering())


async def loading(server: Server) -> bool:
    try:
        await server.ask("PING")
    except redis.exceptions.BusyLoadingError:
        return True
    return False


@each_engine
async def test_R_11_a_server_that_is_busy_with_a_script_is_refused(engine: str) -> None:
    with listening(engine, "--lua-time-limit", 10) as server:
        async with rooms_of(server) as rooms, client_of(server.url) as client:
            endless = asyncio.ensure_future(client.eval("while true do end", 0))
            try:
                await until_true(lambda: busy(server), seconds=10)
                await refused_until(rooms, server.ask("SCRIPT KILL"))
            finally:
                await asyncio.gather(endless, return_exceptions=True)


async def busy(server: Server) -> bool:
    try:
        await server.ask("PING")
    except redis.exceptions.ResponseError as error:
        return str(error).startswith("BUSY")
    return False


@each_engine
async def test_R_11_a_server_that_cannot_save_is_refused(engine: str) -> None:
    with listening(engine) as server:
        async with rooms_of(server) as rooms:
            await server.ask("CONFIG", "SET", "save", "1 1")
            shutil.rmtree(server.folder)  # its current folder: a new file there has nowhere to go
            await server.ask("BGSAVE")
            await until_true(lambda: not_saved(server), seconds=10)
            await refused_until(rooms, server.ask("CONFIG", "SET", "stop-writes-on-bgsave-error", "no"))


async def not_saved(server: Server) -> bool:
    return (await server.told("persistence"))["rdb_last_bgsave_status"] == "err"


@each_engine
async def test_R_11_too_few_replicas_for_a_write_are_refused(engine: str) -> None:
    with listening(engine) as server:
        async with rooms_of(server) as rooms:
            await server.ask("CONFIG", "SET", "min-replicas-to-write", 1)
            await refused_until(rooms, server.ask("CONFIG", "SET", "min-replicas-to-write", 0))


@each_engine
async def test_R_11_a_node_of_a_cluster_without_slots_is_refused(engine: str) -> None:
    with listening(engine, "--cluster-enabled", "yes") as server:
        await server.answering()
        for scheme in ("redis", "redis+cluster"):
            async with rooms_at(server.url.replace("redis", scheme)) as rooms:
                await down(rooms.keys.find("0123456789"))
                await down(rooms.totals.key_names())
                await down(rooms.connection.run("audit", ["{ag}:audit"], ["door", "action", "what", "ok"]))
                await down(checked(rooms.connection))


@each_engine
async def test_R_10_scripts_that_are_forgotten_all_the_time_are_sent_again(engine: str) -> None:
    with listening(engine) as server:
        async with rooms_of(server) as rooms:
            over = asyncio.Event()

            async def forget() -> None:
                while not over.is_set():
                    await server.ask("SCRIPT FLUSH")

            forgetting = asyncio.ensure_future(forget())
            await asyncio.gather(*(rooms.admit(f"r{number}", usd=1) for number in range(200)))
            assert await asyncio.gather(*(rooms.settle(f"r{number}", usd=1) for number in range(200))) == [True] * 200
            over.set()
            await forgetting
            assert (await rooms.numbers("alice")).used["total"] == (200, 0, 0, 200)


@pytest.mark.parametrize("form", ["redis", "redis+cluster"])
async def test_R_13_five_hundred_at_once_share_twenty_connections(form: str, data: Path) -> None:
    cluster = ("--cluster-enabled", "yes") if form == "redis+cluster" else ()
    with listening(ENGINES[0], *cluster) as server:
        await server.answering()
        if cluster:
            await server.ask("CLUSTER ADDSLOTSRANGE", 0, 16383)
            await until_true(lambda: server.ask("SET", "{ag}", ""), seconds=10)
        url = f"{server.url.replace('redis', form)}?max_connections={POOL}"
        async with rooms_at(url) as rooms:
            await rooms.declare()
            await asyncio.gather(*(rooms.admit(f"r{number}", usd=1) for number in range(500)))
            assert (await rooms.numbers("alice")).reserved == (500, 0, 0, 500)
            assert int((await server.told("clients"))["connected_clients"]) <= POOL + 1


async def test_R_13_five_hundred_at_once_wait_for_a_silent_server_no_longer_than_one(data: Path) -> None:
    with listening(ENGINES[0]) as server:
        async with (
            wired((await server.answering()).url) as wire,
            rooms_at(f"{wire.url}?max_connections={POOL}") as rooms,
        ):
            await rooms.declare()
            rooms.connection.timeout = 0.25
            wire.silent = True
            started = time.monotonic()
            await asyncio.gather(*(down(rooms.admit(f"r{number}", usd=1)) for number in range(500)))
            assert time.monotonic() - started < 1
            wire.silent = False
            began = time.monotonic()
            await until_true(lambda: admitted(rooms), seconds=10)
            assert time.monotonic() - began < 2, "those who failed together are one failure, not fifty"
            await asyncio.gather(*(rooms.admit(f"s{number}", usd=1) for number in range(POOL)))  # none was lost
            assert wire.connections <= POOL


async def admitted(rooms: Rooms) -> bool:
    with suppress(Refused):
        return bool(await rooms.admit("again", usd=1))
    return False


@each_engine
async def test_calls_that_are_given_up_leave_no_answers_to_others(engine: str) -> None:
    """Time is up at every moment of a call; whoever gets an answer gets their own."""
    with listening(engine) as server:
        async with wired((await server.answering()).url) as wire, rooms_at(f"{wire.url}?max_connections=8") as rooms:
            client = rooms.connection.client
            await client.mset({f"{{ag}}:{number}": number for number in range(500)})
            wire.delay = 0.005
            told, late = 0, 0

            async def ask(number: int) -> None:
                nonlocal told, late
                try:
                    async with asyncio.timeout(0.0005 * (number % 100)):
                        answer = await client.get(f"{{ag}}:{number}")
                except TimeoutError:
                    late += 1
                else:
                    told += 1
                    assert answer == str(number)

            for start in range(0, 500, 10):
                await asyncio.gather(*(ask(number) for number in range(start, start + 10)))
            assert min(told, late) > 20
            assert await client.get("{ag}:7") == "7"
            assert not client.connection_pool._in_use_connections


async def test_when_time_is_up_the_call_ends_at_whatever_point_it_is() -> None:
    with listening(ENGINES[0]) as server:
        async with (
            wired((await server.answering()).url) as wire,
            rooms_at(f"{wire.url}?max_connections={POOL}") as rooms,
        ):
            wire.silent = True

            async def took(seconds: float) -> float:
                began = time.monotonic()
                with suppress(TimeoutError, redis.RedisError):
                    async with asyncio.timeout(seconds):
                        await rooms.connection.client.ping()
                return time.monotonic() - began

            for _ in range(40):
                times = await asyncio.gather(*(took(random.uniform(0.0001, 0.02)) for _ in range(POOL)))
                assert max(times) < 1


@each_engine
def test_connections_that_are_reset_while_idle_are_replaced_under_uvloop_too(engine: str) -> None:
    """That loop answers a write to a closed connection with an error of its own."""

    async def asked(url: str, cut) -> None:
        async with rooms_at(url) as rooms:
            await rooms.declare()
            for round_ in range(20):
                await asyncio.gather(*(rooms.admit(f"{round_}-{number}", usd=1) for number in range(8)))
                await asyncio.to_thread(cut)

    async def with_wire() -> None:
        async with wired((await server.answering()).url) as wire:
            loop = asyncio.get_running_loop()

            def cut() -> None:
                done = threading.Event()
                loop.call_soon_threadsafe(lambda: (wire.cut(), done.set()))
                assert done.wait(10)

            await asyncio.to_thread(uvloop.run, asked(wire.url, cut))
            assert wire.connections >= 20

    with listening(engine) as server:
        asyncio.run(with_wire())


def rights() -> list[str]:
    """Those that the document gives a user."""
    line = re.search(r"^ACL SETUSER audiogate (.*)$", (ROOT / "docs" / "store.md").read_text(), re.MULTILINE)
    assert line
    return line[1].split()


@each_engine
async def test_R_12_the_rights_that_the_document_gives_are_enough_and_no_less_is(engine: str) -> None:
    with listening(engine) as server:
        await (await server.answering()).ask("ACL", "SETUSER", "audiogate", *rights())
        url = server.url.replace("://", "://audiogate:PASSWORD@")
        scripts = "".join(script.read_text() for script in (ROOT / "gateway" / "store" / "lua").glob("*.lua"))
        called = {
            *re.findall(r"redis\.call\('(\w+)'", scripts),
            *("EVAL", "EVALSHA", "INFO", "PING", "TIME", "GET", "SET", "HGETALL", "HEXISTS", "SMEMBERS", "XREVRANGE"),
        }
        assert {"SADD", "XADD", "ZADD", "HSET"} <= called
        for command in called:
            assert await allowed(server, command), command
        for command in ("FLUSHALL", "CONFIG", "KEYS", "DEL", "SCRIPT"):
            assert not await allowed(server, command), command
        async with rooms_at(url) as rooms:
            await checked(rooms.connection)
            await rooms.declare()
            await rooms.admit("r1", usd=5)
            assert await rooms.settle("r1", usd=4)
            assert await rooms.connection.run_id()
        await server.ask("ACL", "SETUSER", "audiogate", "-eval")
        async with rooms_at(url) as rooms:
            with pytest.raises(SetupError, match=r"may not do what audiogate needs \(.*'eval'.*It has to allow EVAL"):
                await checked(rooms.connection)


async def allowed(server: Server, command: str) -> bool:
    """Whether the user may run a command on our keys, with as many arguments as it takes."""
    for count in range(1, 8):
        with suppress(redis.exceptions.ResponseError):  # too few arguments, or an odd number of them
            words = ["STREAM"] if command == "XINFO" else []
            told = await server.ask("ACL", "DRYRUN", "audiogate", command, *words, *["{ag}:x"] * count)
            return told == b"OK"
    with suppress(redis.exceptions.ResponseError):
        return await server.ask("ACL", "DRYRUN", "audiogate", command) == b"OK"
    return False


async def test_a_store_that_was_late_once_is_not_gone_and_one_that_is_silent_or_refuses_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with listening(ENGINES[0]) as server:
        async with wired((await server.answering()).url) as wire, rooms_at(wire.url) as rooms:
            await rooms.declare()
            rooms.connection.timeout = 0.1
            await rooms.admit("r1", usd=1)
            wire.silent = True
            await down(rooms.admit("r2", usd=1))
            assert not rooms.connection.gone, "late: that is all that is known"
            monkeypatch.setattr("gateway.store.connection.GONE", 0.0)
            assert rooms.connection.gone, "nothing was heard since"
            monkeypatch.undo()
            wire.silent = False
            rooms.connection.timeout = 2.0
            await until_true(lambda: admitted(rooms), seconds=10)
            assert not rooms.connection.gone
            wire.refuses = True
            wire.cut()
            await down(rooms.admit("r4", usd=1))
            assert rooms.connection.gone, "at once: it cannot be reached"
