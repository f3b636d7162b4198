"""Charts as places of bars: stacked, over time. Pure; `templates/parts.html` draws them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor, log10

WIDTH, HEIGHT = 960, 200
LINES = 4
MOST_SERIES = 7  # the others are added up
MOST_LABELS = 7
OTHERS = "others"


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a bar: which series, where it begins from the top and how high it is."""

    series: int
    y: float
    height: float


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar: its column begins at `x` and is `step` wide, it stands at `at` and is `width` wide; `told` says it."""

    x: float
    step: float
    at: float
    width: float
    parts: tuple[Part, ...]
    told: str


@dataclass(frozen=True, slots=True)
class Label:
    """A time below the bars, and the middle of its bar in percent of the width."""

    text: str
    at: float


@dataclass(frozen=True, slots=True)
class Chart:
    """All that is drawn. `ticks` are from the top, as `lines`; `labels` stand below."""

    title: str
    summary: str
    bars: tuple[Bar, ...]
    lines: tuple[float, ...]
    ticks: tuple[str, ...]
    labels: tuple[Label, ...]
    series: tuple[str, ...]
    width: int = WIDTH
    height: int = HEIGHT


def chart(
    title: str,
    at: Sequence[str],
    amounts: Mapping[tuple[str, str], float],
    *,
    say: Callable[[float], str],
    like: Sequence[str] = (),
    least: float = 0.0,
) -> Chart:
    """A chart of `amounts` by time and series; times are those in `at`, in that order. `say` tells an amount.

    The largest series come first, unless another chart, whose series look `like` this, has an order for them; from the
    eighth on they are added up. From one line to the next it is a multiple of `least`, such as 1 for what is counted.
    """
    names = _series(amounts, like)
    rows = _rows(at, names, amounts)
    top = nice(max((sum(row) for row in rows), default=0.0))
    if least:
        top = ceil(top / LINES / least) * LINES * least
    step = WIDTH / max(1, len(at))
    bars = tuple(
        _bar(place, step, row, top=top, told=_told(when, names, row, say))
        for place, (when, row) in enumerate(zip(at, rows, strict=True))
    )
    total = sum(map(sum, rows))
    ticks = tuple(say(top * (LINES - line) / LINES) for line in range(LINES + 1))
    lines = tuple(HEIGHT * line / LINES for line in range(LINES + 1))
    return Chart(title, f"{say(total)} in all", bars, lines, ticks, labels(at), names)


def nice(most: float) -> float:
    """The end of a scale that has room for `most`: one, two, four, five or eight times a power of ten."""
    if most <= 0:
        return 1.0
    power = 10.0 ** floor(log10(most))
    return next(times * power for times in (1, 2, 4, 5, 8, 10) if most <= times * power * (1 + 1e-9))


def labels(at: Sequence[str]) -> tuple[Label, ...]:
    """Some of the times, evenly apart, the last one among them."""
    every = max(1, ceil(len(at) / MOST_LABELS))
    places = [place for place in range(len(at)) if (len(at) - 1 - place) % every == 0]
    return tuple(Label(at[place], round((place + 0.5) / len(at) * 100, 2)) for place in places)


def _series(amounts: Mapping[tuple[str, str], float], like: Sequence[str]) -> tuple[str, ...]:
    sums: dict[str, float] = {}
    for (_, name), amount in amounts.items():
        sums[name] = sums.get(name, 0.0) + amount
    places = {name: place for place, name in enumerate(like)}
    names = sorted(sums, key=lambda name: (places.get(name, len(like)), -sums[name], name))
    return tuple(names) if len(names) <= MOST_SERIES + 1 else (*names[:MOST_SERIES], OTHERS)


def _rows(at: Sequence[str], names: Sequence[str], amounts: Mapping[tuple[str, str], float]) -> list[list[float]]:
    found = {when: [0.0] * len(names) for when in at}
    places = {name: place for place, name in reversed(list(enumerate(names)))}  # a series may be called "others"
    for (when, name), amount in amounts.items():
        if when in found:
            found[when][places.get(name, -1)] += amount
    return [found[when] for when in at]


def _bar(place: int, step: float, row: Sequence[float], *, top: float, told: str) -> Bar:
    gap = min(step * 0.2, 8.0)
    parts, y = [], float(HEIGHT)
    for series, amount in enumerate(row):
        height = HEIGHT * amount / top
        y -= height
        if height:
            parts.append(Part(series, round(y, 2), round(height, 2)))
    x = place * step
    return Bar(round(x, 2), round(step, 2), round(x + gap / 2, 2), round(step - gap, 2), tuple(parts), told)


def _told(when: str, names: Sequence[str], row: Sequence[float], say: Callable[[float], str]) -> str:
    parts = [f"{name}: {say(amount)}" for name, amount in zip(names, row, strict=True) if amount and len(names) > 1]
    return "\n".join([f"{when}: {say(sum(row))}", *parts])
