"""What has to be there before anything is served: the pepper, the store that needs no set-up, keys and teams in it."""

import logging
from collections.abc import Callable
from pathlib import Path

from gateway.config.model import Config
from gateway.live import name_all
from gateway.metrics import Metrics
from gateway.reload import refuse_taken
from gateway.store.checks import checked
from gateway.store.connection import opened
from gateway.store.embedded import Embedded
from gateway.store.keys import Keys, Minted
from gateway.store.layout import check_layout
from gateway.store.pepper import read_pepper
from gateway.store.roll import Roll

log = logging.getLogger("audiogate")
EMBEDDED = "store"


def pepper_of(config: Config) -> bytes:
    """The pepper: from the configuration, else the data folder's. Raises SetupError."""
    return config.store.pepper or read_pepper(config.store.data)


def embedded(config: Config) -> Embedded | None:
    """The embedded store's supervisor, None where the configuration names a store."""
    return None if config.store.url else Embedded(config.store.data / EMBEDDED, fsync=config.store.fsync)


async def declare(config: Config, url: str, *, tell: Callable[[Minted], None] = lambda _: None) -> list[Minted]:
    """Bring keys, teams and limits of the configuration into the store; returns, and tells, the keys made just now.

    Raises Refused("store_down"), SetupError.
    """
    connection = opened(config.store, url, metrics_of(config, None))
    try:
        for note in await checked(connection):
            log.warning("%s", note)
        await check_layout(connection, mark=True)
        await refuse_taken(Roll(connection, door="config"), config)
        return await Keys(connection, pepper=pepper_of(config)).declare(config, tell=tell)
    finally:
        await connection.close()


def metrics_of(config: Config, folder: Path | None) -> Metrics:
    """The metrics of a process; `folder` is shared by the workers, None with a single one."""
    metrics = Metrics(models=(), teams=(), folder=folder)
    name_all(metrics, config)
    return metrics
