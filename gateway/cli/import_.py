"""`audiogate import`: another gateway's configuration, read and written out as one of ours."""

import json
import os
import shlex
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from gateway.cli.options import AsJson
from gateway.errors import SetupError

if TYPE_CHECKING:
    from gateway.imports.draft import Draft

To = Annotated[Path | None, typer.Option(help="The file to write. Not given: standard output.", dir_okay=False)]
EnvFile = Annotated[
    Path | None, typer.Option(help="A file to write the secrets to, as NAME=value, for you alone.", dir_okay=False)
]
Sources = Annotated[list[Path], typer.Argument(metavar="SOURCE", help="The files of the other gateway.")]
STYLES = {
    "taken": "green",
    "changed": "yellow",
    "left out": "dim",
    "to do": "bold magenta",
}  # in the order of the report


def add_to(app: typer.Typer) -> None:
    """Add the verbs."""
    imports = typer.Typer(help="Take over another gateway's configuration.", no_args_is_help=True)
    imports.command("litellm", help="Take over LiteLLM's config.yaml; files that it includes may be named behind it.")(
        _verb("litellm")
    )
    imports.command(
        "new-api",
        help="Take over new-api or one-api: its SQLite database, or answers of GET /api/channel/, /api/token/, "
        "/api/user/ and /api/option/.",
    )(_verb("new-api"))
    app.add_typer(imports, name="import")


def _verb(product: str) -> Callable[..., None]:
    def run(sources: Sources, to: To = None, env_file: EnvFile = None, as_json: AsJson = False) -> None:
        take_over(product, sources, to=to, env_file=env_file, as_json=as_json)

    return run


def take_over(product: str, sources: Sequence[Path], *, to: Path | None, env_file: Path | None, as_json: bool) -> None:
    """Convert, prove, write and report. Nothing is written unless all of it would pass `audiogate check`."""
    from gateway.imports.emit import emit
    from gateway.imports.products import PRODUCTS
    from gateway.imports.proof import prove

    for path in (to, env_file):
        if path and path.exists():
            raise SetupError(f"{path} is there already, and it is left as it is; name another file.")
    draft = PRODUCTS[product].draft(sources)
    text = emit(draft) if draft.upstreams else ""
    if text:
        prove(draft, text)
        if env_file:
            _write(env_file, "".join(f"{name}={shlex.quote(one)}\n" for name, one in draft.secrets.items()), mode=0o600)
        if to:
            _write(to, text, mode=0o644)
    if as_json:
        print(json.dumps(_facts(draft, text, to=to, env_file=env_file), indent=2, ensure_ascii=False))
    else:
        if text and not to:
            sys.stdout.write(text)
            sys.stdout.flush()
        _report(draft, to=to, env_file=env_file)
    if not text:
        raise typer.Exit(1)


def _facts(draft: "Draft", text: str, *, to: Path | None, env_file: Path | None) -> dict[str, object]:
    return {
        "ok": bool(text),
        "upstreams": [one.name for one in draft.upstreams],
        "keys": [one.name for one in draft.keys],
        "variables": draft.wanted,
        "secrets_in": str(env_file) if text and env_file else None,
        "file": str(to) if text and to else None,
        "config": None if to or not text else text,
        "lines": [asdict(line) for line in draft.lines],
    }


def _report(draft: "Draft", *, to: Path | None, env_file: Path | None) -> None:
    """The account on standard error, a line each; what is to be done comes last."""
    console = Console(stderr=True)
    for line in sorted(draft.lines, key=lambda line: tuple(STYLES).index(line.outcome)):
        words = Text.assemble((f"{line.outcome:9}", STYLES[line.outcome]), f" {line.what}: {line.how}")
        console.print(words, soft_wrap=True)
    counts = Counter(str(line.outcome) for line in draft.lines)
    told = ", ".join(f"{counts[outcome]} {outcome}" for outcome in STYLES if counts[outcome])
    say = [f"Of {draft.product}: {told}."]
    if not draft.upstreams:
        say.append("No upstream was left to write, so nothing was written; the lines above say why.")
    else:
        missing = [name for name in draft.wanted if not (env_file and name in draft.secrets)]
        say += (
            [f"Secrets are in {env_file}: set -a; . {shlex.quote(str(env_file.absolute()))}; set +a"]
            if env_file and draft.secrets
            else []
        )
        say += [f"Set {', '.join(missing)}; then run `audiogate check -c {to or 'FILE'}`."] if missing else []
    console.print("\n".join(say), markup=False, highlight=False, soft_wrap=True)


def _write(path: Path, text: str, *, mode: int) -> None:
    """Write a file that is not there yet. Raises SetupError."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with open(fd, "w", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise SetupError(f"{path} is there already, and it is left as it is; name another file.") from None
    except OSError as error:
        raise SetupError(f"{path} cannot be written ({error.strerror}); name another file.") from error
