"""Options that several verbs share."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from gateway.config.load import environment, load
from gateway.config.model import Config
from gateway.groundwork import embedded

T = TypeVar("T")

DEFAULT_CONFIG, OTHER_CONFIG = Path("gateway.yaml"), Path("config/gateway.yaml")


def _where_it_is(path: Path) -> Path:
    """The project's own file where there is none by the name that `init` writes."""
    return OTHER_CONFIG if path == DEFAULT_CONFIG and not path.exists() and OTHER_CONFIG.exists() else path


ConfigPath = Annotated[
    Path,
    typer.Option(
        "--config",
        "-c",
        envvar="AUDIOGATE_CONFIG",
        help=f"The configuration file. Not given: {DEFAULT_CONFIG}, or where that is not there {OTHER_CONFIG}.",
        show_default=False,
        dir_okay=False,
        callback=_where_it_is,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]


def read_config(path: Path, *, serving: bool = True) -> Config:
    """The checked configuration. Raises SetupError with every problem found.

    What only looks into the store is not `serving`: it needs no upstream, and no upstream's key in this terminal.
    """
    return load(path, environment(), serving=serving)


def with_store(config: Config, work: Callable[[str], Awaitable[T]]) -> T:
    """Run `work` on the store's URL; an embedded store is started for it where none runs."""

    async def run() -> T:
        store = embedded(config)
        if store is None:
            return await work(config.store.url)
        url = await store.start()
        try:
            return await work(url)
        finally:
            await store.stop()

    return asyncio.run(run())
