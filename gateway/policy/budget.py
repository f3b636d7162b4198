"""How many attempts may be made beyond the first, so that retries never make an overload worse. Pure.

Of what was asked within ten seconds a fifth may be tried again, and ten a second in any case. It is for attempts that
gave an upstream work: where nothing was sent, going elsewhere costs nobody anything.
"""

SECONDS = 10
SHARE = 0.2
PER_SECOND = 10.0


class Budget:
    """Requests and retries of the last SECONDS, second by second. `share_of`: how many processes share PER_SECOND."""

    def __init__(self, *, share_of: int = 1) -> None:
        self._least = SECONDS * PER_SECOND / share_of
        self._requests = [0] * SECONDS
        self._retries = [0] * SECONDS
        self._second = 0

    def request(self, now: float) -> None:
        """A request is served; `now` in monotonic seconds, here and below."""
        self._requests[self._at(now)] += 1

    def retry(self, now: float) -> bool:
        """Whether one more attempt may be made; it counts if so."""
        at = self._at(now)
        if sum(self._retries) >= SHARE * sum(self._requests) + self._least:
            return False
        self._retries[at] += 1
        return True

    def _at(self, now: float) -> int:
        second = int(now)
        for gone in range(max(self._second + 1, second - SECONDS + 1), second + 1):
            self._requests[gone % SECONDS] = self._retries[gone % SECONDS] = 0
        self._second = max(self._second, second)
        return second % SECONDS
