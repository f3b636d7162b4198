"""new-api's SQLite database, read and never written: four of its tables as plain values."""

import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from gateway.errors import SetupError

TABLES: Final = ("channels", "tokens", "users", "options")
MOST_ROWS: Final = 100_000
LONGEST_VALUE: Final = 1_000_000
MOST_STEPS: Final = 2_000  # of a hundred thousand instructions each, and a file made up by somebody ends here


def tables(path: Path) -> Mapping[str, list[dict[str, object]]]:
    """The rows of those tables that are there. Raises SetupError for what is no such database."""
    try:
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
        try:
            return _read(connection, path)
        finally:
            connection.close()
    except (sqlite3.Error, ValueError, OverflowError) as error:
        reason = str(error) or type(error).__name__
        raise SetupError(
            f"{path} cannot be read as an SQLite database ({reason}); copy it while new-api is stopped, and name the "
            "copy."
        ) from None


def _read(connection: sqlite3.Connection, path: Path) -> Mapping[str, list[dict[str, object]]]:
    connection.text_factory = lambda data: data.decode("utf-8", "replace")
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LONGEST_VALUE)
    left = MOST_STEPS

    def enough() -> int:
        nonlocal left
        left -= 1
        return int(left < 0)

    connection.set_progress_handler(enough, 100_000)
    rows = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    there = {name for (name,) in rows}
    if "channels" not in there:
        raise SetupError(f"{path} has no table `channels`; name new-api's own database, which is called one-api.db.")
    return {name: _rows(connection, name) for name in TABLES if name in there}


def _rows(connection: sqlite3.Connection, table: str) -> list[dict[str, object]]:
    cursor = connection.execute(f'SELECT * FROM "{table}" LIMIT {MOST_ROWS}')  # noqa: S608 - the names are ours
    columns = [column for column, *_ in cursor.description]
    return [{name: _text(value) for name, value in zip(columns, row, strict=True)} for row in cursor]


def _text(value: object) -> object:
    """JSON columns may have been written as bytes."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
