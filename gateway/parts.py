"""What serving needs of the world, and what goes out."""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Protocol

from gateway.client import BrokenOff, Client, Exchange, TimedOut
from gateway.entry import Entry
from gateway.grace import Grace
from gateway.health import Health
from gateway.ledger import Ledger
from gateway.metrics import Metrics
from gateway.policy import deadlines
from gateway.policy.budget import Budget
from gateway.policy.routing import Market
from gateway.probe.parent import Probe
from gateway.spool import Spools
from gateway.store.keys import Keys
from gateway.store.limits import Limits
from gateway.store.repeats import Repeats
from gateway.tasks import Tasks
from gateway.upstreams.base import Outcome, Verdict


@dataclass(slots=True)
class Parts:
    """What serving needs of the world. Market, spools and the largest body are others once the file is read again.

    `total`: seconds that a request may take. `carried`: the header `traceparent` of an attempt; None: there is none.
    """

    market: Market
    keys: Keys
    limits: Limits
    repeats: Repeats
    client: Client
    health: Health
    grace: Grace
    ledger: Ledger
    spools: Spools
    tasks: Tasks
    probe: Probe
    metrics: Metrics
    budget: Budget
    max_bytes: int
    total: float
    clock: Callable[[], float]
    draw: Callable[[], float]
    carried: Callable[[Entry], str] | None = None


class AnyReply(Protocol):
    """An answer on its way to the caller, wherever it comes from: whoever reads it must close it."""

    status: int
    headers: tuple[tuple[str, str], ...]

    async def read(self) -> list[bytes]:
        """The next pieces, none at the end. Raises BrokenOff."""

    def close(self, *, error: BaseException | None = None) -> None:
        """It is done, or nobody wants it any more (`error` tells)."""


@dataclass(slots=True)
class Reply:
    """An answer on its way to the caller: status and headers, then what `read` gives; `close` settles.

    `idle`: for an answer that is to come at a certain pace, the seconds that its upstream may be silent. `waited` for
    the upstream, in seconds.
    """

    status: int
    headers: tuple[tuple[str, str], ...]
    exchange: Exchange
    entry: Entry
    parts: Parts
    idle: float = inf
    waited: float = 0.0

    async def read(self) -> list[bytes]:
        """What has come from the upstream, untouched, nothing at the end. Raises BrokenOff if it fails before that."""
        entry, candidate, clock = self.entry, self.entry.candidate, self.parts.clock
        assert candidate is not None
        began = clock()
        try:
            pieces = await self.exchange.read()
            now = clock()
            self.waited += now - began
            if pieces and deadlines.trickles(entry.sent, waited=self.waited, idle=self.idle):
                raise TimedOut("it trickles")
        except (BrokenOff, TimedOut) as error:
            verdict = Verdict.TIMEOUT if isinstance(error, TimedOut) else Verdict.FAILED
            self.parts.health.note(entry.upstream, candidate.model, Outcome(verdict))
            raise BrokenOff("the upstream broke off") from error
        if pieces and now - entry.call.started > self.parts.total:
            raise BrokenOff("the request took too long")
        if pieces and entry.first_byte is None:
            entry.first_byte = now
        for piece in pieces:
            entry.tap.feed(piece)
            entry.sent += len(piece)
        return pieces

    def close(self, *, error: BaseException | None = None) -> None:
        """The answer is done, or nobody wants it any more (`error` tells)."""
        self.exchange.close()
        self.parts.ledger.close(self.entry, error=error)
