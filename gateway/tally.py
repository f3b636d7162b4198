"""Numbers on their way to prometheus_client, whose locks and checks take longer than most decisions about a request.

They are added up here and handed on before anybody reads them.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import cast

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric
from prometheus_client.registry import Collector


class Sum:
    """What adds up for a counter, or for a gauge."""

    def __init__(self, number: Counter | Gauge) -> None:
        self._number, self._waiting = number, 0.0

    def inc(self, amount: float = 1) -> None:
        """So much more."""
        self._waiting += amount

    def dec(self, amount: float = 1) -> None:
        """So much less."""
        self._waiting -= amount

    def set(self, value: float) -> None:
        """A gauge stands here now, whatever has added up."""
        self._waiting = 0.0
        cast("Gauge", self._number).set(value)

    def hand_on(self) -> None:
        """The library is told."""
        if self._waiting:  # some gauges may only be set
            self._number.inc(self._waiting)
            self._waiting = 0.0


class Buckets(Histogram):
    """A histogram that can be told of many amounts at once."""

    @property
    def bounds(self) -> Sequence[float]:
        """The highest amount of each bucket."""
        return self._upper_bounds

    def add(self, counts: Sequence[int], total: float) -> None:
        """So many amounts in each bucket, and what they come to."""
        self._sum.inc(total)
        for bucket, count in zip(self._buckets, counts, strict=True):
            bucket.inc(count)


class Spread:
    """What adds up for a histogram."""

    def __init__(self, buckets: Buckets) -> None:
        self._buckets, self._bounds = buckets, buckets.bounds
        self._counts, self._total = [0] * len(self._bounds), 0.0

    def observe(self, amount: float) -> None:
        """One amount."""
        self._counts[bisect_left(self._bounds, amount)] += 1
        self._total += amount

    def hand_on(self) -> None:
        """The library is told."""
        self._buckets.add(self._counts, self._total)
        self._counts, self._total = [0] * len(self._bounds), 0.0


class Tallies(Collector):
    """All that adds up for a registry. `at_once`: nothing does, others read a shared folder at any time."""

    def __init__(self, registry: CollectorRegistry, *, at_once: bool) -> None:
        self._at_once = at_once
        self._all: list[Sum | Spread] = []
        registry.register(self)  # before all others: the library asks them in this order

    def sum(self, number: Counter | Gauge, *labels: str) -> Sum:
        """Where to add to this number with these labels; for `at_once` that is itself. To be asked once for each."""
        one = number.labels(*labels) if labels else number
        if self._at_once:
            return cast("Sum", one)
        self._all.append(found := Sum(one))
        return found

    def spread(self, buckets: Buckets, *labels: str) -> Spread:
        """Where to add to this histogram with these labels; for `at_once` that is itself. To be asked once for each."""
        one = buckets.labels(*labels) if labels else buckets
        if self._at_once:
            return cast("Spread", one)
        self._all.append(found := Spread(one))
        return found

    def collect(self) -> Iterable[Metric]:
        """Has nothing of its own; hands on what the library is about to read."""
        for one in self._all:
            one.hand_on()
        return ()
