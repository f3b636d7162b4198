"""Stores that die and come back; nothing is ever done to a server before it is proven to be ours."""

import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import redis
import redis.asyncio

from gateway.config.model import Config
from gateway.store.embedded import Embedded
from gateway.store.engine import PIDFILE, Fsync
from tests.running import until
from tests.servers import client_of


async def pid_of(client: "redis.asyncio.Redis") -> int:
    """The process behind a connection, by its own word."""
    return int((await client.info("server"))["process_id"])


async def proven_child(client: "redis.asyncio.Redis") -> int:
    """The process behind a connection, which must be a child of this one: else it would be somebody's real store."""
    pid = await pid_of(client)
    parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    assert parent == os.getpid(), f"the server {pid} is a child of {parent}, not ours"
    return pid


class Mortal:
    """The embedded store, with its append-only file, to be killed and started again."""

    def __init__(self, folder: Path, fsync: Fsync = "always") -> None:
        self._folder = folder / "store"
        self._embedded = Embedded(self._folder, fsync=fsync)
        self.url = ""

    async def start(self) -> str:
        """Its URL."""
        self.url = await self._embedded.start()
        return self.url

    async def pid(self) -> int:
        """Its process id; asserts that it is the server of our own folder."""
        async with client_of(self.url) as client:
            pid = await pid_of(client)
        assert pid == int((self._folder / PIDFILE).read_text()), "a server that is not ours"
        assert Path(f"/proc/{pid}/cwd").readlink() == self._folder.resolve(), "a server that is not ours"
        return pid

    async def kill(self) -> None:
        """SIGKILL."""
        os.kill(await self.pid(), signal.SIGKILL)

        async def gone() -> bool:
            async with client_of(self.url) as client:
                try:
                    await client.ping()
                except redis.RedisError:
                    return True
            return False

        await until(gone, bool)

    async def stop(self) -> None:
        """For good."""
        await self._embedded.stop()


@asynccontextmanager
async def mortal(data: Path, fsync: Fsync = "always") -> AsyncIterator[Mortal]:
    """One that runs."""
    store = Mortal(data, fsync)
    try:
        await store.start()
        yield store
    finally:
        await store.stop()


def with_mode(config: Config, mode: str, usd: str = "1") -> Config:
    """The configuration with another `on_unavailable` and `grace_usd`."""
    store = replace(config.store, on_unavailable=mode, grace_usd=Decimal(usd))  # type: ignore[arg-type]
    return replace(config, store=store)
