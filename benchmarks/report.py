"""Writes the figures down as Markdown: what was wanted and what was found first, then everything that was measured."""

from collections.abc import Iterable, Iterator, Mapping
from textwrap import fill
from typing import Any

from benchmarks.bar import US, Bar, Verdict, verdicts
from benchmarks.contestants import CONTESTANTS
from benchmarks.figures import Figure, Figures
from benchmarks.workloads import ROWS, SPECIAL

BEGIN = "<!-- what follows is written by `python benchmarks/run.py --write docs/performance.md` -->"
END = "<!-- end of what is written -->"
WORDS = {
    "per_second": "requests/s",
    "cpu_ms": "CPU per request",
    "first_p50": "first byte added, p50",
    "first_p99": "first byte added, p99",
    "growth_mb": "memory growth",
}
TITLES = {
    **{name: row.title for name, row in ROWS.items()},
    "memory": f"{SPECIAL['memory']}, fresh",
    "memory-used": f"{SPECIAL['memory']}, after mixed load",
    **{name: title for name, title in SPECIAL.items() if name != "memory"},
}
UNITS = {"first_p50": " ms", "first_p99": " ms", "growth_mb": " MB"}
COLUMNS = {
    "per_second": "per second",
    "cpu_ms": "CPU ms",
    "store_ms": "its store, CPU ms",
    "first_p50": "first byte p50 ms",
    "first_p99": "p99 ms",
    "whole_p50": "whole p50 ms",
    "whole_p99": "p99 ms",
}
OTHERS = ("nginx", "haproxy", "litellm", "portkey")
MEASURED = {
    "per_second": "",
    "cpu_ms": "CPU per request",
    "first_p50": "first byte, p50",
    "growth_mb": "memory growth",
    "seconds": "time",
}
FULL = 0.95  # of the core of load and upstream: then it may be what was in the way


def report(facts: Mapping[str, Any], figures: Figures, unfit: Mapping[str, str]) -> str:
    """The whole of it."""
    parts = [
        _machine(facts),
        "### What is wanted, and what was found\n",
        *_bars(verdicts(figures)),
        "\n### audiogate as a multiple of the others (behind: in bold)\n",
        *_ratios(figures),
        "\n### Everything that was measured\n",
        *_loads(figures),
        *_rest(figures),
        *(f"\nNot in this run: {CONTESTANTS[who].title}, because {why.rstrip('.')}." for who, why in unfit.items()),
    ]
    return "\n".join(parts) + "\n"


def _machine(facts: Mapping[str, Any]) -> str:
    versions = ", ".join(
        f"{CONTESTANTS[name].title} {said}"
        for name, said in facts["versions"].items()
        if said and name not in ("audiogate-redis", "audiogate-2", "nginx-stock")
    )
    how = f"Taken on {facts['day']}: {facts['length']}, medians"
    where = f"{facts['cpu']}, {facts['cores']} cores, {facts['memory_gb']} GB, Linux {facts['kernel']}"
    return fill(f"{how}. {where}, Python {facts['python']}. {versions}.", 120, break_on_hyphens=False) + "\n"


def _bars(found: Iterable[Verdict]) -> Iterator[str]:
    yield "| row | what | against | wanted | found | with its store | |"
    yield "|---|---|---|---|---|---|---|"
    for one in found:
        bar = one.bar
        store = number(one.with_store) + " ×" if one.with_store is not None and one.with_store != one.found else ""
        wanted = f"{'≥' if bar.least else '≤'} {bar.limit:g}{_unit(bar)}"
        shown = "–" if one.found is None else number(one.found) + _unit(bar)
        yield f"| {_name(bar.row)} | {_what(bar)} | {_other(bar)} | {wanted} | {shown} | {store} | {one.words} |"


def _name(row: str) -> str:
    return f"**{row}** {TITLES[row]}"


def _what(bar: Bar) -> str:
    if bar.measure == "per_second" and bar.row in ROWS:
        return ROWS[bar.row].unit
    return WORDS[bar.measure]


def _other(bar: Bar) -> str:
    return CONTESTANTS[bar.other].title if bar.other else f"itself, {bar.than}" if bar.than else ""


def _unit(bar: Bar) -> str:
    return " ×" if bar.other or bar.than else UNITS[bar.measure]


def _ratios(figures: Figures) -> Iterator[str]:
    """What audiogate has, as a multiple of what others have; where it is behind, in bold."""
    yield f"| row | what | {' | '.join(CONTESTANTS[who].title for who in OTHERS)} |"
    yield "|---|---|" + "---|" * len(OTHERS)
    for row in TITLES:
        for measure, word in MEASURED.items():
            shown = [_ratio(figures, row, who, measure) for who in OTHERS]
            if any(shown):
                word = ROWS[row].unit if measure == "per_second" else word
                yield f"| {row} | {word} | {' | '.join(shown)} |"


def _ratio(figures: Figures, row: str, who: str, measure: str) -> str:
    ours, theirs = figures.median(row, US, measure), figures.median(row, who, measure)
    waits = row in ROWS and not ROWS[row].pace
    if not ours or not theirs or (measure == "first_p50" and waits) or (measure == "per_second" and not waits):
        return ""
    behind = ours < theirs if measure == "per_second" else ours > theirs
    return f"**{number(ours / theirs)}**" if behind else number(ours / theirs)


def _loads(figures: Figures) -> Iterator[str]:
    yield f"| row | who | {' | '.join(COLUMNS.values())} |"
    yield "|---|---|" + "---|" * len(COLUMNS)
    for row in ROWS:
        for who in CONTESTANTS:
            if cells := figures.found.get((row, who)):
                fault = figures.wrong.get((row, who), "").replace("|", "/")
                shown = [fault, *[""] * (len(COLUMNS) - 1)] if fault else [_cell(cells.get(name)) for name in COLUMNS]
                if not fault and who != "direct" and cells["aside_busy"].median > FULL:
                    shown[0] = f"≥ {shown[0]}"
                yield f"| {row} | {CONTESTANTS[who].title} | {' | '.join(shown)} |"


def _rest(figures: Figures) -> Iterator[str]:
    rows = [
        row for row in ("memory", "memory-used", "slow", "start") if any(where[0] == row for where in figures.found)
    ]
    if not rows:
        return
    yield "\n| row | who | |"
    yield "|---|---|---|"
    for row in rows:
        measure, unit = ("seconds", "s") if row == "start" else ("growth_mb", "MB")
        for who in CONTESTANTS:
            if cells := figures.found.get((row, who)):
                shown = figures.wrong.get((row, who)) or f"{_cell(cells.get(measure))} {unit}"
                yield f"| {_name(row)} | {CONTESTANTS[who].title} | {shown} |"


def _cell(figure: Figure | None) -> str:
    """A median; how far the rounds were apart, where that is more than a tenth."""
    if figure is None:
        return ""
    spread = (figure.most - figure.least) / figure.median if figure.median else 0
    return number(figure.median) + (f" ({number(figure.least)}…{number(figure.most)})" if spread > 0.1 else "")


def number(value: float) -> str:
    """Three digits that count."""
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def put(text: str, written: str) -> str:
    """A document with the part between the two marks replaced. Raises ValueError where they are not in it."""
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the document has no lines {BEGIN!r} and {END!r}")
    return f"{head}{BEGIN}\n\n{written}\n{END}{tail}"
