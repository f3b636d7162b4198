"""What the documents say of every key, error, verb and metric: nothing may be missing from them."""

import re
from pathlib import Path

import pytest

from gateway.config.reference import reference
from gateway.errors import ROWS

DOCS = Path(__file__).parent.parent / "docs"


def test_the_reference_of_the_configuration_is_what_the_schema_says() -> None:
    command = "python -m gateway.config.reference > docs/configuration.md"
    assert (DOCS / "configuration.md").read_text() == reference(), f"run: {command}"


def errors() -> dict[str, list[str]]:
    """The cells of each error in the catalogue, by its name."""
    rows = re.findall(r"^\| `(\w+)` \|(.*)\|$", (DOCS / "errors.md").read_text(), re.MULTILINE)
    assert len({name for name, _ in rows}) == len(rows)
    return {name: [cell.strip() for cell in rest.split(" | ")] for name, rest in rows}


def test_every_error_is_in_the_catalogue_and_no_other() -> None:
    assert set(errors()) == set(ROWS)


@pytest.mark.parametrize("name", sorted(ROWS))
def test_an_error_is_told_with_its_status_code_cause_and_remedy(name: str) -> None:
    status, code, cause, remedy = errors()[name]
    row = ROWS[name]
    assert (status, code) == (str(row.status), f"`{row.code}`" if row.code else "–")
    assert len(cause) > 10
    assert len(remedy) > 5
