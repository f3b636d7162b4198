"""The command `audiogate`: one file per verb.

A verb reads its arguments, calls the rooms below, and prints. Exit codes: 0 done, 1 it did not work, 2 wrong usage.
"""

import sys

import typer

from gateway import __version__
from gateway.cli import (
    check,
    completion,
    config,
    demo,
    doctor,
    export,
    import_,
    init,
    keys,
    requests,
    serve,
    teams,
    upstreams,
    usage,
)
from gateway.errors import Refused, SetupError

app = typer.Typer(
    name="audiogate",
    help="A self-hosted gateway that speaks OpenAI's audio API.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for verb in (
    init,
    serve,
    check,
    doctor,
    keys,
    teams,
    upstreams,
    usage,
    requests,
    export,
    import_,
    demo,
    config,
    completion,
):
    verb.add_to(app)


def _version(asked: bool) -> None:
    if asked:
        print(f"audiogate {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    del version


def main() -> None:
    """Run the command. What stands in the way is one sentence on standard error and exit code 1."""
    try:
        app()
    except (SetupError, Refused) as error:
        print(f"audiogate: {error.message if isinstance(error, Refused) else error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
