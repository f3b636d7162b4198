"""When a model at an upstream is left alone for a while. Pure: what was seen, and what follows from it.

After failures it is ejected: requests go elsewhere first, and nothing is ever dropped for it. Once its time is over one
request tries it (half-open): if that is served it is back, else it rests longer than before.
"""

from dataclasses import dataclass

IN_A_ROW = 5  # failures
WINDOW = 30.0  # seconds in which ENOUGH attempts of which half failed are as bad
ENOUGH = 20
REST = 30.0  # seconds, times how often it was ejected
LONGEST_REST = 300.0
JITTER = 0.1  # of a rest: gateways that saw the same do not come back at the same moment
CALM = 60.0  # seconds of service that make up for one ejection
PROBE = 30.0  # seconds that one request may try it while the others stay away


@dataclass(slots=True)
class Circuit:
    """One model at one upstream. Moments are monotonic seconds.

    `out`: it was ejected and has served nobody since. `ejections`: how often, less what has been made up for.
    """

    out: bool = False
    ejections: int = 0
    rests_until: float = 0.0
    _probed_until: float = 0.0
    _back_since: float = 0.0
    _in_a_row: int = 0
    _window_from: float = 0.0
    _seen: int = 0
    _bad: int = 0

    def shut(self, now: float) -> bool:
        """Whether others go first: it rests, or somebody is trying it."""
        return self.out and now < max(self.rests_until, self._probed_until)

    def begin(self, now: float) -> None:
        """A request goes there; after a rest it is the one that tries."""
        if self.out and now >= self.rests_until:
            self._probed_until = now + PROBE

    def served(self, now: float) -> None:
        """It served."""
        if self.out:
            self.out, self._back_since = False, now
            self._seen = self._bad = 0
        self._in_a_row = 0
        self._count(now, bad=0)

    def failed(self, now: float, *, draw: float) -> None:
        """It failed; `draw` in [0, 1) is for the jitter. What was sent before it was ejected counts no more."""
        self._in_a_row += 1
        self._count(now, bad=1)
        if self.out:
            if now >= self.rests_until:
                self._eject(now, draw)
        elif self._in_a_row >= IN_A_ROW or (self._seen >= ENOUGH and 2 * self._bad >= self._seen):
            self._eject(now, draw)

    def _count(self, now: float, *, bad: int) -> None:
        if now - self._window_from >= WINDOW:
            self._window_from, self._seen, self._bad = now, 0, 0
        self._seen += 1
        self._bad += bad

    def _eject(self, now: float, draw: float) -> None:
        if not self.out:
            self.ejections = max(0, self.ejections - int((now - self._back_since) / CALM))
        self.out, self.ejections, self._probed_until = True, self.ejections + 1, 0.0
        self.rests_until = now + min(REST * self.ejections, LONGEST_REST) * (1 + JITTER * draw)
