"""What `audiogate usage`, `requests` and `export` share: the way to the books, and tables that are never cut."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from rich import box
from rich.console import Console
from rich.table import Table

from gateway.cli.options import read_config, with_store
from gateway.config.model import Config
from gateway.metrics import Metrics
from gateway.store.books import Books
from gateway.store.connection import opened
from gateway.store.history import History
from gateway.store.layout import check_layout
from gateway.store.roll import Roll
from gateway.store.totals import Totals

T = TypeVar("T")
WIDE = 240


def with_books(config: Path, work: Callable[[Books], Awaitable[T]]) -> T:
    """Run `work` on the books in the store that a configuration names."""
    found = read_config(config, serving=False)
    return with_store(found, lambda url: _opened(url, found, work))


async def _opened(url: str, config: Config, work: Callable[[Books], Awaitable[T]]) -> T:
    metrics = Metrics(models=(), teams=())
    connection = opened(config.store, url, metrics)
    try:
        await check_layout(connection)
        return await work(
            Books(Totals(connection), History(connection, config.usage, metrics=metrics), Roll(connection, door="cli"))
        )
    finally:
        await connection.close()


def console() -> Console:
    """Standard output: whatever reads it, if not a terminal, can scroll, so figures are never cut."""
    found = Console(markup=False, highlight=False)
    return found if found.is_terminal else Console(markup=False, highlight=False, width=WIDE)


def table(title: str = "") -> Table:
    """An empty table in the style of all of them."""
    return Table(box=box.SIMPLE, header_style="bold", title=title or None, title_justify="left")
