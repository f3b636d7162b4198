"""`audiogate completion`: what a shell needs to complete commands and options."""

from pathlib import PurePath
from typing import Annotated, Literal, get_args

import typer

from gateway.config.load import environment

Shell = Literal["bash", "zsh", "fish"]
NAME = "audiogate"


def add_to(app: typer.Typer) -> None:
    """Add the verb."""
    app.command()(completion)


def completion(
    shell: Annotated[
        Shell | None, typer.Argument(metavar="SHELL", help="Not given: the one that $SHELL names.")
    ] = None,
) -> None:
    """Print the script that completes commands and options, for bash, zsh or fish.

    In bash and zsh: source <(audiogate completion). In fish: audiogate completion | source.
    """
    from typer.completion import get_completion_script  # type: ignore[attr-defined]

    asked = shell or PurePath(environment().get("SHELL", "")).name
    if asked not in get_args(Shell):
        words = f"$SHELL names none that is known; name one: {', '.join(get_args(Shell))}"
        raise typer.BadParameter(words, param_hint="SHELL")
    variable = f"_{NAME.upper()}_COMPLETE"
    print(get_completion_script(prog_name=NAME, complete_var=variable, shell=asked))
