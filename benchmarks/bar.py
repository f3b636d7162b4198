"""What is wanted of audiogate, row by row, and how far it is from that."""

from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.figures import Figures

US = "audiogate"


@dataclass(frozen=True)
class Bar:
    """At least (`least`) or at most so many times what `other` has in the same row, or the row `than` has with us.

    `other` "" and `than` "": so much, in units of the measure; `added`: over what it is with nobody between.
    """

    row: str
    measure: str
    limit: float
    other: str = ""
    least: bool = False
    than: str = ""
    added: bool = False


def _gateways(row: str, **least: float) -> tuple[Bar, ...]:
    return tuple(Bar(row, "per_second", limit, other, least=True) for other, limit in least.items())


BARS = (
    *_gateways("W1", litellm=100, portkey=30), Bar("W1", "cpu_ms", 4, "nginx"),
    *_gateways("W2", litellm=30, portkey=12), Bar("W2", "cpu_ms", 1.2, "nginx"),
    *_gateways("W3", litellm=6, portkey=12), Bar("W3", "cpu_ms", 1.3, "nginx"),
    *_gateways("W4", litellm=12), Bar("W4", "cpu_ms", 1.3, "nginx"),
    Bar("paced-1", "first_p50", 0.4, added=True),
    Bar("paced-64", "first_p50", 8, added=True), Bar("paced-64", "first_p99", 12, added=True),
    Bar("tls-W1", "cpu_ms", 1.6, "nginx"), Bar("tls-W2", "cpu_ms", 1.1, "nginx"),
    Bar("memory", "growth_mb", 24), Bar("memory-used", "growth_mb", 64), Bar("slow", "growth_mb", 24),
    Bar("keys-10000", "cpu_ms", 1.1, than="keys-10"), Bar("flight-1000", "cpu_ms", 1.1, than="flight-1"),
)  # fmt: skip


@dataclass(frozen=True)
class Verdict:
    """A bar, what was found (a ratio, or in units of the measure), and with the store's CPU counted in, if it has any.

    `found` None: it was not measured.
    """

    bar: Bar
    found: float | None
    with_store: float | None = None

    @property
    def met(self) -> bool:
        """Whether it is as wanted."""
        assert self.found is not None
        return self.found >= self.bar.limit if self.bar.least else self.found <= self.bar.limit

    @property
    def words(self) -> str:
        """Met or missed, and by how much of what is wanted."""
        if self.found is None:
            return "not measured"
        share = self.found / self.bar.limit
        away = f"{round(abs(share - 1) * 100)} %" if share < 2 else f"{share:.1f} ×"
        return f"{'met' if self.met else '**missed**'} by {away}"


def verdicts(figures: Figures, us: str = US) -> Iterator[Verdict]:
    """Each bar held against the figures; those of which nothing at all was measured are left out."""
    for bar in BARS:
        if (bar.row, us) in figures.found:
            yield Verdict(bar, _found(bar, figures, us, bar.measure), _with_store(bar, figures, us))


def _with_store(bar: Bar, figures: Figures, us: str) -> float | None:
    return _found(bar, figures, us, "all_cpu_ms") if bar.measure == "cpu_ms" else None


def _found(bar: Bar, figures: Figures, us: str, measure: str) -> float | None:
    ours = figures.median(bar.row, us, measure)
    if ours is None:
        return None
    if bar.added:
        nobody = figures.median(bar.row, "direct", measure)
        return None if nobody is None else ours - nobody
    if bar.other or bar.than:
        theirs = figures.median(bar.than or bar.row, bar.other or us, measure)
        return ours / theirs if theirs else None
    return ours
