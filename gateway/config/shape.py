"""The file's values held against the schema: rows, and every misfit in an operator's words at its line."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import get_args

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from gateway.config.forms import FREE
from gateway.config.problem import Place, Problem, meant
from gateway.config.rows import Row
from gateway.config.schema import File
from gateway.config.source import KEY, Source
from gateway.upstreams import KINDS

_EXPECTED: Mapping[str, str] = {
    "model_type": "a mapping",
    "dict_type": "a mapping",
    "tuple_type": "a list",
    "too_short": "at least one entry",
}
# What stands in for a bad entry while the rest is checked, so that those who refer to it are not blamed.
_STAND_INS: Mapping[str, object] = {
    "upstreams": {"kind": next(iter(KINDS)), "base_url": "http://stand.in", "models": ["stand-in"]},
    "prices": FREE,
    "teams": {},
    "keys": {},
}


@dataclass(frozen=True, slots=True)
class Shape:
    """The rows of a file and what did not fit. `misfits` are the entries with problems: they are stand-ins.

    `file` None: there is not enough to check anything else.
    """

    file: File | None
    problems: tuple[Problem, ...] = ()
    misfits: frozenset[Place] = frozenset()


def shape(source: Source) -> Shape:
    """Hold the file's values against the schema."""
    try:
        return Shape(File.model_validate(source.value))
    except ValidationError as error:
        details = _telling(error.errors(include_url=False, include_input=False))
    problems = tuple(_problem(detail, source) for detail in details)
    misfits = frozenset(detail["loc"][:2] for detail in details)
    try:
        file = File.model_validate(_salvaged(source.value, (detail["loc"] for detail in details)))
    except ValidationError:
        return Shape(None, problems, misfits)
    return Shape(file, problems, misfits)


def _telling(details: list[ErrorDetails]) -> list[ErrorDetails]:
    """The errors without "too short" where that only means that an entry, for which there is an error, does not fit."""
    around = {detail["loc"][:end] for detail in details for end in range(len(detail["loc"]))}
    return [detail for detail in details if detail["type"] != "too_short" or detail["loc"] not in around]


def _problem(detail: ErrorDetails, source: Source) -> Problem:
    words, place = detail.get("ctx", {}), detail["loc"]
    if "at" in words:
        place = (*place, words["at"])
    return source.problem(place, _message(detail, place, source))


def _message(detail: ErrorDetails, place: Place, source: Source) -> str:
    words, kind = detail.get("ctx", {}), detail["type"]
    if kind == "objection":
        return str(words["words"])
    if kind == "missing":
        return "this is missing, and it has no default"
    if kind == "extra_forbidden":
        return "unknown key" + meant(str(place[-1]), _fields(place[:-1]))
    message = f"expected {words['expected'] if kind == 'expected' else _EXPECTED[kind]}"
    mark = source.mark(place)
    if mark is not None and not words.get("secret"):
        message += f", got {mark.shown}"
    return message + meant(str(words.get("text", "")), words.get("choices", ()))


def _fields(place: Place) -> tuple[str, ...]:
    """The keys that may stand in the row at a place."""
    kind: object = File
    for part in place:
        row = _row(kind)
        if row is not None:
            kind = row.model_fields[str(part)].annotation
        else:  # a mapping of rows or a list of them: what is in it comes last among its types
            kind = [inner for inner in get_args(kind) if inner is not Ellipsis][-1]
    row = _row(kind)
    return tuple(row.model_fields) if row is not None else ()


def _row(kind: object) -> type[Row] | None:
    bare = getattr(kind, "__origin__", kind)  # without what annotates it
    return bare if isinstance(bare, type) and issubclass(bare, Row) else None


def _salvaged(value: object, places: Iterable[Place]) -> object:
    """The file without the entries (`keys.alice`, `server.port`, at worst a section) that do not fit."""
    if not isinstance(value, dict):
        return value
    kept = {name: dict(section) if isinstance(section, dict) else section for name, section in value.items()}
    for place in places:
        section = kept.get(str(place[0])) if place else None
        if len(place) < 2 or not isinstance(section, dict):
            kept.pop(str(place[0]) if place else "", None)
        elif place[0] in _STAND_INS and place[-1] != KEY:
            section[str(place[1])] = _STAND_INS[str(place[0])]
        else:
            section.pop(str(place[1]), None)
    return kept
