"""What the documents point at exists."""

import re
from pathlib import Path

import pytest
from prometheus_client.metrics import MetricWrapperBase

from gateway.metrics import Metrics
from tests.metrics_table import documented, labels

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TARGET = re.compile(r"^([a-z]+):", re.MULTILINE)


def shell_commands(text: str) -> list[str]:
    """The commands in blocks of shell, without comments."""
    blocks = [block for language, block in FENCE.findall(text) if language in ("", "sh", "bash", "console")]
    lines = [line.split(" #")[0].removeprefix("$ ").strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line]


def anchors(text: str) -> set[str]:
    """What a link into this document may name: its headings, as the forges write them."""
    headings = re.findall(r"^#+ +(.+)$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    for link in LINK.findall(FENCE.sub("", document.read_text())):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        assert target.is_relative_to(ROOT), link
        assert target.exists(), link
        assert not anchor or anchor in anchors(target.read_text()), link


def test_the_readme_names_make_targets_that_exist() -> None:
    targets = set(TARGET.findall((ROOT / "Makefile").read_text()))
    named = [line.split() for line in shell_commands((ROOT / "README.md").read_text()) if line.startswith("make ")]
    assert named, "the README shows how to start"
    for words in named:
        asked = [word for word in words[1:] if "=" not in word and not word.startswith("-")]
        assert set(asked) <= targets, words


def test_the_documents_name_no_folder_of_one_machine() -> None:
    for document in DOCUMENTS:
        assert not re.search(r"(?<![\w.])/(?:root|home|work|Users)/", document.read_text()), document


def instruments() -> list[MetricWrapperBase]:
    """All of them, as declared."""
    metrics = Metrics(models=(), teams=())
    return [one for one in vars(metrics).values() if isinstance(one, MetricWrapperBase)]


def test_the_document_and_the_code_tell_the_same_names_types_and_labels() -> None:
    declared = {}
    for one in instruments():
        (family,) = one.describe()
        name = family.name + ("_total" if family.type == "counter" else "")
        declared[name] = (family.type, frozenset(one._labelnames))
    assert declared == documented()
    assert all(name.startswith("audiogate_") for name in declared)


def test_every_label_is_explained_and_every_explained_label_is_used() -> None:
    assert {label for _, used in documented().values() for label in used} == set(labels())


def test_the_names_follow_the_conventions() -> None:
    for name, (kind, _) in documented().items():
        assert name.endswith("_total") == (kind == "counter"), name
        assert not name.endswith(("_ms", "_milliseconds", "_minutes")), name
        assert kind != "histogram" or name.endswith("_seconds"), name


def test_each_row_of_what_was_tried_names_a_test() -> None:
    names = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^(?:async )?def (test_\w+)", path.read_text(), re.MULTILINE)
    }
    rows = re.findall(
        r"^\| ([A-Z]-\d+) \|.*`(test_[A-Z]_\d+\w*)`", (ROOT / "docs/reliability.md").read_text(), re.MULTILINE
    )
    assert len(rows) > 120
    for row, wanted in rows:
        assert wanted.startswith("test_" + row.replace("-", "_")), row
        assert any(re.match(rf"{wanted}(?!\d)", name) for name in names), f"{row}: no test is called {wanted}…"
