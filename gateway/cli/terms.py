"""What `audiogate keys` and `audiogate teams` share: options, the way to the register, tables."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from rich.text import Text

from gateway.cli.books import console, table
from gateway.cli.meter import bar
from gateway.cli.options import read_config, with_store
from gateway.config.model import Config
from gateway.groundwork import pepper_of
from gateway.metrics import Metrics
from gateway.policy.limits import Limit
from gateway.policy.terms import limit_word, moment, plain, read_limit, told
from gateway.store.connection import opened
from gateway.store.layout import check_layout
from gateway.store.register import Register
from gateway.store.roll import Standing

T = TypeVar("T")
ORIGINS = {"config": "file", "admin": "by hand"}  # who made a key or a team, as tables and pages say it

Called = Annotated[str, typer.Argument(metavar="NAME", help="Its name.")]
Models = Annotated[
    list[str] | None, typer.Option("--model", help="A model or a pattern; may be given again. Not given: all.")
]
Upstreams = Annotated[
    list[str] | None, typer.Option("--upstream", help="An upstream, in the order of choice. Not given: all.")
]
LimitWords = Annotated[
    list[str] | None,
    typer.Option(
        "--limit",
        help="A limit such as usd/month=20, requests/minute=60,burst=10 or concurrency=4; may be given again.",
    ),
]
NoLimits = Annotated[bool, typer.Option("--none", help="Take all limits away.")]
Note = Annotated[str | None, typer.Option("--note", help="A remark for operators.")]


def registered(config: Path, work: Callable[[Register, Config], Awaitable[T]]) -> T:
    """Run `work` on the keys and teams of the store that a configuration names."""
    found = read_config(config, serving=False)

    async def run(url: str) -> T:
        connection = opened(found.store, url, Metrics(models=(), teams=()))
        try:
            await check_layout(connection)
            return await work(Register(connection, found, pepper=pepper_of(found), door="cli"), found)
        finally:
            await connection.close()

    return with_store(found, run)


def read_limits(words: Sequence[str] | None) -> list[dict[str, str]] | None:
    """Limits from their words, as the file would have them."""
    try:
        return None if words is None else [read_limit(word) for word in words]
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--limit") from None


def limits_asked(limits: Sequence[str] | None, *, none: bool) -> list[dict[str, str]] | None:
    """The limits that are to be set: those given, or with `none` no limits at all."""
    if none == bool(limits):
        raise typer.BadParameter("give each limit that it is to have, or --none", param_hint="--limit")
    return read_limits(limits or [])


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str | Text]], *, nothing: str) -> None:
    """A table on standard output, or a sentence where there is nothing."""
    found = table()
    for name in columns:
        found.add_column(name, overflow="fold")
    for row in rows:
        found.add_row(*(one if isinstance(one, Text) else plain(one) for one in row))
    console().print(found if found.row_count else nothing)


def print_facts(facts: Sequence[tuple[str, str]]) -> None:
    """What is known of a key or a team."""
    for word, text in facts:
        if text:
            print(f"{word + ':':12}{plain(text)}")


def print_standing(found: Sequence[Standing], *, nothing: str) -> None:
    """Limits and where they stand, with a bar on a terminal; or a sentence where there are none."""
    drawn = console().is_terminal
    rows: list[Sequence[str | Text]] = []
    for one in found:
        limit, resets = one.limit, "" if one.resets is None else moment(one.resets)
        amounts = (str(told(limit.measure, one.used)), str(told(limit.measure, one.reserved)))
        draw = [bar(one.used, one.reserved, limit.burst or limit.amount)] if drawn else []
        rows.append((limit_word(limit), *draw, *amounts, resets))
    columns = ("limit", *([""] if drawn else []), "used", "reserved", "resets")
    print_table(columns, rows, nothing=nothing)


def names_word(names: Sequence[str] | None) -> str:
    """Names in a cell; None means that nothing is ruled out."""
    return "all" if names is None else ", ".join(names)


def limits_word(limits: Sequence[Limit]) -> str:
    """Limits in a cell."""
    return ", ".join(limit_word(limit) for limit in limits)
