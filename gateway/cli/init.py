"""`audiogate init`: a configuration to start from, made to fit this machine."""

import shlex
import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.options import DEFAULT_CONFIG
from gateway.config.load import environment
from gateway.errors import SetupError

SCHEMA = "audiogate.schema.json"
MOST_PORTS = 100


def add_to(app: typer.Typer) -> None:
    """Add the verb."""
    app.command()(init)


def init(
    folder: Annotated[Path | None, typer.Argument(metavar="FOLDER", help="Where to; made if need be.")] = None,
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", envvar="AUDIOGATE_CONFIG", help="The file; not given: gateway.yaml in FOLDER."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
) -> None:
    """Write a commented configuration that fits this machine: its keys, time zone and a free port.

    No secret is written, only the names of environment variables.
    """
    from gateway.config.schema import schema_text  # what follows is needed once in a gateway's life
    from gateway.config.template import keys_in, timezone_of, written

    environ = environment()
    if folder is not None and config is not None and str(config) != environ.get("AUDIOGATE_CONFIG"):
        raise typer.BadParameter("name the file or its folder, not both", param_hint="FOLDER")
    path = folder / DEFAULT_CONFIG if folder is not None else config or DEFAULT_CONFIG
    zone, port, keys = timezone_of(environ), _free_port(), keys_in(environ)
    text = written(environ, timezone=zone, port=port)
    _write(path, text, force=force)
    schema = path.with_name(SCHEMA)
    if force or not schema.exists():
        _write(schema, schema_text(), force=force)
    store = environ.get("AUDIOGATE_STORE_URL", "").strip()
    print(f"{path} was written, and beside it {SCHEMA} for editors.")
    print(f"  upstreams: {_upstreams(keys)}")
    print(f"  store: {'the one of AUDIOGATE_STORE_URL' if store else 'the embedded one, in the folder data'}")
    print(f"  port: {port}")
    print(f"  days and months begin by: {zone or 'UTC'}")
    if not keys:
        sentence = "No key of an upstream is set: export AIGC369_API_KEY or FOURALLAPI_API_KEY before you go on."
        print(sentence, file=sys.stderr)
    option = "" if path == DEFAULT_CONFIG else f" --config {shlex.quote(str(path))}"
    called = Path(sys.argv[0])
    lost = called.name == "audiogate" and shutil.which(called.name) is None  # as in an environment nobody activated
    command = shlex.quote(str(called)) if lost else "audiogate"
    print(f"\nNext:\n  {command} check{option}\n  {command} serve{option}")


def _upstreams(keys: list[str]) -> str:
    return f"those of {', '.join(keys)}" if keys else "none has a key yet"


def _write(path: Path, text: str, *, force: bool) -> None:
    """Raises SetupError."""
    if path.exists() and not force:
        raise SetupError(f"{path} is there already, and is left as it is; to write over it: --force.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w" if force else "x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise SetupError(f"{path} cannot be written ({error.strerror}); name another place.") from error


def _free_port() -> int:
    """The first port from 8080 on that nobody listens on."""
    from gateway.config.template import PORT
    from gateway.server import listen

    for port in range(PORT, PORT + MOST_PORTS):
        try:
            listen("127.0.0.1", port).close()
        except SetupError:
            continue
        return port
    return PORT
