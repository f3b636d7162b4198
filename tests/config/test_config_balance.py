"""Which upstreams are asked what is left of our money."""

from pathlib import Path

import pytest

from gateway.config.load import load
from tests.config.test_config_schema import UPSTREAM, fits
from tests.config.told import found

FILE = "upstreams: {{a: {{kind: {kind}, base_url: 'https://a', models: [m], key: sk-1{row}}}}}\nprices: {{m: free}}\n"


@pytest.mark.parametrize(
    ("kind", "row", "asked"),
    [
        ("newapi", "", True),
        ("newapi", ", balance: auto", True),
        ("newapi", ", balance: off", False),
        ("newapi", ", balance: '${ASK:-off}'", False),
        ("openai", "", False),
        ("openai", ", balance: auto", True),
        ("openai", ", balance: off", False),
    ],
)
def test_an_upstream_is_asked_by_its_kind_unless_the_file_says_otherwise(
    tmp_path: Path, kind: str, row: str, asked: bool
) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text(FILE.format(kind=kind, row=row))
    (upstream,) = load(file, {}).market.upstreams
    assert upstream.balance is asked


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("on", "expected auto or off, got 'on'"),
        ("atuo", "expected auto or off, got 'atuo'; did you mean 'auto'?"),
        ("", "expected auto or off, got nothing"),
        ("[auto]", "expected auto or off, got a list"),
    ],
)
def test_another_word_is_told(tmp_path: Path, written: str, message: str) -> None:
    assert found(tmp_path, FILE.format(kind="newapi", row=f", balance: {written}")) == [
        (1, "upstreams.a.balance", message)
    ]


def test_editors_are_told_the_same() -> None:
    assert all(fits({"upstreams": {"a": {**UPSTREAM, "balance": word}}}) for word in ("auto", "off", "${ASK}"))
    assert not fits({"upstreams": {"a": {**UPSTREAM, "balance": "on"}}})
