"""`audiogate doctor`: why does it not work?"""

import json
from dataclasses import asdict

import typer
from rich.text import Text

from gateway.cli.books import console, table
from gateway.cli.options import DEFAULT_CONFIG, AsJson, ConfigPath
from gateway.config.load import environment

COLOURS = {"ok": "green", "warning": "yellow", "problem": "bold red"}


def add_to(app: typer.Typer) -> None:
    """Add the verb."""
    app.command()(doctor)


def doctor(config: ConfigPath = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Find out why it does not work: the file, keys, folders, the store, upstreams and the port; each with a remedy.

    Nothing is changed. Upstreams are asked for their list of models, which costs nothing.
    """
    from gateway.app import wall
    from gateway.doctor import examined
    from gateway.doctor.finding import scene

    found = list(examined(scene(config, environment(), clock=wall)))
    wrong = sum(one.verdict == "problem" for _, one in found)
    if as_json:
        rows = [{"check": name, **asdict(one)} for name, one in found]
        print(json.dumps({"ok": not wrong, "findings": rows}, indent=2, ensure_ascii=False))
    else:
        rows_of = table()
        for column in ("", "check", "found"):
            rows_of.add_column(column, no_wrap=column != "found", overflow="fold")
        for name, one in found:
            words = f"{one.what}\n→ {one.remedy}" if one.remedy else one.what
            rows_of.add_row(Text(one.verdict, COLOURS[one.verdict]), name, Text(words))
        console().print(rows_of)
        warned = sum(one.verdict == "warning" for _, one in found)
        print(f"problems: {wrong}, warnings: {warned}, right: {len(found) - wrong - warned}")
    if wrong:
        raise typer.Exit(1)
