"""`audiogate check`: is the configuration right? The same check that `serve` makes, and what everything costs."""

import json
from collections.abc import Iterator
from dataclasses import asdict

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gateway.cli.options import DEFAULT_CONFIG, AsJson, ConfigPath, read_config
from gateway.config.model import Config
from gateway.config.problem import ConfigError
from gateway.policy.keys import shown
from gateway.policy.pricing import UNITS, Price, told
from gateway.policy.routing import ANY_AUDIO


def add_to(app: typer.Typer) -> None:
    """Add the verb."""
    app.command()(check)


def check(config: ConfigPath = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Check the configuration: every mistake at once, each with its line; and show what each model costs where."""
    try:
        found = read_config(config)
    except ConfigError as error:
        if not as_json:
            raise
        print(json.dumps({"ok": False, "problems": [asdict(problem) for problem in error.problems]}, indent=2))
        raise typer.Exit(1) from None
    upstreams = {one.name: {"url": one.base_url, "models": sorted(one.models)} for one in found.market.upstreams}
    keys = {key.name: shown(key.text) if key.text else "made at the first start" for key in found.keys.values()}
    if as_json:
        prices = [_facts(*row) for row in _prices(found)]
        told_all = {"ok": True, "upstreams": upstreams, "prices": prices, "keys": keys, "notes": found.notes}
        print(json.dumps(told_all, indent=2))
        return
    print(f"{config} is right.")
    for name, facts in upstreams.items():
        print(f"  upstream {name}: {facts['url']}, {', '.join(facts['models'])}")
    for name, text in keys.items():
        print(f"  key {name} (team {found.keys[name].team}): {text}")
    for note in found.notes:
        print(f"  note: {note}")
    _print(found)


def _prices(config: Config) -> Iterator[tuple[str, str, Price]]:
    """Upstream, model and price of all that can be asked for; requests without a model come last."""
    for upstream in config.market.upstreams:
        for model in (*sorted(upstream.models), ANY_AUDIO):
            price = config.market.price(upstream, model)
            if price is not None and (model != ANY_AUDIO or "other" in upstream.can.routes):
                yield upstream.name, model, price


def _facts(upstream: str, model: str, price: Price) -> dict[str, str]:
    units = {unit: f"{getattr(price, unit).normalize():f}" for unit in UNITS if getattr(price, unit)}
    return {"upstream": upstream, "model": model, **units, "from": price.origin}


def _print(config: Config) -> None:
    table = Table("upstream", "model", "price", "from", box=box.SIMPLE, header_style="bold")
    for upstream, model, price in _prices(config):
        table.add_row(*(Text(cell) for cell in (upstream, model, told(price), price.origin)))
    Console().print(table)
