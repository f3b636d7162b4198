"""What is wrong with the file, in an operator's words."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from gateway.errors import SetupError

Place = tuple[str | int, ...]
"""Where a value stands in the file: the keys and list indices that lead to it."""

LONGEST_SHOWN = 60


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake: the dotted path of the value, what was found and what was expected, and where (from 1)."""

    path: str
    message: str
    line: int | None = None
    column: int | None = None


class ConfigError(SetupError):
    """The configuration cannot be used. `problems` are all of its mistakes, in the order of the file."""

    def __init__(self, file: Path, problems: Sequence[Problem]) -> None:
        super().__init__(file, problems)
        self.file = file
        self.problems = tuple(sorted(problems, key=lambda problem: (problem.line or 0, problem.column or 0)))

    def __str__(self) -> str:
        return "\n".join(self._line(problem) for problem in self.problems)

    def _line(self, problem: Problem) -> str:
        place = str(self.file) if problem.line is None else f"{self.file}:{problem.line}"
        path = f"{problem.path}: " if problem.path else ""
        return f"{place}: {path}{problem.message}"


def dotted(place: Place) -> str:
    """A place as messages write it: `keys.alice.limits[0].amount`."""
    words = [f"[{part}]" if isinstance(part, int) else f".{printable(part)}" for part in place]
    return "".join(words).removeprefix(".")


def quoted(text: str) -> str:
    """A text of the file as messages may show it: on one line and not too long."""
    return f"'{printable(text)}'"


def printable(text: str) -> str:
    """A text with what would garble a line of a message escaped or cut off."""
    if len(text) > LONGEST_SHOWN:
        text = text[: LONGEST_SHOWN - 1] + "…"
    return text if text.isprintable() else ascii(text)[1:-1]


def meant(text: str, choices: Iterable[str]) -> str:
    """The end of a message that offers the choice which `text` is nearest to, or nothing."""
    near = get_close_matches(text, list(choices), n=1)
    return f"; did you mean '{near[0]}'?" if near else ""
