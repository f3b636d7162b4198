"""Whether to ask the store at all. Pure: a state, what happened, and the next state.

Without it every request would wait out a timeout while the store is away.
"""

from dataclasses import dataclass

TRIP_AFTER = 3  # failures in a row
FIRST_REST = 0.5  # seconds; doubled after each failed try
LONGEST_REST = 5.0


@dataclass(frozen=True, slots=True)
class Breaker:
    """Failures in a row, how long the next rest is, and until when (monotonic seconds) nobody asks."""

    failures: int = 0
    rest: float = FIRST_REST
    rests_until: float = 0.0

    @property
    def tripped(self) -> bool:
        """Whether the last thing known is that the store is away."""
        return self.failures >= TRIP_AFTER

    def may_ask(self, now: float) -> bool:
        """Whether a call may go out at `now`."""
        return not self.tripped or now >= self.rests_until


SOUND = Breaker()


def asked(breaker: Breaker, now: float) -> Breaker:
    """The state once a call goes out: while tripped it is a single try, and the others go on resting."""
    if not breaker.tripped:
        return breaker
    return Breaker(breaker.failures, breaker.rest, now + breaker.rest)


def answered(breaker: Breaker, *, ok: bool, now: float) -> Breaker:
    """The state after a call was answered (`ok`), or was not."""
    if ok:
        return SOUND
    failures = breaker.failures + 1
    if failures < TRIP_AFTER:
        return Breaker(failures)
    rest = FIRST_REST if failures == TRIP_AFTER else min(breaker.rest * 2, LONGEST_REST)
    return Breaker(failures, rest, now + rest)
