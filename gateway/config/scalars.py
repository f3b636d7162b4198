"""How a text of the file is given a meaning.

The reader leaves every scalar a text. A Scalar says how it is read, what to tell an operator whose text does not fit,
and what editors are told (JSON Schema): there, a text that holds `${` always fits. The rows are in `values.py`.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

REFERENCE = r"\$\{"


class Objection(Exception):
    """A text that reads well and is wrong all the same; the message says why and does not repeat it."""


@dataclass(frozen=True, slots=True)
class Scalar:
    """How a text is read. `read` raises ValueError where it is not what `expected` says, or Objection.

    `choices` are offered to who mistyped one, `secret` texts are not shown, `blank` reads nothing as an empty text.
    """

    expected: str
    read: Callable[[str], object]
    json: Mapping[str, object]
    choices: tuple[str, ...] = ()
    secret: bool = False
    blank: bool = False

    def __get_pydantic_core_schema__(self, source: object, build: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self._value)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, build: GetJsonSchemaHandler) -> dict[str, object]:
        return dict(self.json)

    def _value(self, value: object) -> object:
        if value is None and self.blank:
            value = ""
        words = {"expected": self.expected, "choices": self.choices, "secret": self.secret}
        if not isinstance(value, str):
            raise PydanticCustomError("expected", "unfit", words)
        try:
            return self.read(value)
        except Objection as objection:
            raise PydanticCustomError("objection", "unfit", {"words": str(objection)}) from None
        except (ValueError, ArithmeticError):
            raise PydanticCustomError("expected", "unfit", words | {"text": value}) from None


def text(
    pattern: str,
    expected: str,
    *,
    read: Callable[[str], object] = str,
    secret: bool = False,
    blank: bool = False,
) -> Scalar:
    """A text that matches a pattern as a whole."""
    whole = re.compile(pattern)

    def checked(value: str) -> object:
        if not whole.fullmatch(value):
            raise ValueError
        return read(value)

    types = ["string", "null"] if blank else "string"
    json = {"type": types, "pattern": f"^({pattern})$|{REFERENCE}"}
    return Scalar(expected, checked, json, secret=secret, blank=blank)


def whole_number(least: int, most: int) -> Scalar:
    """A whole number between two bounds, both of them allowed."""

    def read(value: str) -> int:
        number = int(matched(r"0|[1-9][0-9]{0,15}", value))
        if not least <= number <= most:
            raise ValueError
        return number

    json = number({"type": "integer", "minimum": least, "maximum": most}, r"^[0-9]+$")
    return Scalar(f"a whole number from {least} to {most}", read, json)


def one_of(choices: Sequence[str]) -> Scalar:
    """One of these words."""

    def read(value: str) -> str:
        if value not in choices:
            raise ValueError
        return value

    json = {"anyOf": [{"enum": list(choices)}, {"type": "string", "pattern": REFERENCE}]}
    words = choices[0] if len(choices) == 1 else f"{', '.join(choices[:-1])} or {choices[-1]}"
    return Scalar(words, read, json, choices=tuple(choices))


def one_of_numbers(*choices: int) -> Scalar:
    """One of these whole numbers."""
    words = one_of([str(choice) for choice in choices])

    def read(value: str) -> int:
        return int(str(words.read(value)))

    json = {"anyOf": [{"enum": list(choices)}, {"type": "string", "pattern": REFERENCE}]}
    return Scalar(words.expected, read, json, choices=words.choices)


def number(json: dict[str, object], pattern: str) -> dict[str, object]:
    """The JSON Schema of a number that may also be written as a text with this pattern."""
    return {"anyOf": [json, {"type": "string", "pattern": f"{pattern}|{REFERENCE}"}]}


def matched(pattern: str, value: str) -> str:
    """The text itself if all of it matches. Raises ValueError."""
    if not re.fullmatch(pattern, value):
        raise ValueError
    return value
