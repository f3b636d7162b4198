"""`audiogate check`: is the configuration right? The same check that `serve` makes."""

import json
from dataclasses import asdict

import typer

from gateway.cli.options import DEFAULT_CONFIG, AsJson, ConfigPath, read_config
from gateway.config.problem import ConfigError
from gateway.policy.keys import shown


def add_to(app: typer.Typer) -> None:
    """Add the verb."""
    app.command()(check)


def check(config: ConfigPath = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Check the configuration: every mistake at once, each with its line."""
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
        print(json.dumps({"ok": True, "upstreams": upstreams, "keys": keys, "notes": found.notes}, indent=2))
        return
    print(f"{config} is right.")
    for name, facts in upstreams.items():
        print(f"  upstream {name}: {facts['url']}, {', '.join(facts['models'])}")
    for name, text in keys.items():
        print(f"  key {name} (team {found.keys[name].team}): {text}")
    for note in found.notes:
        print(f"  note: {note}")
