"""When an upstream is left alone for a while. Pure: a state, what happened, and the next state."""

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.upstreams.base import Outcome, Verdict

TRIP_AFTER = 3  # failures in a row
REST = 30.0  # seconds
LONGEST_REST = 300.0
# These say at once that the next request would fare no better; seconds of rest.
AT_ONCE: Mapping[Verdict, float] = {Verdict.CREDENTIALS: 60.0, Verdict.EXHAUSTED: 60.0, Verdict.BUSY: 5.0}
COUNTED = frozenset({Verdict.FAILED, Verdict.UNREACHABLE, Verdict.TIMEOUT})


@dataclass(slots=True)
class Circuit:
    """An upstream's recent history: failures in a row, and until when (monotonic seconds) it rests."""

    failures: int = 0
    rests_until: float = 0.0

    def resting(self, now: float) -> bool:
        """Whether the upstream should be passed over at `now`."""
        return now < self.rests_until


CLOSED = Circuit()


def after(circuit: Circuit, outcome: Outcome, *, now: float) -> Circuit:
    """The state after an attempt. What the caller got wrong says nothing about the upstream."""
    verdict = outcome.verdict
    if verdict is Verdict.SERVED:
        return CLOSED
    if verdict in AT_ONCE:
        wait = outcome.retry_after if outcome.retry_after is not None else AT_ONCE[verdict]
        return Circuit(circuit.failures, max(circuit.rests_until, now + min(wait, LONGEST_REST)))
    if verdict not in COUNTED:
        return circuit
    failures = circuit.failures + 1
    rest = now + REST if failures >= TRIP_AFTER else 0.0
    return Circuit(failures, max(circuit.rests_until, rest))
