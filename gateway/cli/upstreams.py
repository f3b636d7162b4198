"""`audiogate upstreams`: where requests can go, what is left of our money there, and the verbs for them."""

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from gateway.balances import Balances
from gateway.cli import checkups, drains
from gateway.cli.books import console
from gateway.cli.options import DEFAULT_CONFIG, AsJson, ConfigPath, read_config
from gateway.policy.terms import moment
from gateway.store.drains import Drain
from gateway.upstreams.balance import Balance
from gateway.upstreams.base import Upstream


def add_to(app: typer.Typer) -> None:
    """Add the verbs."""
    verbs = typer.Typer()
    verbs.callback(invoke_without_command=True)(upstreams)
    verbs.command("test")(checkups.ask)
    verbs.command("drain")(drains.drain)
    verbs.command("undrain")(drains.undrain)
    app.add_typer(verbs, name="upstreams")


def upstreams(context: typer.Context, config: ConfigPath = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Show the upstreams, and ask each once what is left of your money there; or test, drain or undrain one."""
    if context.invoked_subcommand is not None:
        return
    found = read_config(config)
    asked = found.market.upstreams
    balances, drained = asyncio.run(_look(asked)), drains.drained(found)
    rows = [_row(one, balances.get(one.name) or _not_asked(one), drained) for one in asked]
    if as_json:
        print(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    _print(rows)
    if drained is None:
        print("note: the store does not answer, so it is not known which of them are drained")
    for note in found.notes:
        print(f"note: {note}")


async def _look(upstreams: Sequence[Upstream]) -> Mapping[str, Balance]:
    balances = Balances(upstreams, tell=lambda *_: None, clock=time.monotonic, draw=lambda: 0.0)
    found = await asyncio.gather(*(balances.look(name) for name in balances.names))
    return dict(zip(balances.names, found, strict=True))


def _not_asked(upstream: Upstream) -> Balance:
    why = "there is no key to ask with" if upstream.balance else "it is not asked; `balance: auto` asks it"
    return Balance(why=why)


def _row(upstream: Upstream, balance: Balance, drained: Mapping[str, Drain] | None) -> dict[str, object]:
    one = drained.get(upstream.name) if drained is not None else None
    return {
        "name": upstream.name,
        "kind": upstream.kind.name,
        "host": urlsplit(upstream.base_url).netloc,
        "models": sorted(upstream.models),
        "state": "unknown" if drained is None else "used" if one is None else "drained",
        "drained_since": None if one is None else moment(one.at),
        "balance_usd": None if balance.usd is None else float(balance.usd),
        "unlimited": balance.unlimited,
        "dry": balance.dry,
        "source": balance.source,
        "why_unknown": balance.why,
    }


def _print(rows: Sequence[Mapping[str, object]]) -> None:
    table = Table(
        "upstream", "kind", "host", "models", "state", box=box.SIMPLE, header_style="bold", title="Asked just now"
    )
    table.title_justify = "left"
    table.add_column("balance", justify="right")
    table.add_column("told by")
    for row in rows:
        models = row["models"]
        assert isinstance(models, list)
        cells = (row["name"], row["kind"], row["host"], ", ".join(models), _state(row), _balance(row), row["source"])
        table.add_row(*(Text(str(cell)) for cell in cells))
    console().print(table)


def _state(row: Mapping[str, object]) -> str:
    if row["drained_since"]:
        return f"drained since {row['drained_since']}"
    return "in use" if row["state"] == "used" else str(row["state"])


def _balance(row: Mapping[str, object]) -> str:
    if row["balance_usd"] is not None:
        return f"${row['balance_usd']:,.6f}{' (dry)' if row['dry'] else ''}"
    return "no limit" if row["unlimited"] else f"unknown: {row['why_unknown']}"
