"""The tables of docs/metrics.md."""

import re
from pathlib import Path

DOCUMENT = Path(__file__).parent.parent / "docs" / "metrics.md"
ROWS = re.compile(r"^\| `(audiogate_\w+)` \| (\w+) \|(.*?)\| ([A-Z1].*) \|$", re.MULTILINE)
LABELS = re.compile(r"^\| ((?:`\w+`(?:, )?)+) \| (.*) \|$", re.MULTILINE)


def labels() -> dict[str, frozenset[str]]:
    """The values listed for each label."""
    rows = LABELS.findall(DOCUMENT.read_text().partition("## Labels")[2])
    word = re.compile(r"`(\w+)`")
    return {name: frozenset(word.findall(values)) for names, values in rows for name in word.findall(names)}


def documented() -> dict[str, tuple[str, frozenset[str]]]:
    """Type and labels by name, as the document has them."""
    found = ROWS.findall(DOCUMENT.read_text())
    assert len({row[0] for row in found}) == len(found)
    return {name: (kind, frozenset(re.findall(r"`(\w+)`", labels))) for name, kind, labels, _ in found}
