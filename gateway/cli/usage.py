"""`audiogate usage`: what was used and what it cost, as a table or as JSON."""

from typing import Annotated

import typer

from gateway.app import wall
from gateway.cli.books import with_books
from gateway.cli.options import DEFAULT_CONFIG, AsJson, ConfigPath
from gateway.cli.usage_table import print_json, print_table
from gateway.policy.periods import BadPeriod, Period, read_period
from gateway.store.totals import COLUMNS, KEPT

POINTS = "an hour (2026-01-31T15), a day (2026-01-31), a month (2026-01)"
Since = Annotated[str, typer.Option(help=f"The beginning: {POINTS}, or a span such as 7d or 24h.")]
Until = Annotated[str, typer.Option(help=f"The end, that one included: {POINTS}; empty: now.")]


def add_to(app: typer.Typer) -> None:
    """Add the verb."""
    app.command()(usage)


def usage(
    config: ConfigPath = DEFAULT_CONFIG,
    since: Since = "7d",
    until: Until = "",
    by: Annotated[str, typer.Option(help=f"Columns to sum by, of {', '.join(COLUMNS)}.")] = "day,key,model",
    *,
    team: Annotated[str, typer.Option(help="Only what this team used.")] = "",
    key: Annotated[str, typer.Option(help="Only what this key used (its name or id).")] = "",
    model: Annotated[str, typer.Option(help="Only this model.")] = "",
    upstream: Annotated[str, typer.Option(help="Only this upstream.")] = "",
    route: Annotated[str, typer.Option(help="Only this route: transcription, translation, speech or other.")] = "",
    as_json: AsJson = False,
) -> None:
    """Show what was used: requests, audio, characters and cost. All times are UTC."""
    columns = tuple(part.strip() for part in by.split(",") if part.strip())
    if unknown := set(columns) - set(COLUMNS):
        words = f"{', '.join(sorted(unknown))}: choose from {', '.join(COLUMNS)}"
        raise typer.BadParameter(words, param_hint="--by")
    period = _period(since, until, hourly="hour" in columns)
    only = {"team": team, "key": key, "model": model, "upstream": upstream, "route": route}
    lines = with_books(config, lambda books: books.used(period, columns, only))
    if as_json:
        print_json(lines, columns)
    else:
        print_table(lines, columns, period)


def _period(since: str, until: str, *, hourly: bool) -> Period:
    try:
        return read_period(since, until, now=wall(), hourly=hourly, kept=KEPT)
    except BadPeriod as error:
        raise typer.BadParameter(str(error), param_hint=f"--{error.end}") from None
