"""Takes each settlement to the store, however long that takes: journal first, then the store, again after outages."""

import logging
import sqlite3
from collections.abc import Awaitable, Sequence
from contextlib import suppress

from redis.exceptions import ResponseError

from gateway.errors import Refused
from gateway.metrics import Metrics
from gateway.store.connection import Connection
from gateway.store.journal import Journal
from gateway.store.usage import Settlement, Usage

log = logging.getLogger("audiogate")
AT_ONCE = 200  # settlements that one round of replaying sends


class Settler:
    """What is owed, and what was paid."""

    def __init__(self, connection: Connection, journal: Journal, *, metrics: Metrics) -> None:
        self._connection, self._journal, self._metrics = connection, journal, metrics
        self._usage = Usage(connection)
        self._run_id = ""
        self._behind = False
        self._stuck = 0
        self._unwritten: dict[str, Settlement] = {}

    async def settle(self, one: Settlement) -> bool:
        """Whether it is settled; see `settle_all`."""
        return bool(await self.settle_all([one]))

    async def settle_all(self, some: Sequence[Settlement]) -> list[str]:
        """Write them down, then tell the store; the ids of those that it has. `replay` sends the others again.

        Raises for neither.
        """
        try:
            await self._journal.keep(*some)
        except sqlite3.Error:  # a full disk: better in memory than nowhere
            ids = " ".join(one.rid for one in some)
            log.exception("the journal cannot be written; kept in memory until they are settled: request %s", ids)
            self._unwritten |= {one.rid: one for one in some}
        self._metrics.unsettled.inc(len(some))
        with suppress(Refused):
            if not self._run_id:
                await self._notice_restarts()
        took, refused = await self._send(some)
        if refused and not self._behind:
            rid, error = next(iter(refused.items()))
            log.warning("settlements wait in the journal from request %s on: %s", rid, error)
        self._behind = bool(refused)
        return took

    async def replay(self) -> list[str]:
        """Send what is still owed; the ids of what the store has now. To be called every second or so.

        Raises Refused (503) while the store is away.
        """
        await self._notice_restarts()
        owed = [*self._unwritten.values(), *await self._journal.owed(AT_ONCE)]
        await self._noted(self._journal.sending([one.rid for one in owed]))
        took, refused = await self._send(owed)
        for rid, error in refused.items():
            if isinstance(error.__cause__, ResponseError):
                log.error("the store does not take request %s (%s); it stays in the journal", rid, error.__cause__)
            elif not took:
                raise error
        await self._noted(self._journal.tidy())
        await self._notice_stuck()
        self._metrics.unsettled.set(await self._journal.count() + len(self._unwritten))
        return took

    async def _send(self, some: Sequence[Settlement]) -> tuple[list[str], dict[str, Refused]]:
        """The ids of those that the store has now, and why it has not the others."""
        answers = await self._usage.settle_all(some)
        refused = {one.rid: why for one, why in zip(some, answers, strict=True) if isinstance(why, Refused)}
        if unsent := [rid for rid, why in refused.items() if why.__cause__ is None]:  # the breaker kept them back
            await self._noted(self._journal.unsent(unsent))
        took = [one.rid for one in some if one.rid not in refused]
        for rid in took:
            self._unwritten.pop(rid, None)
        self._journal.taken(took)
        self._metrics.unsettled.dec(len(took))
        return took, refused

    @staticmethod
    async def _noted(work: Awaitable[None]) -> bool:
        """Whether the journal took it. What it did not take is sent once more than needed, at worst."""
        try:
            await work
        except sqlite3.Error:
            log.exception("the journal cannot be written")
            return False
        return True

    async def _notice_stuck(self) -> None:
        stuck = await self._journal.stuck()
        if stuck > self._stuck:
            log.error(
                "%d settlements in the journal were sent over a day ago and never answered; they are not sent again, "
                "lest they be charged twice: compare them with `audiogate requests show ID`",
                stuck,
            )
        self._stuck = stuck

    async def _notice_restarts(self) -> None:
        """A server that was restarted, or took over, may not have what its predecessor took."""
        run_id = await self._connection.run_id()
        if self._run_id and run_id != self._run_id:
            log.warning("the store is another server now; what it should have is sent again")
            await self._journal.send_again()
        self._run_id = run_id
