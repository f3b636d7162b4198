"""The file as plain values that know their lines: mappings, lists, texts and None.

Every scalar stays the text that was written, so amounts never pass through binary floating point; what a text means
is for the schema to say. No object is ever made from a tag.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import yaml

from gateway.config.expand import NotExpanded, expand, has_references
from gateway.config.problem import Place, Problem, dotted, quoted
from gateway.config.syntax import NULL, STRING, compose

LARGEST = 1_000_000
KEY = "[key]"
"""The last part of the place of a mapping's key, as opposed to its value."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Where a value stands (line and column from 1), how messages show it, and what was written for a scalar."""

    line: int
    column: int
    shown: str
    written: str = ""


@dataclass(frozen=True, slots=True)
class Source:
    """What the file holds. `whole` is False when it could not be read to its end, and then `value` is None."""

    value: object = None
    marks: Mapping[Place, Mark] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    whole: bool = True

    def mark(self, place: Place) -> Mark | None:
        """The mark of a place, or of the nearest one around it; None in a file that could not be read."""
        return next((self.marks[place[:end]] for end in range(len(place), -1, -1) if place[:end] in self.marks), None)

    def problem(self, place: Place, message: str) -> Problem:
        """A problem with the value at this place, of which the message speaks."""
        mark = self.mark(place)
        path = dotted(place[:-1] if place[-1:] == (KEY,) else place)
        return Problem(path, message, mark.line if mark else None, mark.column if mark else None)

    def at(self, place: Place) -> object:
        """The value at a place that leads through mappings alone and exists."""
        value = self.value
        for part in place:
            assert isinstance(value, dict)
            value = value[part]
        return value


def read(content: bytes, environ: Mapping[str, str]) -> Source:
    """YAML, with `${…}` replaced from `environ`. Whatever the bytes are, the answer is a Source and never an error."""
    if len(content) > LARGEST:
        return _unreadable(f"expected at most {LARGEST:,} bytes, got a larger file", line=1)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return _unreadable("expected UTF-8 text", line=content[: error.start].count(b"\n") + 1)
    composed = compose(text)
    if not composed.whole:
        return Source(problems=composed.problems, whole=False)
    reader = _Reader(environ)
    value = None if composed.root is None else reader.value(composed.root, ())
    reader.marks.setdefault((), Mark(1, 1, "nothing"))
    return Source(value, reader.marks, (*composed.problems, *reader.problems))


def _unreadable(message: str, *, line: int) -> Source:
    return Source(problems=(Problem("", message, line, 1),), whole=False)


class _Reader:
    """Nodes in, values and marks out. Recursion ends where `compose` ended the nesting."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.marks: dict[Place, Mark] = {}
        self.problems: list[Problem] = []
        self._environ = environ

    def value(self, node: yaml.Node, place: Place) -> object:
        """The value of a node, its mark and those of all that is in it."""
        if isinstance(node, yaml.MappingNode):
            self.marks[place] = self._mark(node, "a mapping", place)
            return self._mapping(node, place)
        if isinstance(node, yaml.SequenceNode):
            self.marks[place] = self._mark(node, "a list", place)
            return [self.value(item, (*place, index)) for index, item in enumerate(node.value)]
        return self._scalar(node, place)

    def _mapping(self, node: yaml.MappingNode, place: Place) -> dict[str, object]:
        found: dict[str, object] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self._object(key, place, "expected a text as key, got a collection")
                continue
            inside = (*place, key.value)
            if key.value in found:
                first = self.marks[(*inside, KEY)].line
                self._object(key, inside, f"expected each key once, got it again; it stands on line {first} already")
                continue
            if key.tag != STRING:
                self._object(key, inside, f'expected a text as key; write it in quotes: "{key.value}"')
            self.marks[(*inside, KEY)] = self._mark(key, quoted(key.value), ())
            found[key.value] = self.value(value, inside)
        return found

    def _scalar(self, node: yaml.Node, place: Place) -> str | None:
        written: str = node.value
        if node.tag == NULL:
            self.marks[place] = self._mark(node, "nothing", place)
            return None
        if not has_references(written):
            self.marks[place] = self._mark(node, quoted(written), ())
            return written.replace("$$", "$")
        # What a variable holds may be a secret: messages show its name instead.
        mark = self._mark(node, f"what {quoted(written)} stands for", ())
        self.marks[place] = Mark(mark.line, mark.column, mark.shown, written)
        try:
            return expand(written, self._environ)
        except NotExpanded as error:
            self._object(node, place, str(error))
            return None

    def _mark(self, node: yaml.Node, shown: str, place: Place) -> Mark:
        """The node's mark; that of its key if `place` has one, for what is better looked for there."""
        key = self.marks.get((*place, KEY)) if place else None
        if key is not None:
            return Mark(key.line, key.column, shown)
        return Mark(node.start_mark.line + 1, node.start_mark.column + 1, shown)

    def _object(self, node: yaml.Node, place: Place, message: str) -> None:
        mark = node.start_mark
        self.problems.append(Problem(dotted(place), message, mark.line + 1, mark.column + 1))
