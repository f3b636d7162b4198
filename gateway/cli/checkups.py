"""`audiogate upstreams test`: are the upstreams usable?"""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated

import typer
from rich.text import Text

from gateway.checkup import Checked, check
from gateway.cli.books import console, table
from gateway.cli.options import DEFAULT_CONFIG, AsJson, ConfigPath, read_config
from gateway.upstreams.base import Upstream

Names = Annotated[list[str] | None, typer.Argument(metavar="NAME", help="Not given: all of them.")]


def ask(names: Names = None, config: ConfigPath = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Ask upstreams for the list of their models, with your key: it costs nothing. Exit code 1 if one is not usable.

    Whether a model serves is not asked: only a request shows that.
    """
    found = read_config(config)
    known = {one.name: one for one in found.market.upstreams}
    if unknown := [name for name in names or () if name not in known]:
        words = f"no upstream with a key is called {', '.join(unknown)}; there are {', '.join(known)}"
        raise typer.BadParameter(words, param_hint="NAME")
    asked = [known[name] for name in dict.fromkeys(names or known)]
    checked = asyncio.run(_check(asked))
    if as_json:
        print(json.dumps([{"name": name, **asdict(one)} for name, one in checked], indent=2, ensure_ascii=False))
    else:
        _print(checked)
        for note in found.notes:
            print(f"note: {note}")
    if not all(one.ok for _, one in checked):
        raise typer.Exit(1)


async def _check(asked: Sequence[Upstream]) -> list[tuple[str, Checked]]:
    from gateway.app import wall

    found = await asyncio.gather(*(check(one, clock=wall) for one in asked))
    return [(one.name, result) for one, result in zip(asked, found, strict=True)]


def _print(checked: Sequence[tuple[str, Checked]]) -> None:
    shown = table()
    shown.add_column("upstream")
    shown.add_column("verdict")
    shown.add_column("ms", justify="right")
    shown.add_column("what to do")
    for name, one in checked:
        word = Text(one.verdict, style="green" if one.ok else "red")
        shown.add_row(Text(name), word, "" if one.ms is None else f"{one.ms:.0f}", Text(one.message))
    console().print(shown)
