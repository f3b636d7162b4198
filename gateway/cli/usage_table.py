"""Sums of usage on the screen: as a table with a total, or as JSON."""

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal

from gateway.cli.books import console, table
from gateway.policy.periods import TIMES, Period
from gateway.policy.pricing import MICRO
from gateway.policy.terms import plain
from gateway.store.totals import Line
from gateway.web.records import usage_rows


def print_json(lines: Sequence[Line], columns: Sequence[str]) -> None:
    """The rows that the API answers."""
    print(json.dumps([row.model_dump(exclude_unset=True) for row in usage_rows(lines, columns)], indent=2))


def print_table(lines: Sequence[Line], columns: Sequence[str], period: Period) -> None:
    """A table, or a sentence where there is nothing. What upstreams are paid is shown where it is known."""
    out = console()
    if not lines:
        out.print(f"Nothing was used: {period}.")
        return
    paid = any("cost" in line.sums for line in lines)
    found = table(str(period))
    for name in columns:
        found.add_column(name, overflow="fold", no_wrap=name in TIMES)
    for name in ("requests", "errors", "audio", "characters", "cost", *(["upstream cost"] if paid else [])):
        found.add_column(name, justify="right", no_wrap=True)
    for line in lines:
        found.add_row(*map(plain, line.by), *_cells(line.sums, paid=paid))
    if columns:
        found.add_section()
        found.add_row("total", *[""] * (len(columns) - 1), *_cells(_total(lines), paid=paid))
    out.print(found)


def dollars(micro: int) -> str:
    """Micro-USD as people read them: $1,234.567890."""
    return f"${Decimal(micro) / MICRO:,.6f}"


def clock(ms: int) -> str:
    """Milliseconds of audio as minutes and seconds: 61:01.2."""
    minutes, tenths = divmod(round(ms / 100), 600)
    return f"{minutes}:{tenths // 10:02}.{tenths % 10}"


def _total(lines: Sequence[Line]) -> dict[str, int]:
    total: dict[str, int] = {}
    for line in lines:
        for metric, amount in line.sums.items():
            total[metric] = total.get(metric, 0) + amount
    return total


def _cells(sums: Mapping[str, int], *, paid: bool) -> list[str]:
    cells = [
        f"{sums.get('requests', 0):,}",
        f"{sums.get('errors', 0):,}",
        clock(sums.get("ms", 0)),
        f"{sums.get('characters', 0):,}",
        dollars(sums.get("usd", 0)),
    ]
    return [*cells, dollars(sums.get("cost", 0))] if paid else cells
