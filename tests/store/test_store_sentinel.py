"""A master that Sentinels watch: it is found, followed when it moves, and what it took with it is sent again."""

import asyncio
import time
from contextlib import suppress
from pathlib import Path

import pytest

from gateway.errors import Refused, SetupError
from gateway.metrics import Metrics
from gateway.store.checks import checked
from gateway.store.connection import Connection
from tests.crowd import crowd
from tests.running import until
from tests.servers import EACH_ENGINE, ENGINES, Server, client_of, until_true, watched
from tests.store.conftest import Rooms, Timed
from tests.wires import wired


@pytest.mark.parametrize("engine", EACH_ENGINE)
async def test_R_9_a_sentinel_failover_under_load_loses_no_charge_and_makes_none_twice(engine: str, data: Path) -> None:
    async with watched(engine) as store, crowd(data, store.url) as callers:
        store.link.delay = 0.1  # a bare loopback would lose nothing, and prove nothing

        async def behind() -> int:
            async with client_of(store.replica.url) as client:
                return len(callers.acknowledged) - int(await client.xlen("{ag}:usage"))

        await callers.served_more(50)
        await until(behind, lambda count: count >= 5)
        store.master.kill()
        store.link.cut()  # what was on its way is lost with its sender
        await callers.served_more(50)
        await until_true(lambda: is_master(store.replica), seconds=20)
        await callers.served_more(50)
        await callers.leave()
        await callers.paid()
    print(f"{engine}: the new master lacked {callers.lacked} acknowledged settlements, of {callers.served}")
    assert callers.lacked[0] > 0, "nothing was lost, so nothing was proven"


async def is_master(server: Server) -> bool:
    return (await server.told("replication"))["role"] == "master"


async def test_R_9_a_master_that_hands_over_while_it_lives_is_left_at_once() -> None:
    """Its connections go on, and it takes no writes any more: whoever still has one asks where the master is now."""
    async with watched(ENGINES[0]) as store:
        connection = Timed(store.url, Metrics(models=(), teams=()))
        rooms = Rooms(connection, connection.client)
        await rooms.declare()
        await asyncio.gather(*(rooms.admit(f"r{number}", usd=1) for number in range(30)))
        before = await connection.run_id()
        # By hand, so that nobody closes our connections; the Sentinel is told what it would have done.
        await store.replica.ask("REPLICAOF", "NO", "ONE")
        await store.master.ask("REPLICAOF", "127.0.0.1", store.replica.port)
        for command in (("REMOVE", "ours"), ("MONITOR", "ours", "127.0.0.1", store.replica.port, 1)):
            await store.sentinels[0].ask("SENTINEL", *command)
        await until_true(lambda: settled(rooms), seconds=10)
        assert await connection.run_id() not in ("", before)
        assert await asyncio.gather(*(rooms.settle(f"r{number}", usd=1) for number in range(1, 30))) == [True] * 29
        assert {one.port for one in connection.client.connection_pool._available_connections} == {store.replica.port}
        await connection.close()


async def settled(rooms: Rooms) -> bool:
    with suppress(Refused):
        return await rooms.settle("r0", usd=1)
    return False


async def test_the_master_is_found_though_a_sentinel_is_silent_and_another_is_gone() -> None:
    async with watched(ENGINES[0], sentinels=3) as store, wired(store.sentinels[0].url) as wire:
        store.sentinels[1].kill()
        hosts = (wire.port, store.sentinels[1].port, store.sentinels[2].port)
        url = "redis+sentinel://" + ",".join(f"127.0.0.1:{port}" for port in hosts) + "/ours"
        wire.silent = True
        connection = Connection(url, Metrics(models=(), teams=()), timeout=0.25)
        started = time.monotonic()
        await until_true(lambda: written(connection), seconds=10)
        assert time.monotonic() - started < 3, "one look, and some rests of the breaker"
        started = time.monotonic()
        await connection.client.connection_pool.disconnect()
        assert await written(connection), "the one that answered is asked first from now on"
        assert time.monotonic() - started < 0.25
        await connection.close()


async def written(connection: Connection) -> bool:
    """A request's call: it gives up long before the first Sentinel does."""
    with suppress(Refused):
        async with connection.asking("find"):
            return bool(await connection.client.set("{ag}:x", "1"))
    return False


async def test_what_is_wrong_with_the_set_up_is_told_in_a_sentence() -> None:
    async with watched(ENGINES[0], settings=("--requirepass", "pw", "--masterauth", "pw")) as store:
        await store.replica.ask("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
        right = store.url.replace("://", "://:pw@")
        fit = await remarks(right)
        assert any("the store keeps no append-only file" in one for one in fit)
        assert any(f"replica 127.0.0.1:{store.replica.port} throws keys away" in one for one in fit)
        for url, words in (
            (store.url, "refuses the user and password"),
            (right.replace("/ours", "/theirs"), "watch no 'theirs' but ours"),
        ):
            with pytest.raises(SetupError, match=words):
                await remarks(url)
        await store.sentinels[0].ask("ACL", "SETUSER", "default", "resetpass", ">sentinel's")
        with pytest.raises(SetupError, match="Sentinels refuse us"):
            await remarks(right)
        assert await remarks(right + "?sentinel_password=sentinel's") == fit
        store.sentinels[0].kill()
        with pytest.raises(Refused):
            await remarks(right)


async def remarks(url: str) -> list[str]:
    """What is said of a store at the start."""
    connection = Connection(url, Metrics(models=(), teams=()))
    try:
        return await checked(connection)
    finally:
        await connection.close()
