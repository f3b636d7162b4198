"""What the samples of all rounds come to: medians, with what was least and most."""

import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

MEASURES = ("per_second", "cpu_ms", "store_ms", "first_p50", "first_p99", "whole_p50", "whole_p99", "faults",
            "growth_mb", "seconds", "aside_busy", "all_cpu_ms")  # fmt: skip
Where = tuple[str, str]  # row and contestant


@dataclass(frozen=True)
class Figure:
    """The median of a measure, its least and its most."""

    median: float
    least: float
    most: float


@dataclass(frozen=True)
class Figures:
    """All figures by row and contestant; `wrong` says what went wrong there, in a few words."""

    found: Mapping[Where, Mapping[str, Figure]]
    wrong: Mapping[Where, str]

    def median(self, row: str, who: str, measure: str) -> float | None:
        """A median, None if there is none or something went wrong there."""
        figure = self.found.get((row, who), {}).get(measure)
        return None if figure is None or (row, who) in self.wrong else figure.median


def figures(samples: Iterable[Mapping[str, Any]]) -> Figures:
    """Put the samples together. What failed, or lost bytes, has no figure that counts."""
    cells: dict[Where, list[Mapping[str, Any]]] = defaultdict(list)
    for sample in samples:
        cells[sample["row"], sample["who"]].append(sample)
    found: dict[Where, dict[str, Figure]] = {}
    wrong: dict[Where, str] = {}
    for where, rows in cells.items():
        found[where] = {}
        for measure in MEASURES:
            if numbers := [number for row in rows if (number := _value(row, measure)) is not None]:
                found[where][measure] = Figure(statistics.median(numbers), min(numbers), max(numbers))
        if fault := _fault(rows):
            wrong[where] = fault
    return Figures(found, wrong)


def _value(sample: Mapping[str, Any], measure: str) -> float | None:
    if measure == "all_cpu_ms":  # with its store
        return sample["cpu_ms"] + sample["store_ms"] if "cpu_ms" in sample else None
    return sample.get(measure)


def _fault(rows: Iterable[Mapping[str, Any]]) -> str:
    """What is wrong in a cell. One answer in a thousand that is an error does not spoil the others."""
    rows = list(rows)
    requests, errors = (sum(row.get(name, 0) for row in rows) for name in ("requests", "errors"))
    if errors * 1000 > requests:
        first = next((row["first_error"] for row in rows if row.get("first_error")), "no answer in time")
        return f"{errors} of {requests + errors} failed: {first[:120]}"
    return "" if all(row.get("intact", True) for row in rows) else "bytes were lost"
