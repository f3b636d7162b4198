"""Waiting until what the store has taken is on its disk, for the changes that nothing else would bring back.

Charges wait for no disk: the journal has them. Keys and teams are nowhere else. Where the server is our own its files
are here, so they are synced from here: that holds for every engine and for every `store.fsync`. WAITAOF would not do:
Redis before 7.2 does not know it, and with `everysec` Redis 7.4 and Valkey 9.1 confirm what they have not synced
(redis/redis#13793). Another server is asked for as much as it can promise; how durable it is, is up to its
operator.
"""

import asyncio
import logging
import os
from contextlib import suppress
from pathlib import Path

from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from gateway.errors import refuse
from gateway.store.connection import Connection
from gateway.store.engine import FILES, SERVER_LOCK, SOCKET
from gateway.store.link import PATIENCE

log = logging.getLogger("audiogate")
AGAIN = 0.01  # seconds between two looks at what the server has yet to write
MOST = 1500  # ms that another server may take: its disk's turn comes every second, and PATIENCE is for the answer


async def on_disk(*shards: Connection) -> None:
    """Wait until all that these shards have taken is on disk; of a server that is not our own, as far as it tells.

    Raises Refused (503) where it is away, or where our own cannot write: then nothing is known of what it took last.
    """
    for shard in {one.link: one for one in shards}.values():
        folder = _folder(shard)
        async with shard.asking("sync"):
            if folder is None:
                await _confirmed(shard)
                continue
            async with asyncio.timeout(PATIENCE):
                await _written(shard)
        try:
            await asyncio.to_thread(_sync, folder)
        except OSError as error:
            log.error("the store's files in %s cannot be written through to the disk: %s", folder, error)
            raise refuse("store_down", retry_after=1) from error


def _folder(shard: Connection) -> Path | None:
    """The folder of our own server, None for any other: it is reached by its socket, and leaves its lock beside it."""
    socket = shard.client.connection_pool.connection_kwargs.get("path")
    if socket is None or Path(socket).name != SOCKET or not (Path(socket).parent / SERVER_LOCK).exists():
        return None
    return Path(socket).parent


async def _written(shard: Connection) -> None:
    """Wait until what our server has answered is in its files: it keeps writes back while it syncs earlier ones."""
    goal = None
    while True:
        found = await shard.client.info("persistence")
        waiting, size = int(found.get("aof_buffer_length", 0)), int(found.get("aof_current_size", 0))
        files = found.get("aof_base_size")  # another one once they were rewritten: then sizes begin anew
        if not waiting or (goal is not None and goal[0] == files and size >= goal[1]):
            return
        if goal is None or goal[0] != files:
            goal = (files, size + waiting)
        await asyncio.sleep(AGAIN)


def _sync(folder: Path) -> None:
    """Whoever wrote a file, syncing it brings all that is in it to the disk; its folder holds its name."""
    paths = [path for found in folder.glob(FILES) for path in (*found.glob("*"), found)]
    for path in (*paths, folder, folder.parent):
        with suppress(FileNotFoundError):  # rewritten meanwhile into another one, which is on disk before this one goes
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)


async def _confirmed(shard: Connection) -> None:
    """WAITAOF is about what its own connection wrote last: so this one writes, behind all that was answered before."""
    with suppress(ResponseError, RedisTimeoutError):  # not known, not allowed, or it never syncs
        if int((await shard.client.info("persistence")).get("aof_enabled", 0)):
            pipe = shard.client.pipeline(transaction=False)
            pipe.set(shard.name("sync"), 1, px=1)
            pipe.execute_command("WAITAOF", 1, 0, MOST)
            await pipe.execute()
