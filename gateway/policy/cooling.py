"""When an upstream as a whole is left alone: what its answers say about our account there. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.upstreams.base import Outcome, Verdict

LONGEST = 300.0  # seconds, whatever an upstream says
# Seconds for which others go first, where the answer names no time.
RESTS: Mapping[Verdict, float] = {Verdict.CREDENTIALS: 60.0, Verdict.EXHAUSTED: 60.0, Verdict.BUSY: 5.0}
NAMED = frozenset({Verdict.BUSY, Verdict.FAILED})  # who names a time here is not asked before


@dataclass(slots=True)
class Cooling:
    """One upstream, in monotonic seconds: until then it is not asked at all, because it said so (`told_until`), or
    asked after the others (`rests_until`).
    """

    told_until: float = 0.0
    rests_until: float = 0.0

    def wait(self, now: float) -> float:
        """Seconds for which it wants no requests."""
        return max(0.0, self.told_until - now)

    def note(self, outcome: Outcome, now: float) -> None:
        """An attempt there has ended."""
        said, verdict = outcome.retry_after, outcome.verdict
        if verdict is Verdict.SERVED:
            self.rests_until = 0.0
        elif said is not None and verdict in NAMED:
            self.told_until = max(self.told_until, now + min(said, LONGEST))
        elif verdict in RESTS:
            rest = RESTS[verdict] if said is None else min(said, LONGEST)
            self.rests_until = max(self.rests_until, now + rest)
