"""`audiogate serve`: the gateway itself."""

import sys
from typing import Annotated

import typer

from gateway.cli.options import DEFAULT_CONFIG, ConfigPath, read_config
from gateway.server import listen, origin, run
from gateway.store.keys import Minted


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
    listener = listen(host or found.server.host, found.server.port if port is None else port)

    def minted(key: Minted) -> None:
        print(f"A key was made for {key.name!r}. It is shown only this once:\n\n    {key.text}\n", flush=True)

    def started() -> None:
        print(f"audiogate listens on {origin(listener)}/v1")
        for note in found.notes:
            print(f"note: {note}")
        sys.stdout.flush()

    run(found, listener, minted=minted, started=started)
