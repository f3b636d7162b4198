"""What this process has seen of the upstreams lately; the rules are in `policy/circuit.py`."""

from collections.abc import Callable, Iterable

from gateway.metrics import Metrics
from gateway.policy.circuit import Circuit, after
from gateway.upstreams.base import Outcome


class Health:
    """One circuit per upstream. `clock` gives monotonic seconds."""

    def __init__(self, upstreams: Iterable[str], *, clock: Callable[[], float], metrics: Metrics) -> None:
        self._circuits = {name: Circuit() for name in upstreams}
        self._clock = clock
        self._metrics = metrics
        self.report()

    def note(self, upstream: str, outcome: Outcome) -> None:
        """An attempt at `upstream` has ended."""
        self._circuits[upstream] = after(self._circuits[upstream], outcome, now=self._clock())
        self.report()

    def report(self) -> None:
        """Tell the metrics; to be called now and then, since a rest ends by itself."""
        now = self._clock()
        for name, circuit in self._circuits.items():
            self._metrics.upstream_state(name, resting=circuit.resting(now))

    def unhealthy(self) -> frozenset[str]:
        """The upstreams that rest now."""
        now = self._clock()
        return frozenset(name for name, circuit in self._circuits.items() if circuit.resting(now))
