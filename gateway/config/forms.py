"""Values that may be written in two ways: nothing or a mapping, a list or a mapping, a word or a mapping."""

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, ValidatorFunctionWrapHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from gateway.config.values import MODEL

FREE = "free"
SAME = "*"  # behind a model's name: what callers say is what the upstream is told


def nothing_is_empty(value: object) -> object:
    """A key with nothing behind it, as when all below it is commented out, is an empty mapping."""
    return {} if value is None else value


def nothing_is_none_of_them(value: object) -> object:
    """The same for a list. Not for lists of what is allowed: there, nothing must not turn into everything."""
    return [] if value is None else value


def is_pattern(name: str) -> bool:
    """Whether a model's name stands for several."""
    return bool(set(name) & set("*?["))


@dataclass(frozen=True, slots=True)
class NamesOrMap:
    """A list of model names is a mapping in which each has its own name at the upstream, too."""

    def __get_pydantic_core_schema__(self, source: object, build: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(_mapping_of_names, build(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, build: GetJsonSchemaHandler) -> dict[str, object]:
        mapping = build(schema)
        (name,) = mapping["patternProperties"].values()
        names = {"type": "array", "items": name, "minItems": 1}
        return {"anyOf": [names, mapping]}


@dataclass(frozen=True, slots=True)
class FreeOr:
    """The word `free`, or a mapping of prices of which one is more than zero. `free` is the empty row."""

    def __get_pydantic_core_schema__(self, source: object, build: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_wrap_validator_function(_row_of_prices, build(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, build: GetJsonSchemaHandler) -> dict[str, object]:
        return {"anyOf": [{"const": FREE}, dict(build(schema), minProperties=1)]}


def _mapping_of_names(value: object) -> object:
    if not isinstance(value, list):
        if not isinstance(value, Mapping):
            raise PydanticCustomError("expected", "unfit", {"expected": "a list or a mapping of models"})
        return value
    for index, name in enumerate(value):
        try:
            MODEL.read(name if isinstance(name, str) else "")
        except ValueError:
            raise PydanticCustomError("expected", "unfit", {"expected": MODEL.expected, "at": index}) from None
    return {name: SAME if is_pattern(name) else name for name in value}


def _row_of_prices(value: object, fit: ValidatorFunctionWrapHandler) -> object:
    if value == FREE:
        return fit({})
    if not isinstance(value, Mapping):
        raise PydanticCustomError("expected", "unfit", {"expected": "a mapping of prices or the word free"})
    row = fit(value)
    if not any(price for _unit, price in row):
        words = "nothing here costs anything; write a price of more than 0, or the word free"
        raise PydanticCustomError("objection", "unfit", {"words": words})
    return row
