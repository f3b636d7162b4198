"""The file of a run, JSON lines: facts first, then each sample as it is taken, then who could not take part."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.report import number
from benchmarks.rounds import Sample

SHOWN = ("per_second", "cpu_ms", "store_ms", "first_p50", "whole_p99", "growth_mb", "seconds", "aside_busy")


class Results:
    """A new file of results."""

    def __init__(self, path: Path, facts: dict[str, Any]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._add(facts)

    def tell(self, sample: Sample) -> None:
        """Keep and show a sample."""
        self._add(sample)
        shown = [f"{sample['row']:12}", f"{sample['who']:15}"]
        shown += [f"{name} {number(sample[name])}" for name in SHOWN if name in sample]
        if sample.get("errors"):
            shown.append(f"errors {sample['errors']}: {sample['first_error'][:150]}")
        if not sample.get("intact", True):
            shown.append("BYTES WERE LOST")
        print("  ".join(shown), flush=True)

    def unfit(self, who: str, why: str) -> None:
        """Keep and show that somebody could not take part."""
        self._add({"unfit": who, "why": why})
        print(f"Not in this run: {who}, because {why}", flush=True)

    def _add(self, line: dict[str, Any]) -> None:
        with open(self.path, "a") as out:
            out.write(json.dumps(line) + "\n")


def read(paths: Iterable[Path]) -> tuple[dict[str, Any], list[Sample], dict[str, str]]:
    """Facts, samples and who could not take part. Where several files have a row, the last one's counts, as a whole."""
    facts: dict[str, Any] = {"versions": {}}
    lengths: list[str] = []
    rows: dict[str, list[Sample]] = {}
    unfit: dict[str, str] = {}
    for path in paths:
        first, *lines = map(json.loads, path.read_text().splitlines())
        facts |= {**first, "versions": facts["versions"] | first["versions"]}
        lengths.append(f"{first['rounds']} rounds of {first['seconds']:g} s")
        unfit |= {line["unfit"]: line["why"] for line in lines if "unfit" in line}
        fresh: dict[str, list[Sample]] = {}
        for line in lines:
            if "row" in line:
                fresh.setdefault(line["row"], []).append(line)
        rows |= fresh
    facts["length"] = ", ".join(dict.fromkeys(lengths))
    return facts, [sample for samples in rows.values() for sample in samples], unfit
