"""`audiogate demo`: try everything on this machine, without an account."""

from typing import Annotated

import typer

from gateway.config.load import environment


def add_to(app: typer.Typer) -> None:
    """Add the verb."""
    app.command()(demo)


def demo(
    port: Annotated[int | None, typer.Option(help="Listen here; else on 8080, or any free port.")] = None,
    once: Annotated[bool, typer.Option("--once", help="Try everything, then stop.")] = False,
) -> None:
    """Start a gateway with a store and real speech engines, use it once, and keep serving.

    With AIGC369_API_KEY or FOURALLAPI_API_KEY set, the real aggregators are used instead of the engines.
    """
    from gateway.demo.run import demo as run_demo  # the engines are an extra

    run_demo(environment(), port=port, once=once)
