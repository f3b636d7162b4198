"""`audiogate export`: the records of requests, each exactly once, into a file; or onto standard output."""

import re
import sys
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.books import with_books
from gateway.cli.export_file import ExportFile, opened
from gateway.cli.options import DEFAULT_CONFIG, ConfigPath
from gateway.errors import SetupError
from gateway.policy.exports import BEGIN, CURSOR, Form, head_of, line_of, place, row_of
from gateway.store.books import Books
from gateway.store.stream import Stream

AT_ONCE = 1000  # records between two visits to the disk
OUT = "-"


def add_to(app: typer.Typer) -> None:
    """Add the verb."""
    app.command()(export)


def export(
    to: Annotated[str, typer.Option(help="The file to add to; - for standard output, which commits nothing.")] = "",
    form: Annotated[Form, typer.Option("--format", help="An object a line, or CSV with a head.")] = "jsonl",
    after: Annotated[str, typer.Option(help="A cursor: only what is behind it. Empty: what is new.")] = "",
    commit: Annotated[str, typer.Option(help="A cursor: everything up to it is safe. Noted first.")] = "",
    shard: Annotated[int | None, typer.Option(help="Which shard's, from 0 on, where store.shards is over 1.")] = None,
    *,
    config: ConfigPath = DEFAULT_CONFIG,
) -> None:
    """Export the records of requests that have ended.

    A file gets what it does not have yet, and the store is told up to where it is safe: run it again and again, after
    a crash too, and each record is there once.
    """
    _check(to, after=after, commit=commit)
    if commit:
        with_books(config, lambda books: _commit(books, books.history.stream(shard), commit))
    if to == OUT:
        with_books(config, lambda books: _write_out(books, books.history.stream(shard), form, after))
    elif to:
        with opened(Path(to), form) as file:
            count, cursor = with_books(config, lambda books: add(books, books.history.stream(shard), file, after))
        print(f"{count:,} records were added to {to}{f', which ends with {cursor}' if cursor else ''}.")


def _check(to: str, *, after: str, commit: str) -> None:
    for name, cursor in (("--after", after), ("--commit", commit)):
        if cursor and not re.fullmatch(CURSOR, cursor):
            raise typer.BadParameter(f"expected a cursor such as 1767225600000-0, got {cursor!r}", param_hint=name)
    if not to and not commit:
        raise typer.BadParameter("name a file, or - for standard output", param_hint="--to")
    if commit and to not in ("", OUT):
        raise typer.BadParameter("a file is committed as it is written; leave --commit out", param_hint="--commit")


async def add(books: Books, stream: Stream, file: ExportFile, after: str) -> tuple[int, str]:
    """Add what is new to a file; returns how many records that were, and the cursor it ends with."""
    cursor, count = await _start(stream, file, after), 0
    while True:
        lines, end = await _lines(stream, cursor, file.form)
        if not lines:
            break
        file.append(lines)
        await stream.commit(end)
        cursor, count = end, count + len(lines)
    if count:
        await books.roll.note("export.commit", cursor)
    return count, cursor


async def _start(stream: Stream, file: ExportFile, after: str) -> str:
    """Where a file goes on. What it has is committed, in case a crash came in between. Raises SetupError."""
    if not file.cursor:
        return after or await stream.cursor()
    if after and place(after) < place(file.cursor):
        raise SetupError(f"The file has everything up to {file.cursor} already; leave --after out, or name a new file.")
    if (await stream.commit(file.cursor)).result == "beyond":
        raise SetupError(
            f"The file ends with {file.cursor}, and the store never had such a record: it is another store, or was "
            "brought back from a backup. Name a new file."
        )
    return after or file.cursor


async def _lines(stream: Stream, after: str, form: Form) -> tuple[list[bytes], str]:
    """The next lines behind a cursor, none at the end, and the cursor of the last one."""
    lines: list[bytes] = []
    while len(lines) < AT_ONCE and (some := await stream.page(after)):
        lines += [line_of(row_of(one.cursor, one.fields), form) for one in some]
        after = some[-1].cursor
    return lines, after


async def _write_out(books: Books, stream: Stream, form: Form, after: str) -> None:
    begin = cursor = after or await stream.cursor()
    out, count = sys.stdout.buffer, 0
    out.write(head_of(form))
    while True:
        lines, end = await _lines(stream, cursor, form)
        if not lines:
            break
        out.write(b"".join(lines))
        cursor, count = end, count + len(lines)
    out.flush()
    await books.roll.note("export.read", begin or BEGIN)
    hint = f"; once they are safe: audiogate export --commit {cursor}" if count else ""
    print(f"{count:,} records{hint}", file=sys.stderr)


async def _commit(books: Books, stream: Stream, cursor: str) -> None:
    stand = await stream.commit(cursor)
    await books.roll.note("export.commit", cursor, stand.result)
    if stand.result == "behind":
        raise SetupError(f"Everything up to {stand.cursor} is committed already; a cursor only moves forward.")
    if stand.result == "beyond":
        raise SetupError(f"No record has the cursor {cursor} yet; commit the one of the last line that you have.")
