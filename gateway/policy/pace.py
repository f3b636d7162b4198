"""How fast an upstream is: seconds of work per second of audio, as a moving average that follows peaks at once. Pure.

Per second of audio, since whoever got the long file would look slow otherwise. What nobody has seen lately counts less
and less, so that an upstream that was slow is tried again.
"""

from dataclasses import dataclass
from math import exp

TAU = 10.0  # seconds in which what was seen loses two thirds of its weight
PENALTY = 5.0  # a failure, or a refusal that came quickly, is no sign of speed
SHORTEST = 1.0  # seconds of audio: below, an answer takes as long as it takes


@dataclass(slots=True)
class Pace:
    """The average, and when it was last looked at (monotonic seconds). `value` None: nothing was seen yet."""

    value: float | None = None
    at: float = 0.0

    def now(self, now: float) -> float | None:
        """What to go by."""
        return None if self.value is None else self.value * exp(-(now - self.at) / TAU)

    def note(self, now: float, *, took: float, audio: float) -> None:
        """An answer for so many seconds of audio began after `took` seconds of work."""
        self._seen(took / max(audio, SHORTEST), now)

    def penalise(self, now: float) -> None:
        """It failed, or wanted nothing."""
        self._seen(PENALTY, now)

    def _seen(self, value: float, now: float) -> None:
        old = self.value
        if old is None or value >= old:
            self.value = value
        else:
            kept = exp(-(now - self.at) / TAU)
            self.value = old * kept + value * (1 - kept)
        self.at = now
