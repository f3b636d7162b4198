"""What this process has seen of the upstreams lately.

The rules are in `policy/circuit.py` and, for wallets, in `upstreams/balance.py`.
"""

import logging
from collections.abc import Callable, Collection, Iterable

from gateway.metrics import Metrics
from gateway.policy.circuit import CLOSED, after
from gateway.upstreams.base import Outcome, Verdict

log = logging.getLogger("audiogate")


class Health:
    """One circuit per upstream, and which wallets are dry. `clock` gives monotonic seconds.

    `exhausted` is told the name of an upstream that refused a request for want of money.
    """

    def __init__(self, upstreams: Iterable[str], *, clock: Callable[[], float], metrics: Metrics) -> None:
        self._circuits = dict.fromkeys(upstreams, CLOSED)
        self._dry: set[str] = set()
        self._clock = clock
        self._metrics = metrics
        self.exhausted: Callable[[str], None] = lambda _: None
        self.report()

    def follow(self, upstreams: Iterable[str], *, anew: Collection[str] = ()) -> None:
        """These are the upstreams from now on. What was seen of those that stay is kept, but for those in `anew`:
        they are other servers under a known name, or have another key.
        """
        seen = {name: circuit for name, circuit in self._circuits.items() if name not in anew}
        self._circuits = {name: seen.get(name, CLOSED) for name in upstreams}
        self._dry &= seen.keys() & self._circuits.keys()
        self.report()

    def note(self, upstream: str, outcome: Outcome) -> None:
        """An attempt at `upstream` has ended; nothing to see where that upstream is gone meanwhile."""
        if upstream not in self._circuits:
            return
        before = self._circuits[upstream]
        circuit = self._circuits[upstream] = after(before, outcome, now=self._clock())
        if circuit is not before:
            self.report()
        if outcome.verdict is Verdict.EXHAUSTED:
            self.exhausted(upstream)

    def wallet(self, upstream: str, *, dry: bool) -> None:
        """Our wallet at `upstream` is known to be dry, which holds until it is told otherwise."""
        if upstream in self._circuits and dry != (upstream in self._dry):
            log.warning("our wallet at upstream %s %s", upstream, "is dry: it goes last" if dry else "is dry no more")
            self._dry ^= {upstream}
            self.report()

    def report(self) -> None:
        """Tell the metrics; to be called now and then, since a rest ends by itself."""
        now = self._clock()
        for name, circuit in self._circuits.items():
            self._metrics.upstream_state(name, resting=circuit.resting(now), dry=name in self._dry)

    def unhealthy(self) -> frozenset[str]:
        """The upstreams that rest now or have a dry wallet."""
        now = self._clock()
        return frozenset([name for name, one in self._circuits.items() if name in self._dry or one.resting(now)])
