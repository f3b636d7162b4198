"""What serving needs of the world, and what goes out."""

from collections.abc import Callable
from dataclasses import dataclass

from gateway.client import BrokenOff, Client, Exchange, TimedOut
from gateway.entry import Entry
from gateway.grace import Grace
from gateway.health import Health
from gateway.ledger import Ledger
from gateway.metrics import Metrics
from gateway.policy.routing import Market
from gateway.probe.parent import Probe
from gateway.spool import Spools
from gateway.store.keys import Keys
from gateway.store.limits import Limits
from gateway.tasks import Tasks
from gateway.upstreams.base import Outcome, Verdict


@dataclass(slots=True)
class Parts:
    """What serving needs of the world. Market, spools and the largest body are others once the file is read again."""

    market: Market
    keys: Keys
    limits: Limits
    client: Client
    health: Health
    grace: Grace
    ledger: Ledger
    spools: Spools
    tasks: Tasks
    probe: Probe
    metrics: Metrics
    max_bytes: int
    clock: Callable[[], float]
    draw: Callable[[], float]


@dataclass(slots=True)
class Reply:
    """An answer on its way to the caller: status and headers, then what `read` gives; `close` settles."""

    status: int
    headers: tuple[tuple[str, str], ...]
    exchange: Exchange
    entry: Entry
    parts: Parts

    async def read(self) -> list[bytes]:
        """What has come from the upstream, untouched, nothing at the end. Raises BrokenOff if it fails before that."""
        entry = self.entry
        try:
            pieces = await self.exchange.read()
        except (BrokenOff, TimedOut) as error:
            verdict = Verdict.TIMEOUT if isinstance(error, TimedOut) else Verdict.FAILED
            self.parts.health.note(entry.upstream, Outcome(verdict))
            raise BrokenOff("the upstream broke off") from error
        if pieces and entry.first_byte is None:
            entry.first_byte = self.parts.clock()
        for piece in pieces:
            entry.tap.feed(piece)
            entry.sent += len(piece)
        return pieces

    def close(self, *, error: BaseException | None = None) -> None:
        """The answer is done, or nobody wants it any more (`error` tells)."""
        self.exchange.close()
        self.parts.ledger.close(self.entry, error=error)
