"""The connection: what a store that is gone, wrong or slow means for requests."""

import asyncio
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import pytest

from gateway.errors import Refused, SetupError
from gateway.metrics import Metrics
from gateway.store.connection import Connection, script_text
from tests.servers import BINARIES, EACH_ENGINE, start_store

QUICK = 1.5


async def down(asked) -> float:
    """How long it took until the store was refused as down."""
    started = time.monotonic()
    with pytest.raises(Refused) as refused:
        await asked
    assert (refused.value.name, refused.value.row.status, refused.value.retry_after) == ("store_down", 503, 1)
    return time.monotonic() - started


@pytest.fixture
def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.fixture(params=EACH_ENGINE)
def private_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """A server whose settings the test may change."""
    with start_store(request.param) as url:
        yield url


PORTS = ("redis://localhost:port", "redis://localhost:99999", "redis://[::1", "redis+sentinel://h:x/ours")
OPTIONS = ("redis://localhost?db=first", "redis://localhost?socket_timeout=x", "redis://localhost?nonsense=1")
SEVERAL = (
    *("redis+sentinel://", "redis+sentinel:///ours", "redis+sentinel://h,/ours", "redis+sentinel://h/ours/first"),
    *("redis+cluster://", "redis+cluster://,h", "redis+cluster://h?nonsense=1", "unix+cluster:///path", "redis+x://h"),
    *("redis+sentinel://h/ours?sentinel_nonsense=1", "redis+cluster://h?sentinel_password=pw", "redis://h?protocol=9"),
)


@pytest.mark.parametrize("url", ["", "nonsense", "localhost:6379", "http://localhost", *PORTS, *OPTIONS, *SEVERAL])
def test_a_url_that_cannot_be_read_stops_the_start(url):
    with pytest.raises(SetupError, match=r"store\.url cannot be read; write redis://"):
        Connection(url, Metrics(models=(), teams=()))


@pytest.mark.parametrize("scheme", ["redis", "redis+sentinel", "redis+cluster"])
def test_a_url_that_cannot_be_read_is_not_repeated_with_its_password(scheme):
    with pytest.raises(SetupError) as caught:
        Connection(f"{scheme}://:hunter2/x@host:6379/0", Metrics(models=(), teams=()))
    assert "hunter2" not in str(caught.value)


async def test_what_refuses_connections_is_down_at_once(open_rooms, free_port):
    for url in (f"redis://127.0.0.1:{free_port}", "unix:///tmp/there/is/no/such.sock"):
        async with open_rooms(url) as rooms:
            assert await down(rooms.keys.declare(rooms.config())) < QUICK
            assert await down(rooms.keys.find("0123456789")) < QUICK
            assert await down(rooms.settle("r1")) < QUICK
            assert await down(rooms.totals.key_names()) < QUICK
            assert not await rooms.connection.alive()


async def test_a_hundred_requests_at_once_learn_quickly_that_it_is_gone(open_rooms, free_port):
    async with open_rooms(f"redis://127.0.0.1:{free_port}") as rooms:
        started = time.monotonic()
        await asyncio.gather(*(down(rooms.settle(f"r{number}")) for number in range(100)))
        assert time.monotonic() - started < QUICK


async def test_a_server_that_hangs_is_given_up(private_url, open_rooms):
    async with open_rooms(private_url) as rooms:
        await rooms.declare()
        rooms.connection.timeout = 0.2
        pid = int((await rooms.raw.info("server"))["process_id"])
        os.kill(pid, signal.SIGSTOP)
        try:
            assert 0.2 <= await down(rooms.admit("r1")) < QUICK
            assert not await rooms.connection.alive()
        finally:
            os.kill(pid, signal.SIGCONT)
        await rooms.admit("r2")


@contextmanager
def started(engine: str, folder: Path) -> Iterator[None]:
    """A server on the folder's socket that remembers what it was told when it is started again."""
    socket, settings = folder / "store.sock", ["--port", "0", "--dir", str(folder), "--appendonly", "yes"]
    child = subprocess.Popen([BINARIES[engine], *settings, "--unixsocket", str(socket)], stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        child.kill()
        child.wait()


async def answering(rooms) -> None:
    async with asyncio.timeout(10):
        while not await rooms.connection.alive():
            await asyncio.sleep(0.005)


async def asked_again(rooms):
    """Wait until the breaker lets a call through again."""
    async with asyncio.timeout(10):
        while True:
            with suppress(Refused):
                return await rooms.connection.run_id()
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("engine", EACH_ENGINE)
async def test_a_server_that_died_is_refused_and_used_again_once_it_is_back(engine, data, open_rooms):
    async with open_rooms(f"unix://{data}/store.sock") as rooms:
        with started(engine, data):
            await answering(rooms)
            await rooms.declare()
            await asyncio.gather(*(rooms.admit(f"r{number}", usd=1) for number in range(50)))
        took = await asyncio.gather(*(down(rooms.admit(f"s{number}")) for number in range(50)))
        assert max(took) < QUICK
        assert await down(rooms.settle("r0")) < QUICK
        with started(engine, data):
            await answering(rooms)
            await asked_again(rooms)
            assert await asyncio.gather(*(rooms.settle(f"r{number}", usd=1) for number in range(50))) == [True] * 50
            assert (await rooms.numbers("alice")).used["total"] == (50, 0, 0, 50)


async def test_keys_of_another_kind_in_our_place_are_refused(rooms):
    await rooms.declare()
    await rooms.raw.set("{ag}:held", "not a hash")
    await down(rooms.admit("r1"))
    await down(rooms.settle("r1"))
    await rooms.raw.set(f"{{ag}}:k:{rooms.caller.kid}", "not a hash")
    await down(rooms.keys.find(rooms.caller.kid, fresh=True))
    await down(rooms.keys.declare(rooms.config()))


async def test_a_replica_takes_no_requests(private_url, open_rooms, free_port):
    async with open_rooms(private_url) as rooms:
        await rooms.declare()
        await rooms.raw.execute_command("REPLICAOF", "127.0.0.1", free_port)
        await down(rooms.admit("r1"))
        await down(rooms.settle("r1"))
        await down(rooms.keys.declare(rooms.config()))
        await rooms.raw.execute_command("REPLICAOF", "NO", "ONE")
        await rooms.admit("r1")


async def test_a_wrong_password_is_refused_and_the_right_one_works(private_url, open_rooms):
    async with open_rooms(private_url) as rooms:
        await rooms.raw.config_set("requirepass", "right")
        for start in ("unix://", "unix://:wrong@", "unix://nobody:right@"):
            async with open_rooms(private_url.replace("unix://", start)) as other:
                await down(other.keys.declare(other.config()))
                assert not await other.connection.alive()
        async with open_rooms(private_url.replace("unix://", "unix://:right@")) as other:
            await other.declare()


async def test_a_full_server_refuses_and_keeps_what_it_has(private_url, open_rooms):
    async with open_rooms(private_url) as rooms:
        await rooms.declare()
        await rooms.admit("r1", usd=10)
        before = await rooms.everything()
        await rooms.raw.config_set("maxmemory", "1")
        await down(rooms.settle("r1", usd=9))
        await down(rooms.switch("r1", "one", "two", usd=1))
        assert await rooms.everything() == before
        await rooms.raw.config_set("maxmemory", "0")
        await rooms.settle("r1", usd=9)


async def test_failures_are_counted_by_script(rooms):
    metrics = Metrics(models=(), teams=())
    broken = Connection("unix:///tmp/there/is/no/such.sock", metrics)
    await down(broken.run("admit", [], []))
    await broken.close()
    rendered = metrics.render().decode()
    assert 'audiogate_redis_errors_total{script="admit"} 1.0' in rendered
    assert 'audiogate_redis_latency_seconds_count{script="admit"} 1.0' in rendered


@asynccontextmanager
async def losing_answers(url: str, folder: Path):
    """A socket in front of a server; it carries out what is asked, but loses the next `lost[0]` answers to scripts."""
    lost, tasks = [0], set()

    async def serve(reader, writer):
        tasks.add(asyncio.current_task())
        to_reader, to_writer = await asyncio.open_unix_connection(url.removeprefix("unix://"))
        with suppress(OSError):
            while asked := await reader.read(65536):
                to_writer.write(asked)
                answer = await to_reader.read(65536)
                if b"EVALSHA" in asked and lost[0]:
                    lost[0] -= 1
                    break
                writer.write(answer)
                await writer.drain()
        writer.close()
        to_writer.close()

    server = await asyncio.start_unix_server(serve, folder / "sock")
    try:
        yield f"unix://{folder}/sock", lost
    finally:
        server.close()
        await server.wait_closed()
        await asyncio.wait(tasks, timeout=5)


@pytest.mark.parametrize("times", [1, 2])
async def test_answers_that_got_lost_do_not_make_anything_happen_twice(rooms, url, data, open_rooms, times):
    caller = await rooms.declare()
    for script in ("admit", "switch", "settle", "declare"):
        await rooms.raw.script_load(script_text(script))
    async with losing_answers(url, data) as (through, lost), open_rooms(through) as far:
        far.caller = caller

        async def asked(question):
            lost[0] = times
            if times == 1:
                assert await question is not None
            else:
                await down(question)  # two questions in all: neither we nor the library ask a third time
            assert lost[0] == 0

        await asked(far.admit("r1", usd=10))
        assert (await rooms.numbers("alice")).reserved == (10, 0, 0, 1)
        await asked(far.switch("r1", "one", "two", usd=12))
        assert (await rooms.numbers("alice")).reserved == (12, 0, 0, 1)
        assert (await rooms.numbers("one")).reserved == (0, 0, 0, 0)
        await asked(far.settle("r1", "two", usd=11))
        found = await rooms.numbers("two")
        assert (found.flying, found.reserved, found.used["total"]) == (0, (0, 0, 0, 0), (11, 0, 0, 1))


async def test_callers_that_go_away_leave_no_answers_to_others(rooms):
    await rooms.declare()
    upstreams = ("one", "two", "three")

    async def ask(number: int) -> None:
        wanted = upstreams[number % 3]
        assert (await rooms.admit(f"r{number}", wanted, usd=1)).upstream == wanted

    tasks = [asyncio.ensure_future(ask(number)) for number in range(300)]
    for task in random.Random(3).sample(tasks, 150):
        await asyncio.sleep(0)
        task.cancel()
    told = await asyncio.gather(*tasks, return_exceptions=True)
    assert {type(one) for one in told} == {type(None), asyncio.CancelledError}
    for number in range(300):
        await rooms.settle(f"r{number}", upstreams[number % 3])
    assert (await rooms.numbers("alice")).reserved == (0, 0, 0, 0)
    assert await rooms.raw.exists("{ag}:held", "{ag}:leases") == 0
