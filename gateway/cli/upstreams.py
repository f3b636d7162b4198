"""`audiogate upstreams`: where requests can go, and what is left of our money there."""

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gateway.balances import Balances
from gateway.cli.options import DEFAULT_CONFIG, AsJson, ConfigPath, read_config
from gateway.upstreams.balance import Balance
from gateway.upstreams.base import Upstream


def add_to(app: typer.Typer) -> None:
    """Add the verb."""
    app.command()(upstreams)


def upstreams(config: ConfigPath = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Show the upstreams, and ask each once what is left of your money there."""
    found = read_config(config)
    asked = found.market.upstreams
    balances = asyncio.run(_look(asked))
    rows = [_row(one, balances.get(one.name) or _not_asked(one)) for one in asked]
    if as_json:
        print(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    _print(rows)
    for note in found.notes:
        print(f"note: {note}")


async def _look(upstreams: Sequence[Upstream]) -> Mapping[str, Balance]:
    balances = Balances(upstreams, tell=lambda *_: None, clock=time.monotonic, draw=lambda: 0.0)
    found = await asyncio.gather(*(balances.look(name) for name in balances.names))
    return dict(zip(balances.names, found, strict=True))


def _not_asked(upstream: Upstream) -> Balance:
    why = "there is no key to ask with" if upstream.balance else "it is not asked; `balance: auto` asks it"
    return Balance(why=why)


def _row(upstream: Upstream, balance: Balance) -> dict[str, object]:
    return {
        "name": upstream.name,
        "kind": upstream.kind.name,
        "host": urlsplit(upstream.base_url).netloc,
        "models": sorted(upstream.models),
        "balance_usd": None if balance.usd is None else float(balance.usd),
        "unlimited": balance.unlimited,
        "dry": balance.dry,
        "source": balance.source,
        "why_unknown": balance.why,
    }


def _print(rows: Sequence[Mapping[str, object]]) -> None:
    table = Table("upstream", "kind", "host", "models", box=box.SIMPLE, header_style="bold", title="Asked just now")
    table.title_justify = "left"
    table.add_column("balance", justify="right")
    table.add_column("told by")
    for row in rows:
        models = row["models"]
        assert isinstance(models, list)
        cells = (row["name"], row["kind"], row["host"], ", ".join(models), _balance(row), row["source"])
        table.add_row(*(Text(str(cell)) for cell in cells))
    Console().print(table)


def _balance(row: Mapping[str, object]) -> str:
    if row["balance_usd"] is not None:
        return f"${row['balance_usd']:,.6f}{' (dry)' if row['dry'] else ''}"
    return "no limit" if row["unlimited"] else f"unknown: {row['why_unknown']}"
