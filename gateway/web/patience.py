"""How long one connection has kept us waiting, as it looks to who comes by every now and then. It has no clock.

Time counts only while it is the caller's: what we do not read is not late, and while we think nobody has to speak.
"""

from enum import Enum
from typing import Protocol

from gateway.config.model import Timeouts

RATE = 1024  # bytes of a body per second, on average, once a third of `timeouts.body` has gone by
LONGEST_STEP = 1.0  # seconds between two looks that count: where we were late ourselves, callers are not


class Stage(Enum):
    """What comes in on a connection."""

    PAUSE = "nothing, before the first request or between two"
    HEAD = "the head of a request"
    BODY = "its body"
    DEAF = "whatever it is, it passes by unread: the last answer is said, or being said"


PAUSE, HEAD, BODY, DEAF = Stage  # to look one up by its name takes ten times as long


class Late(Enum):
    """What a connection has waited too long with."""

    PAUSE = "for another request"
    HEAD = "its headers took too long"
    PIECE = "nothing more of the body came for too long"
    RATE = f"the body came at less than {RATE} bytes a second"
    TOTAL = "the body took too long"
    LEAVING = "to close"
    TAKING = "to take what is sent to it"


class Watched(Protocol):
    """What is looked at. `due` 0.0: another stage has begun. `got`: bytes that came since the body began.

    `used`: whether a request was made on it before. `under_way`: something is being answered, or waits for that.
    `reading`: the caller may send. `taken`: bytes that the caller has taken of what was sent, `unsent` the others.
    """

    stage: Stage
    due: float
    got: int
    used: bool

    @property
    def under_way(self) -> bool: ...
    @property
    def reading(self) -> bool: ...
    @property
    def taken(self) -> int: ...
    @property
    def unsent(self) -> int: ...


class Patience:
    """What was seen of one connection; times are in seconds, by one monotonic clock."""

    __slots__ = ("_began", "_got", "_limits", "_listened", "_quiet", "_seen", "_since", "_stalled", "_taken")

    def __init__(self, limits: Timeouts, now: float) -> None:
        self._limits = limits
        self._seen = self._since = self._began = now
        self._got = self._taken = 0
        self._quiet = self._listened = self._stalled = 0.0

    def look(self, line: Watched, now: float) -> Late | None:
        """What it is late with; `line.due` is set to when it has to be looked at again."""
        step, self._seen = min(now - self._seen, LONGEST_STEP), now
        if not line.due:
            self._since, self._got, self._quiet, self._listened = now, line.got, 0.0, 0.0
        line.due = now
        if self._takes_nothing(line, step):
            return Late.TAKING
        if line.stage is BODY:
            return self._body(line, step, now)
        if line.under_way:
            return None
        if line.stage is DEAF:
            return self._leaving(line, step, now)
        head = line.stage is HEAD or not line.used
        due = self._since + (self._limits.header if head else self._limits.idle)
        if not line.unsent:
            line.due = due
        return None if now < due else Late.HEAD if line.stage is HEAD else Late.PAUSE

    def _takes_nothing(self, line: Watched, step: float) -> bool:
        unsent, taken = line.unsent, line.taken
        if not unsent or taken != self._taken:
            self._stalled, self._taken = 0.0, taken
        else:
            self._stalled += step
        return self._stalled > self._limits.send

    def _body(self, line: Watched, step: float, now: float) -> Late | None:
        if line.reading:
            self._listened += step
            self._hear(line, step)
        if self._quiet > self._limits.body:
            return Late.PIECE
        if self._listened > self._limits.body / 3 and line.got < RATE * self._listened:
            return Late.RATE
        return Late.TOTAL if now - self._since > self._limits.total else None

    def _leaving(self, line: Watched, step: float, now: float) -> Late | None:
        """Who was answered before he had said everything may go on, lest the answer is lost; but not for ever."""
        self._hear(line, step)
        long = self._quiet > self._limits.body / 6 or now - self._since > self._limits.body
        return Late.LEAVING if long else None

    def _hear(self, line: Watched, step: float) -> None:
        if line.got != self._got:
            self._quiet, self._got = 0.0, line.got
        else:
            self._quiet += step
