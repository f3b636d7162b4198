"""`audiogate upstreams drain` and `undrain`: taking an upstream out of use while the gateway serves."""

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from gateway.cli.options import DEFAULT_CONFIG, ConfigPath, read_config, with_store
from gateway.config.load import environment, read_rows
from gateway.config.model import Config
from gateway.errors import Refused, SetupError
from gateway.groundwork import EMBEDDED
from gateway.metrics import Metrics
from gateway.store.connection import opened
from gateway.store.drains import Drain, Drains
from gateway.store.layout import check_layout

T = TypeVar("T")
Called = Annotated[str, typer.Argument(metavar="NAME", help="Its name in the configuration.")]


def drain(called: Called, config: ConfigPath = DEFAULT_CONFIG) -> None:
    """Let no new request go to an upstream, on any gateway of this store; what is under way there ends by itself."""
    known = _names(config)
    _with_drains(read_config(config, serving=False), lambda drains: drains.begin(called, known=known))
    print(f"The upstream {called!r} is drained within two seconds; `audiogate upstreams undrain {called}` ends that.")


def undrain(called: Called, config: ConfigPath = DEFAULT_CONFIG) -> None:
    """Let requests go to an upstream again."""
    known = _names(config)
    _with_drains(read_config(config, serving=False), lambda drains: drains.end(called, known=known))
    print(f"Requests go to the upstream {called!r} again within two seconds.")


def drained(config: Config) -> Mapping[str, Drain] | None:
    """What is drained; None where the store does not tell. One that was never started is not started for this."""
    if not config.store.url and not (config.store.data / EMBEDDED).exists():
        return {}
    try:
        return _with_drains(config, lambda drains: drains.read())
    except (Refused, SetupError):
        return None


def _names(config: Path) -> frozenset[str]:
    """All that the file names, also those that have no key in this terminal."""
    file, _ = read_rows(config, environment(), serving=False)
    return frozenset(file.upstreams)


def _with_drains(config: Config, work: Callable[[Drains], Awaitable[T]]) -> T:
    async def run(url: str) -> T:
        connection = opened(config.store, url, Metrics(models=(), teams=()))
        try:
            await check_layout(connection)
            return await work(Drains(connection, door="cli"))
        finally:
            await connection.close()

    return with_store(config, run)
