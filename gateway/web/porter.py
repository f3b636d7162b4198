"""What all connections of a worker have in common: how long they are waited for, and how many there may be."""

import asyncio
from collections.abc import Callable
from typing import Protocol

from gateway.config.model import Server, Timeouts
from gateway.errors import Refused, refuse
from gateway.policy.keys import networks

TICK = 0.5  # seconds between two looks, at most
AGAIN = (1.0, 3.0)  # seconds after which who is refused may come again: not all at the same moment


class Minded(Protocol):
    """A connection. `due`: when it has to be looked at."""

    due: float

    def look(self, now: float) -> None:
        """Is it late?"""

    def make_room(self) -> bool:
        """Close, if nothing is lost by that; whether it did."""


class Porter:
    """Looks at the connections that it minds, all of them with one timer, which runs while there are some.

    Most are idle and cost one comparison a look. `draw` gives numbers from 0 to 1.
    """

    def __init__(self, server: Server, *, draw: Callable[[], float]) -> None:
        self.timeouts: Timeouts = server.timeouts
        self.trusted = networks(server.trusted_proxies)
        self._most = server.max_connections
        self._draw = draw
        self._tick = min(TICK, *(getattr(server.timeouts, name) / 4 for name in ("header", "idle", "body", "send")))
        self._lines: dict[Minded, None] = {}  # in the order in which they came
        self._timer: asyncio.TimerHandle | None = None
        self._all_busy = False  # as far as was seen since the last look

    def mind(self, line: Minded, loop: asyncio.AbstractEventLoop) -> Refused | None:
        """A new connection; why it cannot be served, if so. Where there are too many, the oldest idle one goes."""
        crowded = len(self._lines) >= self._most and not self._room()
        self._lines[line] = None
        if self._timer is None:
            self._timer = loop.call_later(self._tick, self._look, loop)
        return self.crowded() if crowded else None

    def forget(self, line: Minded) -> None:
        """It is gone."""
        self._lines.pop(line, None)

    def crowded(self) -> Refused:
        """The refusal of what is too much."""
        least, most = AGAIN
        wait = least + (most - least) * self._draw()
        return refuse("overloaded", retry_after=wait, wait=f"{wait:.1f}s")

    def _room(self) -> bool:
        if self._all_busy:
            return False
        for line in self._lines:
            if line.make_room():
                return True
        self._all_busy = True
        return False

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer, self._all_busy = None, False
        if not self._lines:
            return
        now = loop.time()
        for line in [line for line in self._lines if line.due <= now]:
            line.look(now)
        self._timer = loop.call_later(self._tick, self._look, loop)
