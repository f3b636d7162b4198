"""What has to be right about a store before anything is entrusted to it. A sentence each."""

from redis.exceptions import AuthenticationError, NoPermissionError, RedisError

from gateway.errors import SetupError, refuse
from gateway.store.connection import Connection, name

OLDEST = (6, 2)
WRITES = "It has to allow EVAL, EVALSHA, HASH, SET, SORTED SET and STREAM commands, INFO and PING on keys {ag}:*"


async def checked(connection: Connection) -> list[str]:
    """Remarks on a store that can be used. Raises SetupError for one that cannot, Refused (503) if it is away."""
    client = connection.client
    try:
        server = await client.info("server")
        memory, persistence = await client.info("memory"), await client.info("persistence")
        await client.eval("return redis.call('EXISTS', KEYS[1])", 1, name("leases"))
    except AuthenticationError as error:
        raise SetupError(
            "The store refuses the user and password of store.url, or wants some; write redis://USER:PASSWORD@host."
        ) from error
    except NoPermissionError as error:
        raise SetupError(f"The store's user may not do what audiogate needs ({error}). {WRITES}.") from error
    except RedisError as error:
        raise refuse("store_down", retry_after=1) from error
    _refuse_old(str(server.get("redis_version", "0")))
    policy = str(memory.get("maxmemory_policy", "noeviction"))
    if policy != "noeviction":
        raise SetupError(
            f"The store throws keys away when it is full (maxmemory-policy {policy}), counters included; "
            "set maxmemory-policy noeviction there."
        )
    if not int(persistence.get("aof_enabled", 0)):
        return ["the store keeps no append-only file: what it took since its last snapshot dies with it"]
    return []


def _refuse_old(version: str) -> None:
    found = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if found < OLDEST:
        raise SetupError(f"The store is version {version}; audiogate needs Redis 6.2 or newer, or Valkey.")
