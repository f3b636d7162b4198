"""The table of gateways whose configurations can be taken over; a new one is a row here and a file beside it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway.imports.draft import Draft


@dataclass(frozen=True, slots=True)
class Product:
    """A gateway whose configuration can be taken over: its name, what is to be given, and how it is read."""

    name: str
    title: str
    sources: str
    draft: Callable[[Sequence[Path]], Draft]


def _litellm(paths: Sequence[Path]) -> Draft:
    from gateway.imports.litellm import convert
    from gateway.imports.sources import yaml_file

    return convert([yaml_file(path) for path in paths])


def _newapi(paths: Sequence[Path]) -> Draft:
    from gateway.imports.newapi import convert
    from gateway.imports.sources import tables

    return convert([tables(path) for path in paths])


PRODUCTS: Mapping[str, Product] = {
    one.name: one
    for one in (
        Product("litellm", "LiteLLM's proxy", "Its config.yaml; several are read as one.", _litellm),
        Product(
            "new-api",
            "new-api or one-api",
            "Its SQLite database, or JSON answers of its API: channels, tokens, users, options.",
            _newapi,
        ),
    )
}
