"""What the tests of imports share: the corpus, and a draft as the configuration that it becomes."""

import re
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gateway.config.load import load
from gateway.config.model import Config
from gateway.imports.draft import Draft
from gateway.imports.emit import emit
from gateway.imports.products import PRODUCTS
from gateway.imports.proof import prove

CORPUS = Path(__file__).parent.parent / "corpus" / "imports"
NEW_API = tuple(CORPUS / f"{name}.json" for name in ("channels", "tokens", "users", "options"))


def draft_of(product: str, *paths: Path) -> Draft:
    """The draft of files."""
    return PRODUCTS[product].draft(paths)


def loaded(draft: Draft, folder: Path) -> Config:
    """What our own reader makes of it, each variable set to its name."""
    text = emit(draft)
    prove(draft, text)
    file = folder / "gateway.yaml"
    file.write_text(text, encoding="utf-8")
    return load(file, {name: f"value-of-{name}" for name in draft.wanted})


def said(draft: Draft) -> list[str]:
    """The account, a text for each line."""
    return [f"{line.outcome} | {line.what} | {line.how}" for line in draft.lines]


def about(draft: Draft, words: str) -> list[str]:
    """The lines that a pattern is found in."""
    return [line for line in said(draft) if re.search(words, line)]


def database(path: Path, tables: Mapping[str, list[dict[str, Any]]]) -> Path:
    """An SQLite database of these rows."""
    connection = sqlite3.connect(path)
    for table, rows in tables.items():
        columns = list(dict.fromkeys(name for row in rows for name in row))
        named = ", ".join(f'"{name}"' for name in columns)
        connection.execute(f'CREATE TABLE "{table}" ({named})')
        for row in rows:
            marks = ", ".join("?" for _ in columns)
            connection.execute(f'INSERT INTO "{table}" VALUES ({marks})', [row.get(name) for name in columns])
    connection.commit()
    connection.close()
    return path
