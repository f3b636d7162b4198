"""YAML text to nodes: one document without tags, anchors, aliases and deep nesting, or problems with their lines.

Anchors and aliases let a small file grow without bound, tags name types: a configuration needs neither.
"""

from dataclasses import dataclass
from typing import Final

import yaml

from gateway.config.problem import Problem

DEEPEST: Final = 16
STRING: Final = "tag:yaml.org,2002:str"
NULL: Final = "tag:yaml.org,2002:null"
_WORDS: Final = {
    "but found another document": "expected one document, got another one behind '---'",
    "found character '\\t' that cannot start any token": "expected spaces, got a tab",
}


@dataclass(frozen=True, slots=True)
class Composed:
    """The nodes of a file and what was refused in it. `whole` is False if reading had to stop before its end."""

    root: yaml.Node | None
    problems: tuple[Problem, ...]
    whole: bool = True


def compose(text: str) -> Composed:
    """Every text has an answer: what cannot be read is a problem, never an error."""
    try:
        loader = _Loader(text)
    except yaml.reader.ReaderError as error:
        words, line = (
            f"the character U+{ord(text[error.position]):04X} is not allowed",
            text.count("\n", 0, error.position),
        )
        return Composed(None, (Problem("", words, line + 1, 1),), whole=False)
    try:
        root = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        words = _WORDS.get(str(error.problem), f"not valid YAML: {error.problem}")
        stop = loader.objection(words, error.problem_mark or loader.get_mark())
    except (ValueError, OverflowError):  # the parser lets these out for escapes and directives with absurd numbers
        stop = loader.objection("not valid YAML: a number out of range", loader.get_mark())
    else:
        return Composed(root, tuple(loader.objections))
    return Composed(None, (*loader.objections, stop), whole=False)


class _Loader(yaml.SafeLoader):
    """The safe loader's nodes, without what makes YAML dangerous; its constructors are never used."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.objections: list[Problem] = []
        self._depth = 0

    def objection(self, message: str, mark: yaml.Mark) -> Problem:
        """A problem at a mark of this text."""
        return Problem("", message, mark.line + 1, mark.column + 1)

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """One node and all below it. Raises yaml.MarkedYAMLError where nesting gets too deep."""
        event: yaml.AliasEvent | yaml.ScalarEvent | yaml.CollectionStartEvent = self.peek_event()  # type: ignore[no-untyped-call]
        mark = event.start_mark
        assert isinstance(mark, yaml.Mark)
        if isinstance(event, yaml.AliasEvent):
            self.get_event()  # type: ignore[no-untyped-call]
            self.objections.append(self.objection("expected a value, got an alias; write it out", mark))
            return yaml.ScalarNode(NULL, "", mark, mark)
        if event.anchor is not None:
            self.objections.append(self.objection("expected no anchor (&)", mark))
            event.anchor = None
        if event.tag is not None:
            self.objections.append(self.objection("expected no tag (!)", mark))
            event.tag, event.implicit = None, (True, False)
        self._depth += 1
        if self._depth > DEEPEST:
            raise yaml.MarkedYAMLError(problem=f"more than {DEEPEST} levels", problem_mark=mark)
        node: yaml.Node | None = super().compose_node(parent, index)
        self._depth -= 1
        return node
