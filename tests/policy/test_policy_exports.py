import csv
import io
import json
import re
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.policy.exports import (
    COLUMNS,
    NUMBERS,
    Form,
    before,
    cursor_in,
    head_of,
    line_of,
    may_begin,
    place,
    row_of,
)

RECORD = {
    "id": "req_0",
    "at": "1767225600.123",
    "route": "transcription",
    "status": "200",
    "error": "",
    "model": "whisper-1",
    "cost_micro_usd": "6000",
    "first_byte_ms": "-1",
}
BACK = {"\\\\": "\\", "\\r": "\r", "\\n": "\n"}
texts = st.text(st.characters(exclude_categories=["Cs"]))
FORMS: tuple[Form, ...] = ("jsonl", "csv")


def read_back(cell: str) -> str:
    """What docs/usage.md tells readers of CSV to do, should they want the very text."""
    cell = cell.removeprefix("'")
    parts, rest = [], cell
    while rest:
        parts.append(BACK.get(rest[:2], rest[:1]))
        rest = rest[2:] if rest[:2] in BACK else rest[1:]
    return "".join(parts)


def cells(line: bytes) -> dict[str, str]:
    """The row of a CSV line, as any reader of RFC 4180 sees it."""
    (row,) = csv.reader(io.StringIO(line.decode(), newline=""), strict=True)
    return dict(zip(COLUMNS, row, strict=True))


def test_a_row_has_its_cursor_its_time_and_numbers_as_numbers() -> None:
    assert row_of("5-1", RECORD) == {
        "cursor": "5-1",
        "time": "2026-01-01T00:00:00.123Z",
        "id": "req_0",
        "route": "transcription",
        "status": 200,
        "error": "",
        "model": "whisper-1",
        "cost_micro_usd": 6000,
        "first_byte_ms": -1,
    }


def test_fields_that_nobody_knows_yet_are_passed_on_but_not_in_csv() -> None:
    row = row_of("5-1", {"new": "1", "cursor": "9-9", "time": "never"})
    assert row == {"cursor": "5-1", "time": "", "new": "1"}
    assert cells(line_of(row, "csv")) == {**dict.fromkeys(COLUMNS, ""), "cursor": "5-1"}


@pytest.mark.parametrize("at", ["", "soon", "nan", "inf", "1e30"])
def test_a_time_that_is_none_is_left_empty(at: str) -> None:
    assert row_of("5-1", {"at": at})["time"] == ""


def test_a_number_that_is_none_stays_the_text_that_it_was() -> None:
    assert row_of("5-1", {"status": "", "audio_ms": "1.5", "bytes_in": "9" * 30}) == {
        "cursor": "5-1",
        "time": "",
        "status": "",
        "audio_ms": "1.5",
        "bytes_in": "9" * 30,
    }
    assert set(NUMBERS) <= set(COLUMNS)


def test_the_lines_look_like_this() -> None:
    row = row_of("5-1", {"id": "req_0", "model": 'a "b", 语', "status": "200"})
    assert line_of(row, "jsonl").decode() == (
        '{"cursor": "5-1", "time": "", "id": "req_0", "model": "a \\"b\\", 语", "status": 200}\n'
    )
    assert line_of(row, "csv").decode() == '5-1,,req_0,,,,200,,,,,,"a ""b"", 语"' + "," * 20 + "\r\n"
    assert head_of("jsonl") == b""
    assert head_of("csv").decode() == ",".join(COLUMNS) + "\r\n"


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "\tx", "'", "'=x", "=cmd|' /C calc'!A0"])
def test_no_text_is_a_formula_to_a_spreadsheet(text: str) -> None:
    row = row_of("5-1", {"model": text, "first_byte_ms": "-1", "status": "-x"})
    found = cells(line_of(row, "csv"))
    assert found["model"] == f"'{text}"
    assert (found["first_byte_ms"], found["status"]) == ("-1", "'-x")
    assert json.loads(line_of(row, "jsonl"))["model"] == text


@given(texts)
@example("\r\n=1\\n")
@example("'\\\\r")
@example("\r=x")
@example("\x00\x85\u2028\x1c")
def test_every_text_comes_back_from_one_physical_line(text: str) -> None:
    row = row_of("5-1", {"model": text, "error": text})
    for form in FORMS:
        line = line_of(row, form)
        assert line.count(b"\n") == 1
        assert line.endswith(b"\r\n" if form == "csv" else b"\n")
        assert line.count(b"\r") == (form == "csv")
        assert cursor_in(line, form) == "5-1"
    assert json.loads(line_of(row, "jsonl"))["model"] == text
    found = cells(line_of(row, "csv"))
    assert read_back(found["model"]) == read_back(found["error"]) == text


def test_half_a_character_is_no_reason_to_stop() -> None:
    row = row_of("5-1", {"model": "a\ud800b"})
    for form in FORMS:
        assert b"a?b" in line_of(row, form)


@pytest.mark.parametrize(
    ("line", "form"),
    [
        (b"hello\n", "jsonl"),
        (b'{"id": "x"}\n', "jsonl"),
        (b'{"cursor": 5}\n', "jsonl"),
        (b'{"cursor": "x"}\n', "jsonl"),
        (b'["cursor"]\n', "jsonl"),
        (b"\xff\n", "jsonl"),
        (b"\n", "jsonl"),
        (b"\n", "csv"),
        (b"1-1,2\r\n", "csv"),
        (b'1-1,"2\r\n', "csv"),
        (b"\xff\r\n", "csv"),
        (b"x" + b"," * (len(COLUMNS) - 1) + b"\r\n", "csv"),
    ],
)
def test_a_line_of_somebody_else_has_no_cursor(line: bytes, form: Form) -> None:
    assert cursor_in(line, form) is None


def test_the_head_is_a_line_of_ours_without_a_cursor() -> None:
    assert cursor_in(head_of("csv"), "csv") == ""
    assert cursor_in(head_of("csv"), "jsonl") is None


@pytest.mark.parametrize("form", FORMS)
def test_a_first_line_that_was_cut_off_is_known(form: Form) -> None:
    whole = head_of(form) or line_of(row_of("5-1", RECORD), form)
    assert all(may_begin(whole[:size], form) for size in range(len(whole)))
    for other in (b"x", b"notes", b'{"id', b'{"cursor": 5', b"cursor;"):
        assert not may_begin(other, form)


def test_cursors_are_compared_as_numbers() -> None:
    assert place("9-1") < place("10-0") < place("10-9") < place("10-10")
    for bad in ("", "5", "-", "5-", "a-1", "5-1-1", "1" * 16 + "-0", "5-1 "):
        with pytest.raises(ValueError, match="expected a cursor such as 1767225600000-0, got"):
            place(bad)


def test_the_columns_are_those_of_the_document_in_their_order() -> None:
    document = (Path(__file__).parents[2] / "docs" / "usage.md").read_text()
    listed = document.partition("in this order;")[2].partition("What they mean")[0]
    assert tuple(re.findall(r"`(\w+)`", listed)) == COLUMNS


@pytest.mark.parametrize(
    ("cursor", "bound"),
    [
        ("", "+"),
        ("5-1", "(5-1"),
        ("5", "(5"),
        ("0-1", "(0-1"),
        ("0-0", "0-0"),
        ("0", "0-0"),
        (f"{2**64}-1", "+"),
        (f"{2**64 - 1}-1", f"({2**64 - 1}-1"),
        (f"5-{2**64}", "5"),
    ],
)
def test_what_stands_before_a_cursor_is_asked_for_as_the_store_wants_it(cursor: str, bound: str) -> None:
    assert before(cursor) == bound
