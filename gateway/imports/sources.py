"""Files of other gateways as plain values: mappings, lists, texts, numbers and None. Whatever is in a file, the answer
is values or a SetupError of one sentence.
"""

import json
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import BinaryIO, Final

import yaml

from gateway.config.syntax import NULL
from gateway.errors import SetupError

LARGEST_YAML: Final = 1_000_000
LARGEST_JSON: Final = 50_000_000
DEEPEST: Final = 40
MOST_VALUES: Final = 200_000  # an alias is a line that may stand for thousands of them
SQLITE: Final = b"SQLite format 3\x00"
MERGE: Final = "tag:yaml.org,2002:merge"

Tables = Mapping[str, list[dict[str, object]]]
"""Rows by the kind of thing they are: channels, tokens, users, options."""


def yaml_file(path: Path) -> object:
    """A YAML file. Every scalar stays the text that was written, so that prices are exact."""
    content = _content(path, LARGEST_YAML)
    try:
        loader = _Loader(content.decode("utf-8-sig"))
        node = loader.get_single_node()
        return None if node is None else _Values().of(node, 0)
    except UnicodeDecodeError:
        raise SetupError(
            f"{path} is no text in UTF-8; name the YAML file that the other gateway starts with."
        ) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f":{mark.line + 1}" if mark else ""
        raise SetupError(f"{path}{place} is not valid YAML: {error.problem}; mend it there first.") from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        reason = str(error).partition("\n")[0]
        raise SetupError(f"{path} is not valid YAML: {reason}; mend it there first.") from None


def tables(path: Path) -> Tables:
    """An SQLite database or a JSON answer of new-api's API."""
    with _opened(path) as file:
        begin = file.read(len(SQLITE))
    if begin == SQLITE:
        from gateway.imports import database

        return database.tables(path)
    return _sorted(_items(_json(path), path), path)


class _Loader(yaml.SafeLoader):
    """The safe loader's nodes, of which there are not too many inside each other; its constructors are never used."""

    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self._depth += 1
        if self._depth > DEEPEST:
            raise ValueError(f"more than {DEEPEST} levels")
        node: yaml.Node | None = super().compose_node(parent, index)
        self._depth -= 1
        return node


class _Values:
    """Nodes in, values out; anchors, aliases and merges are followed, and counted."""

    def __init__(self) -> None:
        self._left = MOST_VALUES

    def of(self, node: yaml.Node, depth: int) -> object:
        self._left -= 1
        if self._left < 0 or depth > DEEPEST:
            raise ValueError("its aliases make it endless")
        if isinstance(node, yaml.SequenceNode):
            return [self.of(one, depth + 1) for one in node.value]
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, depth)
        return None if node.tag == NULL else node.value

    def _mapping(self, node: yaml.MappingNode, depth: int) -> dict[str, object]:
        merged: dict[str, object] = {}
        own: dict[str, object] = {}
        for key, value in node.value:
            found = self.of(value, depth + 1)
            if key.tag == MERGE:
                for one in reversed(found if isinstance(found, list) else [found]):
                    merged |= one if isinstance(one, dict) else {}
            elif isinstance(key, yaml.ScalarNode):
                own[key.value] = found
        return merged | own


def _json(path: Path) -> object:
    content = _content(path, LARGEST_JSON)
    try:
        return json.loads(content, parse_float=Decimal, parse_constant=_no_constant)
    except (ValueError, RecursionError, ArithmeticError):
        words = (
            "is neither an SQLite database nor valid JSON; name new-api's database (one-api.db) or an answer of its API"
        )
        raise SetupError(f"{path} {words}, such as that of GET /api/channel/.") from None


def _no_constant(word: str) -> None:
    raise ValueError(word)


def _items(value: object, path: Path) -> list[object]:
    """The rows in an answer: a list, or one inside `data`, `items`, or keys named after the tables."""
    if isinstance(value, dict) and value.get("success") is False:
        raise SetupError(f"The answer in {path} says that the request failed; ask again as an administrator.")
    for name in ("data", "items"):
        if isinstance(value, dict) and isinstance(value.get(name), dict | list):
            value = value[name]
    if isinstance(value, dict):
        lists = [one for name in ("channels", "tokens", "users", "options") if isinstance(one := value.get(name), list)]
        return [row for one in lists for row in one] if lists else [value]
    return value if isinstance(value, list) else []


def _sorted(rows: list[object], path: Path) -> Tables:
    """Rows by what they are, which their fields tell."""
    found: dict[str, list[dict[str, object]]] = {"channels": [], "tokens": [], "users": [], "options": []}
    for row in rows:
        if isinstance(row, dict) and (kind := _kind(row)):
            found[kind].append(row)
    if not any(found.values()):
        raise SetupError(
            f"{path} has no channels, tokens, users or options of new-api; name an answer of GET /api/channel/, "
            "/api/token/, /api/user/ or /api/option/."
        )
    return found


def _kind(row: Mapping[str, object]) -> str:
    if "models" in row and ("type" in row or "base_url" in row):
        return "channels"
    if "remain_quota" in row or "unlimited_quota" in row:
        return "tokens"
    if "username" in row:
        return "users"
    return "options" if set(row) == {"key", "value"} else ""


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise SetupError(f"{path} cannot be read ({reason}); name a file that can.") from None


def _content(path: Path, most: int) -> bytes:
    with _opened(path) as file:
        try:
            content = file.read(most + 1)
        except OSError as error:
            raise SetupError(f"{path} cannot be read ({error.strerror}); name a file that can.") from None
    if len(content) > most:
        raise SetupError(f"{path} is larger than {most:,} bytes, so it is no configuration; name another file.")
    return content
