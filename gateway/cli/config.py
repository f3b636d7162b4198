"""`audiogate config`: what the configuration comes to, and what may stand in it."""

import json

import typer

from gateway.cli.options import DEFAULT_CONFIG, AsJson, ConfigPath
from gateway.config.load import environment


def add_to(app: typer.Typer) -> None:
    """Add the verbs."""
    config = typer.Typer(help="Configuration: what it comes to, and what may stand in it.", no_args_is_help=True)
    config.command("show")(show)
    config.command("schema")(schema)
    app.add_typer(config, name="config")


def show(config: ConfigPath = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Show the configuration as it counts, in YAML: with its defaults, and with ••• in the place of secrets."""
    from gateway.config.shown import shown  # nothing else needs it

    found = shown(config, environment())
    if as_json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
        return
    import yaml

    print(yaml.safe_dump(found, sort_keys=False, allow_unicode=True, width=120), end="")


def schema() -> None:
    """Print the JSON Schema of the configuration file, for editors."""
    from gateway.config.schema import schema_text

    print(schema_text(), end="")
