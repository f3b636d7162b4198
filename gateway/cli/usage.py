"""`audiogate usage`: what was used and what it cost, as a table or as JSON."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from gateway.app import wall
from gateway.cli.options import DEFAULT_CONFIG, AsJson, ConfigPath, read_config, with_store
from gateway.metrics import Metrics
from gateway.store.connection import Connection
from gateway.store.totals import Totals, UsageRow

WIDE = 200
COLUMNS = ("day", "team", "key", "model", "upstream", "route")


@dataclass(frozen=True, slots=True)
class Line:
    """Sums of one combination of the columns asked for."""

    by: tuple[str, ...]
    requests: int
    errors: int
    audio_seconds: float
    characters: int
    cost_usd: float


def add_to(app: typer.Typer) -> None:
    """Add the verb."""
    app.command()(usage)


def usage(
    config: ConfigPath = DEFAULT_CONFIG,
    since: Annotated[str, typer.Option(help="The first day: 2026-01-31, or a number of days such as 7d.")] = "7d",
    until: Annotated[str, typer.Option(help="The last day; empty: today.")] = "",
    by: Annotated[str, typer.Option(help=f"Columns to sum by, of {', '.join(COLUMNS)}.")] = "day,key,model",
    as_json: AsJson = False,
) -> None:
    """Show what was used: requests, audio, characters and cost (days in UTC)."""
    today = datetime.fromtimestamp(wall(), UTC).date()
    first, last = _day(since, today), _day(until, today) if until else today
    columns = tuple(part.strip() for part in by.split(",") if part.strip())
    if unknown := set(columns) - set(COLUMNS):
        raise typer.BadParameter(f"{', '.join(sorted(unknown))}: choose from {', '.join(COLUMNS)}", param_hint="--by")
    lines = summed(with_store(read_config(config, serving=False), lambda url: _read(url, first, last)), columns)
    if as_json:
        print(json.dumps([_as_json(line, columns) for line in lines], indent=2))
    else:
        _print(lines, columns, first, last)


def summed(rows: Sequence[UsageRow], columns: Sequence[str]) -> list[Line]:
    """Rows added up by the columns asked for, in their order."""
    sums: dict[tuple[str, ...], dict[str, int]] = {}
    for row in rows:
        by = tuple(str(getattr(row, column)) for column in columns)
        into = sums.setdefault(by, {})
        for metric, amount in row.sums.items():
            into[metric] = into.get(metric, 0) + amount
    return [
        Line(
            by,
            requests=found.get("requests", 0),
            errors=found.get("errors", 0),
            audio_seconds=found.get("ms", 0) / 1000,
            characters=found.get("characters", 0),
            cost_usd=found.get("usd", 0) / 1_000_000,
        )
        for by, found in sorted(sums.items())
    ]


async def _read(url: str, first: date, last: date) -> list[UsageRow]:
    connection = Connection(url, Metrics(models=(), teams=()))
    try:
        store = Totals(connection)
        names = await store.key_names()
        rows = [row async for row in store.days(first, last)]
    finally:
        await connection.close()
    return [
        UsageRow(row.day, row.team, names.get(row.key, row.key), row.model, row.upstream, row.route, row.sums)
        for row in rows
    ]


def _day(text: str, today: date) -> date:
    if match := re.fullmatch(r"(\d{1,4})d", text):
        return today - timedelta(days=int(match[1]) - 1)
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is neither a day such as 2026-01-31 nor a number of days such as 7d"
        ) from None


def _as_json(line: Line, columns: Sequence[str]) -> dict[str, object]:
    return {
        **dict(zip(columns, line.by, strict=True)),
        "requests": line.requests,
        "errors": line.errors,
        "audio_seconds": line.audio_seconds,
        "characters": line.characters,
        "cost_usd": line.cost_usd,
    }


def _print(lines: Sequence[Line], columns: Sequence[str], first: date, last: date) -> None:
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDE)  # whatever reads it can scroll; figures are never cut
    if not lines:
        console.print(f"Nothing was used from {first} to {last}.")
        return
    table = Table(box=box.SIMPLE, header_style="bold", title=f"{first} to {last}", title_justify="left")
    for name in columns:
        table.add_column(name, overflow="fold", no_wrap=name == "day")
    for name in ("requests", "errors", "audio", "characters", "cost"):
        table.add_column(name, justify="right", no_wrap=True)
    total = Line(
        (),
        sum(x.requests for x in lines),
        sum(x.errors for x in lines),
        sum(x.audio_seconds for x in lines),
        sum(x.characters for x in lines),
        sum(x.cost_usd for x in lines),
    )
    for line in lines:
        table.add_row(*line.by, *_cells(line))
    table.add_section()
    table.add_row("total", *[""] * (len(columns) - 1), *_cells(total))
    console.print(table)


def _cells(line: Line) -> tuple[str, ...]:
    minutes, seconds = divmod(line.audio_seconds, 60)
    return (
        f"{line.requests:,}",
        f"{line.errors:,}",
        f"{int(minutes)}:{seconds:04.1f}",
        f"{line.characters:,}",
        f"${line.cost_usd:,.6f}",
    )
