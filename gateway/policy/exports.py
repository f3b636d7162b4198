"""Records of requests as they leave the store: one line each, as JSON or CSV, with the cursor to go on from. Pure.

A line never holds a line break, so a file that was cut off anywhere is whole up to its last one. In CSV the backslash,
CR and LF of a text are written as `\\\\`, `\\r` and `\\n`, and a text that a spreadsheet could take for a formula has
a quote in front.
"""

import csv
import io
import json
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Literal

Form = Literal["jsonl", "csv"]
Row = Mapping[str, str | int]
BEGIN = "0-0"
NUMBERS = (
    *("status", "attempts", "audio_ms", "characters", "input_tokens", "output_tokens", "disputed"),
    *("cost_micro_usd", "takes_back", "upstream_micro_usd", "reserved_micro_usd"),
    *("bytes_in", "bytes_out", "latency_ms", "first_byte_ms"),
)
COLUMNS = (
    *("cursor", "time", "id", "route", "method", "path", "status", "error", "step", "key", "key_name", "team"),
    *("model", "model_sent", "upstream", "upstream_request", "attempts", "audio_ms", "characters", "input_tokens"),
    *("output_tokens", "source", "disputed", "cost_micro_usd", "takes_back", "upstream_micro_usd"),
    *("reserved_micro_usd", "failed", "bytes_in", "bytes_out", "latency_ms", "first_byte_ms", "steps_ms"),
)
"""The columns of CSV. New ones are added at the end alone, so that who reads by place goes on reading."""

CURSOR = r"[0-9]{1,15}-[0-9]{1,15}"
_CURSOR = re.compile(CURSOR)
MOST_ID = 2**64  # both numbers of an entry's id are below
_WHOLE = re.compile(r"-?[0-9]{1,18}")
_BREAKS = str.maketrans({"\\": "\\\\", "\r": "\\r", "\n": "\\n"})
_FORMULA = ("=", "+", "-", "@", "\t", "'")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def row_of(cursor: str, record: Mapping[str, str]) -> dict[str, str | int]:
    """A record as programs are told it: its cursor, when it began (RFC 3339), then its fields, numbers as numbers."""
    row: dict[str, str | int] = {"cursor": cursor, "time": _time(record.get("at", ""))}
    for field, text in record.items():
        if field not in ("cursor", "time", "at"):
            row[field] = int(text) if field in NUMBERS and _WHOLE.fullmatch(text) else text
    return row


def line_of(row: Row, form: Form) -> bytes:
    """The row's line; CSV has no columns but COLUMNS, and nothing where the row has no such field."""
    if form == "jsonl":
        return json.dumps(row, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
    return cells([guarded(row.get(column, "")) for column in COLUMNS])


def head_of(form: Form) -> bytes:
    """What stands in front of the first line."""
    return cells(COLUMNS) if form == "csv" else b""


def cursor_in(line: bytes, form: Form) -> str | None:
    """The cursor in a whole line; "" if it is the head, None if it is no line of ours."""
    if form == "csv" and line == head_of(form):
        return ""
    try:
        found = _first_cell(line.decode()) if form == "csv" else json.loads(line)["cursor"]
    except (ValueError, LookupError, TypeError):
        return None
    return found if isinstance(found, str) and _CURSOR.fullmatch(found) else None


def may_begin(piece: bytes, form: Form) -> bool:
    """Whether a file that was cut off before its first line ended may have begun like this."""
    first = head_of(form) or b'{"cursor": "'
    return piece.startswith(first) or first.startswith(piece)


def before(cursor: str) -> str:
    """What stands before a cursor, "" for the end: the upper bound of a range in a stream, as the store wants it.

    The store refuses numbers that no entry can have, and to look before the first one.
    """
    if not cursor:
        return "+"
    moment, _, number = cursor.partition("-")
    if int(moment) >= MOST_ID:
        return "+"
    if int(number or 0) >= MOST_ID:
        return moment
    return f"({cursor}" if int(moment) or int(number or 0) else "0-0"


def place(cursor: str) -> tuple[int, int]:
    """A cursor as something to compare. Raises ValueError."""
    if not _CURSOR.fullmatch(cursor):
        raise ValueError(f"expected a cursor such as 1767225600000-0, got '{cursor}'")
    ms, _, number = cursor.partition("-")
    return int(ms), int(number)


def _first_cell(line: str) -> str:
    """The first cell of a CSV line that has all columns, else "". The library's reader refuses long cells."""
    between = line.split('"')
    columns = "".join(between[::2]).count(",") + 1  # what stands in quotes does not count
    return line.partition(",")[0] if len(between) % 2 and columns == len(COLUMNS) else ""


def cells(row: Iterable[str | int | float]) -> bytes:
    """A line of CSV."""
    text = io.StringIO()
    csv.writer(text).writerow(row)
    return text.getvalue().encode("utf-8", "replace")


def guarded(cell: str | int) -> str | int:
    """A cell that is one line, and that no spreadsheet takes for a formula."""
    if isinstance(cell, int):
        return cell
    text = cell.translate(_BREAKS)
    return f"'{text}" if text.startswith(_FORMULA) else text


def _time(at: str) -> str:
    try:
        moment = _EPOCH + timedelta(milliseconds=round(float(at) * 1000))
    except (ValueError, OverflowError):
        return ""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
