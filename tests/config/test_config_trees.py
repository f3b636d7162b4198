"""Whatever tree the file holds, it is loaded or refused."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.config.told import refusal

SECTIONS = ["server", "store", "uploads", "upstreams", "prices", "teams", "keys", "other"]
FIELDS = ["port", "kind", "base_url", "key", "models", "limits", "prices", "can", "routes", "m", "a", "team", "per"]
SCALARS = st.sampled_from(["", "1", "0.5", "-1", "free", "newapi", "https://a", "m", "*", "${A}", "~", "true", "usd"])
TREES = st.recursive(
    SCALARS | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*SECTIONS, *FIELDS]) | st.text(max_size=3), inner, max_size=4)
    ),
    max_leaves=20,
)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(SECTIONS), TREES))
def test_no_tree_crashes_the_loader(tmp_path_factory: pytest.TempPathFactory, tree: dict[str, object]) -> None:
    file = tmp_path_factory.mktemp("tree") / "gateway.yaml"
    file.write_text(flow(tree))
    told = refusal(file, {"A": "x"})
    assert told is None or len(str(told).splitlines()) == len(told.problems) > 0


def flow(value: object) -> str:
    """A tree as YAML on one line; scalars are plain where they can be."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{quoted(key)}: {flow(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(flow(inner) for inner in value) + "]"
    return str(value) if value in ("1", "0.5", "~", "true", "-1") else quoted(str(value))


def quoted(text: str) -> str:
    return '"' + "".join(one if one.isalnum() and one.isascii() else f"\\U{ord(one):08x}" for one in text) + '"'
