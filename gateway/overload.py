"""How busy this worker is, and whether it takes on a new request. What decides is `policy/shedding.py`.

The event loop is asked for a beat every BEAT seconds; how late that comes tells how long whatever else waits in it.
How long the quickest request took to be let in tells the same of what waits elsewhere, for the store or a processor;
what it takes at the best of times, such as with a store that is far away, is no queue.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from math import inf

from gateway.errors import Refused, refuse
from gateway.metrics import Metrics
from gateway.policy import shedding
from gateway.watchdog import Watchdog

BEAT = 0.05
LOOKS = 4  # beats for one decision
WORST_OF = 10  # reports
USUAL_OF = 150  # decisions


class Overload:
    """`most`: requests at once.

    `clock` gives monotonic seconds, `draw` random numbers from 0 to 1.
    """

    def __init__(
        self,
        metrics: Metrics,
        *,
        most: int,
        clock: Callable[[], float],
        draw: Callable[[], float],
    ) -> None:
        self.share = 0.0  # of new requests that are refused
        self._beaten = clock()
        self._metrics, self._most, self._clock, self._draw = metrics, most, clock, draw
        self._calm = True
        self._lags: list[float] = []
        self._worst = 0.0
        self._usual: deque[float] = deque(maxlen=USUAL_OF)
        self._reported: deque[float] = deque(maxlen=WORST_OF)
        self._timer: asyncio.TimerHandle | None = None
        self._beats = 0
        self._watchdog = Watchdog(lambda: self._beats)

    def start(self) -> None:
        """Measure from now on, in this event loop, and have it watched."""
        self._beaten = self._clock()
        self._timer = asyncio.get_running_loop().call_later(BEAT, self._beat)
        self._watchdog.start()

    def stop(self) -> None:
        """Measure no more."""
        self._watchdog.stop()
        if self._timer is not None:
            self._timer.cancel()

    def shed(self) -> Refused | None:
        """Why a request that comes now has to be refused (503), None if it is taken on."""
        serving = self._metrics.serving
        if self._calm and serving < self._most:
            return None
        signal = shedding.refusal(serving=serving, most=self._most, share=self.share, draw=self._draw())
        if signal is None:
            return None
        self._metrics.shed(signal)
        seconds = shedding.wait(self._draw())
        return refuse("overloaded", retry_after=seconds, wait=f"{seconds:.1f}s")

    def note(self, lag: float) -> None:
        """The loop was so many seconds late."""
        self._worst = max(self._worst, lag)
        self._lags.append(lag)
        if len(self._lags) < LOOKS:
            return
        self.share = shedding.next_share(self.share, lag=max(min(self._lags), self._queue()))
        self._lags.clear()
        self._calm = not self.share

    def _queue(self) -> float:
        """Seconds that the quickest request waited longer than it usually does."""
        quickest, self._metrics.quickest = self._metrics.quickest, inf
        if quickest == inf:
            return 0.0
        self._usual.append(quickest)
        return quickest - min(self._usual)

    def report(self) -> None:
        """Tell the metrics; to be called every second."""
        self._reported.append(self._worst)
        self._worst = 0.0
        self._metrics.loop_lag.set(max(self._reported))

    def _beat(self) -> None:
        now = self._clock()
        self.note(max(0.0, now - self._beaten - BEAT))
        self._beaten = now
        self._beats += 1
        self._timer = asyncio.get_running_loop().call_later(BEAT, self._beat)
