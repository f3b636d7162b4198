"""docs/cli.md tells every verb with its options and an example, and none that there are not."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from gateway.cli import app
from gateway.doctor import CHECKS

DOCUMENT = (Path(__file__).parent.parent / "docs/cli.md").read_text()
SECTIONS = dict(re.findall(r"^### `([^`]+)`\n(.*?)(?=^##|\Z)", DOCUMENT, re.MULTILINE | re.DOTALL))
OPTION = re.compile(r"(?<![\w-])(--?[a-z][a-z-]*)")
BESIDES = frozenset({"-h", "--help"})


def verbs(command: Any, words: tuple[str, ...] = ("audiogate",)) -> Iterator[tuple[str, Any]]:
    """Every verb by its words, and what it takes."""
    if not hasattr(command, "commands"):
        yield " ".join(words), command
        return
    if command.invoke_without_command and len(words) > 1:
        yield " ".join(words), command
    for name, one in command.commands.items():
        yield from verbs(one, (*words, name))


VERBS = dict(verbs(typer.main.get_command(app)))


def options(command: Any) -> set[str]:
    """Its options, each by every name it has."""
    found = {name for one in command.params for name in (*one.opts, *one.secondary_opts) if name.startswith("-")}
    return found - BESIDES


def arguments(command: Any) -> set[str]:
    """Its arguments, as the help calls them."""
    return {one.metavar.strip("[].") for one in command.params if not one.opts[0].startswith("-") and one.metavar}


def examples(section: str) -> list[str]:
    """What to type, line by line."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    return [line.partition(" #")[0].strip() for block in blocks for line in block.splitlines()]


def test_every_verb_has_a_section_and_every_section_a_verb() -> None:
    assert set(SECTIONS) == set(VERBS), "docs/cli.md has a section `### `audiogate VERB`` for each verb"


@pytest.mark.parametrize("verb", VERBS)
def test_each_option_and_argument_of_a_verb_is_in_its_section(verb: str) -> None:
    told = " ".join(re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", SECTIONS[verb], flags=re.M | re.S)))
    missing = options(VERBS[verb]) - set(OPTION.findall(told))
    assert not missing, f"docs/cli.md, {verb}: tell of {', '.join(sorted(missing))}"
    assert not arguments(VERBS[verb]) - set(told.split()), f"docs/cli.md, {verb}: tell of its arguments"


@pytest.mark.parametrize("verb", VERBS)
def test_no_section_tells_of_an_option_that_is_not_there(verb: str) -> None:
    text = re.sub(r"^```.*?^```$", "", SECTIONS[verb], flags=re.M | re.S)
    named = {name for code in re.findall(r"`([^`\n]+)`", text) for name in OPTION.findall(code)}
    assert named <= options(VERBS[verb]), verb


@pytest.mark.parametrize("verb", VERBS)
def test_each_section_has_an_example_that_the_verb_would_take(verb: str) -> None:
    own = [line for line in examples(SECTIONS[verb]) if re.search(rf"{verb}(?![\w-])", line)]
    assert own, f"docs/cli.md, {verb}: give an example"
    for line in own:
        words = shlex.split(re.split(r"[|>)]", line.partition(verb)[2])[0])
        asked = {word for word in words if word.startswith("-") and word != "-"}
        assert asked <= options(VERBS[verb]), line


def test_the_checks_of_the_doctor_are_told_in_their_order() -> None:
    assert re.findall(r"^\| ([a-z ]+?) \|", SECTIONS["audiogate doctor"], re.MULTILINE)[1:] == [
        check.name for check in CHECKS
    ]


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_and_option_says_what_it_is(verb: str) -> None:
    command = VERBS[verb]
    assert command.help
    assert [one.opts for one in command.params if not one.help and one.opts[0] not in BESIDES] == []
