"""What editors are told agrees with what the gateway does."""

from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest

from gateway.config.schema import json_schema

UPSTREAM = {"kind": "newapi", "base_url": "https://a.b/v1", "models": ["m"]}


def fits(value: object) -> bool:
    return jsonschema.Draft202012Validator(json_schema()).is_valid(value)


def test_a_small_file_fits() -> None:
    assert fits({"upstreams": {"a": UPSTREAM}})


@pytest.mark.parametrize(
    "addition",
    [
        {"server": None, "keys": {"a": None}, "teams": {}},
        {"server": {"port": "${PORT:-8080}", "log": "${LOG}"}, "uploads": {"max_bytes": "25MiB"}},
        {"prices": {"*": "free", "m": {"per_minute": 0.006, "per_request": "0.1"}}},
        {"keys": {"a": {"expires": "2027-01-01", "limits": None, "revoked": False, "key": None}}},
        {"teams": {"t": {"limits": [{"measure": "concurrency", "amount": 4}]}}},
        {"upstreams": {"a": {**UPSTREAM, "models": {"m": "n", "o*": "*"}, "can": {"formats": ["json"]}}}},
    ],
)
def test_these_fit(addition: dict[str, object]) -> None:
    assert fits({"upstreams": {"a": UPSTREAM}, **addition})


@pytest.mark.parametrize(
    "addition",
    [
        {"upstream": {}},
        {"server": {"prot": 1}},
        {"server": {"port": 0}},
        {"server": {"log": "xml"}},
        {"upstreams": {}},
        {"upstreams": {"a b": UPSTREAM}},
        {"upstreams": {"a": {"kind": "newapi", "models": ["m"]}}},
        {"upstreams": {"a": {**UPSTREAM, "models": []}}},
        {"upstreams": {"a": {**UPSTREAM, "api_key": "x"}}},
        {"upstreams": {"a": {**UPSTREAM, "base_url": "ftp://a"}}},
        {"prices": {"m": "fre"}},
        {"prices": {"m": {}}},
        {"teams": {"t": {"models": []}}},
        {"teams": {"t": {"models": None}}},
        {"keys": {"a": {"expires": "soon"}}},
    ],
)
def test_these_do_not(addition: dict[str, object]) -> None:
    assert not fits({"upstreams": {"a": UPSTREAM}, **addition})


def test_every_field_has_a_description() -> None:
    schema = json_schema()
    definitions: dict[str, Any] = {"File": schema, **schema["$defs"]}  # type: ignore[dict-item]
    bare = [name for name, row in definitions.items() for name in undescribed(name, row, definitions)]
    assert bare == []


def undescribed(name: str, row: dict[str, Any], definitions: dict[str, Any]) -> Iterator[str]:
    for key, field in row["properties"].items():
        target = definitions[field["$ref"].rpartition("/")[2]] if "$ref" in field else {}
        if not (field.get("description") or target.get("description")):
            yield f"{name}.{key}"
