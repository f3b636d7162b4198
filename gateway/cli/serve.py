"""`audiogate serve`: the gateway itself."""

from typing import Annotated

import typer

from gateway.cli.options import DEFAULT_CONFIG, ConfigPath, read_config
from gateway.config.check import exposed
from gateway.config.load import environment
from gateway.errors import SetupError
from gateway.logs import out
from gateway.server import inherited, listen, origin, run
from gateway.store.keys import Minted
from gateway.store.pepper import with_token
from gateway.telemetry.teller import checked


def add_to(app: typer.Typer) -> None:
    """Add the verb."""
    app.command()(serve)


def serve(
    config: ConfigPath = DEFAULT_CONFIG,
    host: Annotated[str | None, typer.Option(help="Listen here instead of server.host.")] = None,
    port: Annotated[int | None, typer.Option(help="Listen here instead of server.port; 0 takes a free one.")] = None,
) -> None:
    """Serve until stopped (Ctrl-C or SIGTERM); requests under way are finished first."""
    found = read_config(config)
    checked(found.telemetry)
    listener = inherited(environment()) or listen(
        host or found.server.host, found.server.port if port is None else port
    )
    if words := exposed(listener.getsockname()[0], admin_token=found.server.admin_token):
        listener.close()
        raise SetupError(f"Nobody is served: {words}.")
    found = with_token(found)

    def minted(key: Minted) -> None:
        out.write(f"A key was made for {key.name!r}. It is shown only this once:\n\n    {key.text}\n\n")

    def started() -> None:
        made = found.server.token_file
        token = f"the token in {made}" if made else "server.admin_token"
        lines = [
            f"audiogate listens on {origin(listener)}/v1",
            f"its pages are at {origin(listener)}/ (operators sign in with {token})",
            *(f"note: {note}" for note in found.notes),
        ]
        out.write("\n".join([*lines, ""]))

    run(found, listener, minted=minted, started=started)
