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
        """Write it down, then tell the store; False where that is away, `replay` will tell it. Raises for neither."""
        try:
            await self._journal.keep(one)
        except sqlite3.Error:  # a full disk: better in memory than nowhere
            log.exception("the journal cannot be written; request %s is kept in memory until it is settled", one.rid)
            self._unwritten[one.rid] = one
        self._metrics.unsettled.inc()
        with suppress(Refused):
            if not self._run_id:
                await self._notice_restarts()
        try:
            await self._usage.settle(one)
        except Refused as error:
            if not self._behind:
                log.warning("settlements wait in the journal from request %s on: %s", one.rid, error)
            self._behind = True
            if error.__cause__ is None:  # the breaker kept it back
                await self._unsent([one])
            return False
        self._behind = False
        await self._took(one)
        return True

    async def replay(self) -> list[str]:
        """Send what is still owed; the ids of what the store has now. To be called every second or so.

        Raises Refused (503) while the store is away.
        """
        took = []
        await self._notice_restarts()
        owed = [*self._unwritten.values(), *await self._journal.owed(AT_ONCE)]
        await self._noted(self._journal.sending([one.rid for one in owed]))
        for place, one in enumerate(owed):
            try:
                await self._usage.settle(one)
            except Refused as error:
                if not isinstance(error.__cause__, ResponseError):
                    await self._unsent(owed[place + (error.__cause__ is not None) :])
                    raise
                log.error("the store does not take request %s (%s); it stays in the journal", one.rid, error.__cause__)
            else:
                await self._took(one)
                took.append(one.rid)
        await self._noted(self._journal.tidy())
        await self._notice_stuck()
        self._metrics.unsettled.set(await self._journal.count() + len(self._unwritten))
        return took

    async def _took(self, one: Settlement) -> None:
        self._unwritten.pop(one.rid, None)
        self._journal.taken([one.rid])
        self._metrics.unsettled.dec()

    async def _unsent(self, some: Sequence[Settlement]) -> None:
        await self._noted(self._journal.unsent([one.rid for one in some]))

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
