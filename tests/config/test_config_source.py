"""Hostile and careless YAML: refused with its line, never an error of another kind."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config.source import KEY, LARGEST, Mark, Source, read
from gateway.config.syntax import DEEPEST


def said(content: str | bytes) -> list[tuple[int | None, str, str]]:
    source = read(content if isinstance(content, bytes) else content.encode(), {})
    return [(problem.line, problem.path, problem.message) for problem in source.problems]


def test_scalars_keep_their_text() -> None:
    content = b'a: 0.10\nb: "1"\nc: [yes, ~, 2027-01-01, null, ""]\nd:\ne: $$x\n'
    assert read(content, {}).value == {
        "a": "0.10",
        "b": "1",
        "c": ["yes", None, "2027-01-01", None, ""],
        "d": None,
        "e": "$x",
    }


def test_an_expanded_scalar_is_a_text_and_hides_what_it_stands_for() -> None:
    source = read(b"a: ${A}\nb: ~\n", {"A": "null"})
    assert source.value == {"a": "null", "b": None}
    assert source.marks[("a",)] == Mark(1, 4, "what '${A}' stands for", "${A}")


def test_marks_point_at_scalars_items_and_at_the_keys_of_collections() -> None:
    marks = read(b"a:\n  b: 1\n  c:\n    - x\n    - {d: 2}\n", {}).marks
    lines = {place: (mark.line, mark.column) for place, mark in marks.items() if place[-1:] != (KEY,)}
    assert lines == {
        (): (1, 1),
        ("a",): (1, 1),
        ("a", "b"): (2, 6),
        ("a", "c"): (3, 3),
        ("a", "c", 0): (4, 7),
        ("a", "c", 1): (5, 7),
        ("a", "c", 1, "d"): (5, 11),
    }


@pytest.mark.parametrize("content", [b"", b"# only a remark\n", b"\xef\xbb\xbf", b"---\n...\n"])
def test_an_empty_file_is_nothing(content: bytes) -> None:
    source = read(content, {})
    assert (source.value, source.problems, source.whole) == (None, (), True)
    mark = source.mark(("server", "port"))
    assert mark is not None
    assert mark.shown == "nothing"


def test_a_file_that_could_not_be_read_has_no_marks() -> None:
    assert Source().problem(("a",), "x").line is None


@pytest.mark.parametrize(
    ("content", "line", "words"),
    [
        ("a: 1\nb: &x {c: 1}\n", 2, "expected no anchor (&)"),
        ("a: &x 1\nb:\n  *x\n", 3, "expected a value, got an alias; write it out"),
        ("a: 1\nb: !!python/object:os.system x\n", 2, "expected no tag (!)"),
        ("a: !!str 1\n", 1, "expected no tag (!)"),
        ("a: 1\n\na: 2\n", 3, "expected each key once, got it again; it stands on line 1 already"),
        ("a:\n  1: x\n", 2, 'expected a text as key; write it in quotes: "1"'),
        ("on: x\n", 1, 'expected a text as key; write it in quotes: "on"'),
        ("a: 1\n? [b]\n: 2\n", 2, "expected a text as key, got a collection"),
        ("a: 1\n---\nb: 1\n", 2, "expected one document, got another one behind '---'"),
        ("a:\n\t- b\n", 2, "expected spaces, got a tab"),
        ("a: 1\nb: [\n", 3, "not valid YAML"),
        ("a: 1\nb: c: d\n", 2, "not valid YAML: mapping values are not allowed here"),
        ('a: 1\nb: "\\UFFFFFFFF"\n', 2, "not valid YAML: a number out of range"),
        ("a: 1\nb: \x07\n", 2, "the character U+0007 is not allowed"),
        (b"a: 1\nb: \xff\n", 2, "expected UTF-8 text"),
        ("a:\n  " + "[" * 50 + "]" * 50, 2, f"not valid YAML: more than {DEEPEST} levels"),
        ("a: 1\nb: ${NONE}\n", 2, "the environment variable NONE is not set"),
    ],
)
def test_what_is_refused_has_its_line(content: str | bytes, line: int, words: str) -> None:
    assert any(found[0] == line and found[2].startswith(words) for found in said(content)), said(content)


def test_a_bomb_of_aliases_is_harmless() -> None:
    rows = ["a0: &a0 [x]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    source = read("\n".join(rows).encode(), {})
    assert len(source.problems) == 12 + 11 * 9
    assert isinstance(source.value, dict)


def test_a_large_file_is_refused_at_once() -> None:
    started = time.monotonic()
    assert said(b"a" * (LARGEST + 1)) == [(1, "", "expected at most 1,000,000 bytes, got a larger file")]
    assert time.monotonic() - started < 1


@pytest.mark.parametrize("piece", ["[", "{", "- ", "? ", "{a: ", "!x ", "&a ", "*a\n", '"', "a: "])
def test_much_of_the_same_is_refused_soon(piece: str) -> None:
    started = time.monotonic()
    assert said(piece * (100_000 // len(piece)))
    assert time.monotonic() - started < 10


def test_problems_in_several_places_are_all_reported() -> None:
    assert [line for line, _path, _words in said("a: &x 1\nb: !y 2\nb: 3\nc: ${NONE}\n")] == [1, 2, 3, 4]


@settings(deadline=None)
@given(st.binary(max_size=300) | st.text(max_size=300).map(lambda text: text.encode("utf-8", "replace")))
def test_no_bytes_crash_the_reader(content: bytes) -> None:
    source = read(content, {"A": "x"})
    assert source.whole or source.problems


@settings(deadline=None)
@given(st.text(alphabet="ab:-?[]{}&*!|>'\"%@`#,~$ \n\t\\xU0<=.", max_size=80))
def test_no_punctuation_crashes_the_reader(text: str) -> None:
    source = read(text.encode(), {})
    assert source.whole or source.problems
    assert all(problem.line is not None and problem.line >= 1 for problem in source.problems)
