from pathlib import Path

import pytest

from gateway.config.expand import LARGEST_FILE, NotExpanded, expand, has_references, variables


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("${A}", "one"),
        ("<${A}${B:-two}>", "<onetwo>"),
        ("${A:-other}", "one"),
        ("${EMPTY:-other}", "other"),
        ("${EMPTY}", ""),
        ("${NONE:-}", ""),
        ("${NONE:-a:-b}", "a:-b"),
        ("$$", "$"),
        ("$${A}", "${A}"),
        ("$$${A}", "$one"),
        ("5$ $A", "5$ $A"),
    ],
)
def test_references_are_replaced(text: str, expected: str) -> None:
    assert expand(text, {"A": "one", "EMPTY": ""}) == expected


def test_what_a_variable_holds_is_not_expanded_again() -> None:
    assert expand("${A}", {"A": "${B} $$"}) == "${B} $$"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("${NONE}", "the environment variable NONE is not set; set it, or write ${NONE:-default}"),
        ("${}", "expected ${NAME}"),
        ("${a b}", "expected ${NAME}"),
        ("${1A}", "expected ${NAME}"),
        ("${A:-${B}}", "nothing nested"),
        ("${A", "'${' without '}'"),
    ],
)
def test_what_leads_nowhere_is_refused(text: str, words: str) -> None:
    with pytest.raises(NotExpanded) as caught:
        expand(text, {})
    assert words in str(caught.value)


@pytest.mark.parametrize(("content", "expected"), [(b"s\n", "s"), (b"s\r\n", "s"), (b"s\n\n", "s\n"), (b"s ", "s ")])
def test_a_file_is_read_without_its_last_newline(tmp_path: Path, content: bytes, expected: str) -> None:
    file = tmp_path / "secret"
    file.write_bytes(content)
    assert expand(f"<${{file:{file}}}>", {}) == f"<{expected}>"


def test_a_file_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff")
    (tmp_path / "large").write_bytes(b"x" * (LARGEST_FILE + 1))
    cases = {"none": "No such file", "": "Is a directory", "binary": "UTF-8", "large": "larger than", "\0": "null byte"}
    for name, words in cases.items():
        with pytest.raises(NotExpanded, match=words):
            expand(f"${{file:{tmp_path}/{name}}}", {})


def test_references_are_recognised() -> None:
    assert has_references("a${B}")
    assert not has_references("$${B}")
    assert variables("${A}${B:-x}$$${file:/C}") == ("A", "B")
