"""A cluster: the node that serves our keys is found, and followed when another takes over or the keys move."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from redis.crc import key_slot

from gateway.errors import Refused, SetupError
from gateway.metrics import Metrics
from gateway.store.checks import checked
from gateway.store.connection import Connection
from tests.crowd import crowd
from tests.servers import EACH_ENGINE, ENGINES, Cluster, Server, clustered, free_ports, listening, until_true
from tests.store.conftest import Rooms, Timed

SLOT = key_slot(b"{ag}")


@asynccontextmanager
async def rooms_in(cluster: Cluster) -> AsyncIterator[Rooms]:
    """Rooms in a cluster, with alice declared."""
    connection = Timed(cluster.url, Metrics(models=(), teams=()))
    rooms = Rooms(connection, connection.client)
    try:
        await rooms.declare()
        yield rooms
    finally:
        await connection.close()


@pytest.mark.parametrize("engine", EACH_ENGINE)
async def test_R_9_a_replica_that_takes_over_in_a_cluster_loses_no_charge(engine: str, data: Path) -> None:
    async with clustered(engine) as cluster, crowd(data, cluster.url) as callers:
        await callers.served_more(50)
        cluster.link.eats = lambda sent: b"XADD" in sent  # what is settled from now on never reaches the replica
        await callers.served_more(50)
        cluster.ours.kill()
        await until_true(lambda: serves(cluster.replica), seconds=20)
        await callers.served_more(50)
        await callers.leave()
        await callers.paid()
    print(f"{engine}: the new master lacked {callers.lacked} acknowledged settlements, of {callers.served}")
    assert callers.lacked[0] >= 40, "nothing was lost, so nothing was proven"


async def serves(server: Server) -> bool:
    return await server.ask("EXISTS", "{ag}:usage") == 1


@pytest.mark.parametrize("engine", EACH_ENGINE)
async def test_R_10_everything_a_gateway_asks_works_in_a_cluster_that_knows_no_script(engine: str) -> None:
    async with clustered(engine) as cluster, rooms_in(cluster) as rooms:
        for _ in range(2):
            for node in cluster.masters:
                await node.ask("SCRIPT FLUSH")
            await rooms.declare()
        await rooms.admit("r1", usd=10)
        for node in cluster.masters:
            await node.ask("SCRIPT FLUSH")
        assert await rooms.switch("r1", "one", "two", usd=12) == "two"
        assert await rooms.settle("r1", "two", usd=11)
        assert not await rooms.settle("r1", "two", usd=11)
        assert (await rooms.numbers("two")).used["total"] == (11, 0, 0, 1)
        assert (await rooms.keys.find(rooms.caller.kid, fresh=True)) is not None
        assert await rooms.connection.run_id() == (await cluster.ours.told("server"))["run_id"]
        assert await rooms.connection.alive()
        assert await checked(rooms.connection) == [
            "the store keeps no append-only file: what it took since its last snapshot dies with it",
            f"the replica 127.0.0.1:{cluster.replica.port} keeps no append-only file: what it took since its last "
            "snapshot dies with it",
        ]
        assert [await node.ask("DBSIZE") for node in cluster.masters if node is not cluster.ours] == [0, 0]


async def test_our_keys_are_followed_to_another_node_and_asked_for_there_while_they_move() -> None:
    async with clustered(ENGINES[0]) as cluster, rooms_in(cluster) as rooms:
        await rooms.admit("r1", usd=10)
        before = await rooms.connection.run_id()
        other = next(node for node in cluster.masters if node is not cluster.ours)
        ids = {node.port: (await node.ask("CLUSTER MYID")).decode() for node in (cluster.ours, other)}
        await other.ask("CLUSTER SETSLOT", SLOT, "IMPORTING", ids[cluster.ours.port])
        await cluster.ours.ask("CLUSTER SETSLOT", SLOT, "MIGRATING", ids[other.port])

        # What is not at the old node any more is asked for at the new one; what needs both waits for the end.
        assert await rooms.connection.run("audit", ["{ag}:audit-2"], ["api", "try", "it", "ok"]) == "ok"
        assert await other.ask("DBSIZE") == 1
        with pytest.raises(Refused):
            await rooms.settle("r1", usd=9)

        keys = await cluster.ours.ask("CLUSTER GETKEYSINSLOT", SLOT, 1000)
        await cluster.ours.ask("MIGRATE", "127.0.0.1", other.port, "", 0, 5000, "KEYS", *keys)
        for node in (other, cluster.ours):
            await node.ask("CLUSTER SETSLOT", SLOT, "NODE", ids[other.port])
        await until_true(lambda: settled(rooms), seconds=10)
        assert (await rooms.numbers("alice")).used["total"] == (9, 0, 0, 1)
        assert await rooms.connection.run_id() not in ("", before)
        assert await rooms.connection.client.xlen("{ag}:audit-2") == 1


async def settled(rooms: Rooms) -> bool:
    with suppress(Refused):
        return await rooms.settle("r1", usd=9)
    return False


async def test_what_is_wrong_with_the_set_up_is_told_in_a_sentence() -> None:
    (nobody,) = free_ports(1)
    with listening(ENGINES[0]) as single:
        await single.answering()
        with pytest.raises(SetupError, match=rf"127\.0\.0\.1:{single.port} is no node of a cluster; write redis://"):
            await remarks(f"redis+cluster://127.0.0.1:{nobody},127.0.0.1:{single.port}")
        with pytest.raises(Refused):
            await remarks(f"redis+cluster://127.0.0.1:{nobody}")
    async with clustered(ENGINES[0]) as cluster:
        other = next(node for node in cluster.masters if node is not cluster.ours)
        with pytest.raises(SetupError, match=r"one node of a cluster; write redis\+cluster://"):
            await remarks(other.url)
        assert await remarks(f"redis+cluster://127.0.0.1:{nobody},127.0.0.1:{other.port}")
        await other.ask("CONFIG", "SET", "requirepass", "pw")
        with pytest.raises(SetupError, match="refuses the user and password"):
            await remarks(f"redis+cluster://127.0.0.1:{other.port}")


async def remarks(url: str) -> list[str]:
    """What is said of a store at the start."""
    connection = Connection(url, Metrics(models=(), teams=()))
    try:
        return await checked(connection)
    finally:
        await connection.close()
