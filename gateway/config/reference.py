"""The reference of the configuration file, made from its schema: `python -m gateway.config.reference` prints it."""

import json
from collections.abc import Iterator, Mapping
from textwrap import fill
from typing import Any

from gateway.config.schema import json_schema

Node = Mapping[str, Any]

HEAD = """\
# Configuration

Every key that may stand in the configuration file, made from [its schema](../config/audiogate.schema.json) by
`python -m gateway.config.reference > docs/configuration.md`. [config/gateway.yaml](../config/gateway.yaml) is a file to
start from, and `audiogate init` writes one; `audiogate check` says everything that is wrong with a file, each with its
line; `audiogate config show` tells what it comes to.

In any value `${VAR}` stands for an environment variable, `${VAR:-default}` for one that may be unset or empty,
`${file:/path}` for what a file holds, and `$$` for a dollar sign. Keys that are not listed here are mistakes.
A gateway that serves reads the file again once it has changed ([reload](reload.md)); changes of `server` (but for
its two tokens), `store` and `telemetry` take a restart.
"""
WORDS = {"boolean": "true or false", "integer": "a whole number", "number": "a number", "string": "a text"}


def reference() -> str:
    """The whole document, in Markdown."""
    schema = json_schema()
    parts = [HEAD]
    for title, node in _sections(schema, schema, ""):
        parts.append(f"## {title}\n\n{_sentence(node)}\n\n{_table(schema, node, title)}")
    return "\n".join(parts)


def _sections(schema: Node, node: Node, path: str) -> Iterator[tuple[str, Node]]:
    """Each mapping of the file that has keys of its own, by its dotted path."""
    for name, one in node["properties"].items():
        place = f"{path}.{name}" if path else name
        for inner, found in _inside(schema, one):
            title = f"{place}{inner}"
            yield title, {**found, "description": one.get("description") or found.get("description", "")}
            yield from _sections(schema, found, title)


def _inside(schema: Node, node: Node) -> Iterator[tuple[str, Node]]:
    """The mappings that a value may be, or may hold: what stands behind its path, and the mapping."""
    if "$ref" in node:
        found = schema["$defs"][node["$ref"].rpartition("/")[2]]
        if "properties" in found:
            yield "", found
    for one in node.get("anyOf", ()):
        yield from _inside(schema, one)
    for one in node.get("patternProperties", {}).values():
        for inner, found in _inside(schema, one):
            yield f".NAME{inner}", found
    if "items" in node:
        for inner, found in _inside(schema, node["items"]):
            yield f"[]{inner}", found


def _sentence(node: Node) -> str:
    return fill(str(node["description"]), 120, break_long_words=False, break_on_hyphens=False)


def _table(schema: Node, node: Node, title: str) -> str:
    rows = ["| key | what may stand there | default | meaning |", "|---|---|---|---|"]
    for name, one in node["properties"].items():
        required = "*needed*" if name in node.get("required", ()) else _default(one)
        inner = next(_inside(schema, one), None)
        kind = _kind(one) if inner is None else f"see `{title}.{name}{inner[0]}`"
        meaning = one.get("description") or (inner[1]["description"] if inner is not None else "")
        cells = (f"`{name}`", kind, required, str(meaning))
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows) + "\n"


def _kind(node: Node) -> str:
    """What may stand there, in words."""
    if "anyOf" in node:  # what stands for a variable is a text of its own there
        kinds = [_kind(one) for one in node["anyOf"] if one.get("type") not in ("null", "string")]
        return ", or ".join(dict.fromkeys(kinds)) or "a text"
    if "enum" in node:
        return ", ".join(f"`{one}`" for one in node["enum"])
    if "const" in node:
        return f"`{node['const']}`"
    kinds = node.get("type", "string")
    kind = kinds if isinstance(kinds, str) else next(one for one in kinds if one != "null")
    if kind == "array":
        return f"a list: {_kind(node['items'])} each" if "items" in node else "a list"
    if kind == "object":
        return "a mapping"
    return WORDS[kind] + _bounds(node)


def _bounds(node: Node) -> str:
    low, high = node.get("minimum"), node.get("maximum")
    if low is not None and high is not None:
        return f", {low:,} to {high:,}"
    return f", at least {low:,}" if low is not None else f", at most {high:,}" if high is not None else ""


def _default(node: Node) -> str:
    found = node.get("default")
    return "" if found in (None, "", [], {}) else f"`{json.dumps(found, ensure_ascii=False).strip(chr(34))}`"


if __name__ == "__main__":
    print(reference(), end="")  # noqa: T201
