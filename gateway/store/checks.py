"""What has to be right about a store before anything is entrusted to it. A sentence each.

Where a replica may take over, it is looked at, too. What is wrong with one is only remarked: the store can be used.
"""

from dataclasses import dataclass

from redis.asyncio import Redis
from redis.exceptions import AuthenticationError, MovedError, NoPermissionError, RedisError

from gateway.errors import Refused, SetupError, refuse
from gateway.store.connection import Connection
from gateway.store.target import Address

OLDEST = (6, 2)
WRITES = (
    "It has to allow EVAL, EVALSHA, HASH, SET, SORTED SET and STREAM commands, INFO and PING on keys {ag*}:*, in a "
    "cluster CLUSTER INFO and CLUSTER SLOTS, too"
)
FORGETS = "keeps no append-only file: what it took since its last snapshot dies with it"


@dataclass(frozen=True, slots=True)
class Found:
    """What a server says of itself. `replicas`: who follows it."""

    version: str
    policy: str
    append_only: bool
    is_replica: bool
    replicas: tuple[Address, ...]


async def checked(connection: Connection) -> list[str]:
    """Remarks on a store that can be used. Raises SetupError for one that cannot, Refused (503) if it is away."""
    remarks: list[str] = []
    for one in {each.link: each for each in (connection, *connection.shards)}.values():
        remarks += [remark for remark in await _checked(one) if remark not in remarks]
    return remarks


async def _checked(connection: Connection) -> list[str]:
    """The same for the server that has the keys of one shard."""
    client, link = connection.client, connection.link
    try:
        found = await _look(client)
        await client.eval("return redis.call('EXISTS', KEYS[1])", 1, connection.name("leases"))
    except RedisError as error:
        raise _refusal(error, await link.misplaced()) from error
    if fault := _fault(found):
        raise SetupError(f"The store {fault}.")
    if found.is_replica:
        raise SetupError(
            "The store is a replica and takes no writes; write its master's address in store.url, or redis+sentinel://…"
        )
    remarks = [] if found.append_only else [f"the store {FORGETS}"]
    if link.follows and not found.replicas:
        remarks.append("the store has no replica: nobody takes over when it fails")
    for host, port in found.replicas if link.follows else ():
        remarks += [f"the replica {host}:{port} {what}" for what in await _unfit(link.at((host, port)))]
    return remarks


async def _look(client: Redis) -> Found:
    server, memory = await client.info("server"), await client.info("memory")
    persistence, replication = await client.info("persistence"), await client.info("replication")
    followers = [replication[f"slave{number}"] for number in range(int(replication.get("connected_slaves", 0)))]
    return Found(
        version=str(server.get("redis_version", "0")),
        policy=str(memory.get("maxmemory_policy", "noeviction")),
        append_only=bool(int(persistence.get("aof_enabled", 0))),
        is_replica=replication.get("role") == "slave",
        replicas=tuple((str(one["ip"]), int(one["port"])) for one in followers),
    )


async def _unfit(replica: Redis) -> list[str]:
    """What is wrong with a replica, for the day it takes over."""
    async with replica:
        try:
            found = await _look(replica)
            await replica.eval("return 1", 0)
        except (AuthenticationError, NoPermissionError) as error:
            return [f"does not let us in as the store does ({error}): give its users the same rights"]
        except RedisError as error:
            return [f"cannot be reached from here ({error})"]
    return [fault for fault in (_fault(found), "" if found.append_only else FORGETS) if fault]


def _fault(found: Found) -> str:
    """Why a server cannot be used, "" if it can."""
    version = tuple(int(part) for part in found.version.split(".")[:2] if part.isdigit())
    if version < OLDEST:
        return f"is version {found.version}; audiogate needs Redis 6.2 or newer, or Valkey"
    if found.policy != "noeviction":
        return (
            f"throws keys away when it is full (maxmemory-policy {found.policy}), counters included; "
            "set maxmemory-policy noeviction there"
        )
    return ""


def _refusal(error: RedisError, misplaced: str) -> SetupError | Refused:
    """What a failed look means; `misplaced`: what those who know the master say of store.url."""
    if misplaced:
        return SetupError(misplaced)
    if isinstance(error, AuthenticationError):
        return SetupError(
            "The store refuses the user and password of store.url, or wants some; write redis://USER:PASSWORD@host."
        )
    if isinstance(error, NoPermissionError):
        return SetupError(f"The store's user may not do what audiogate needs ({error}). {WRITES}.")
    if isinstance(error, MovedError):
        return SetupError("The store is one node of a cluster; write redis+cluster:// in store.url.")
    return refuse("store_down", retry_after=1)
