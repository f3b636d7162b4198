"""Closes each request, once: what was used, what it costs, the store, the metrics, one line in the log."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal

from gateway.audio.usage import Usage
from gateway.entry import Entry
from gateway.errors import Refused
from gateway.logs import REQUESTS
from gateway.metrics import Metrics
from gateway.policy.limits import NOTHING, Amounts, amounts
from gateway.policy.metering import UNUSED, Expiry, Metered, charged, metered, wants_counting
from gateway.policy.pricing import cost
from gateway.policy.routing import Candidate
from gateway.probe.parent import Probe
from gateway.settler import Settler
from gateway.store.leases import Leases
from gateway.store.usage import Settlement, Spent
from gateway.tasks import Tasks

log = logging.getLogger(REQUESTS)
# States of a key on which nothing may go on running, and the errors they are recorded as.
OVER = {"revoked": "revoked_key", "expired": "expired_key", "gone": "revoked_key"}


class Ledger:
    """Opens and closes the entries of a process. `clock` gives monotonic seconds.

    `expiry`: what becomes of requests whose gateway died.
    """

    def __init__(
        self,
        settler: Settler,
        leases: Leases,
        *,
        expiry: Expiry,
        probe: Probe,
        tasks: Tasks,
        metrics: Metrics,
        clock: Callable[[], float],
    ) -> None:
        self._settler, self._leases, self._probe, self._expiry = settler, leases, probe, expiry
        self._tasks, self._metrics, self._clock = tasks, metrics, clock
        self._held: dict[str, Entry] = {}

    def open(self, entry: Entry) -> Entry:
        """A request has come in."""
        self._metrics.began()
        return entry

    def admitted(self, entry: Entry, candidate: Candidate, held: Amounts) -> None:
        """The store has reserved what the request may use, at this candidate."""
        entry.admitted, entry.candidate, entry.held = True, candidate, held
        self._held[entry.rid] = entry
        self._metrics.held.inc()

    async def renew(self) -> None:
        """Extend the leases of what is not settled; what runs on a key that is no longer good is ended.

        To be called every few seconds. Raises Refused (503).
        """
        running = {rid: entry.caller for rid, entry in self._held.items() if entry.caller is not None}
        for rid, state in (await self._leases.renew(running)).items():
            entry = self._held.get(rid)
            if state in OVER and entry is not None and entry.answered is None:
                entry.error = OVER[state]
                entry.call.stop()

    async def replay(self) -> None:
        """Send the store what it did not get; to be called every second or so. Raises Refused (503)."""
        for rid in await self._settler.replay():
            self._settled(rid)

    async def reap(self) -> None:
        """End the reservations of gateways that died; each is logged. Raises Refused (503)."""
        for one in await self._leases.reap(self._expiry):
            log.warning(
                "request %s was never settled, its gateway is gone: %s of %s micro-USD reserved",
                *(one.rid, self._expiry, one.held.usd),
            )
            self._metrics.expired.inc()

    def close(self, entry: Entry, *, error: BaseException | None = None) -> None:
        """The request has ended, well or badly; the rest happens in the background. Call it once per entry."""
        entry.answered = self._clock()
        if isinstance(error, Refused):
            entry.error = error.name
            entry.status = entry.status or error.row.status
        elif isinstance(error, asyncio.CancelledError):
            entry.status = entry.status if entry.error else 499
            entry.error = entry.error or "client_gone"
        elif error is not None:
            entry.error = type(error).__name__
            entry.status = entry.status or 500
        if entry.status == 499:
            self._metrics.aborted(entry.step)
        if entry.upload is not None:
            entry.upload.stop()
        self._tasks.spawn(self._settle(entry), name=f"settle {entry.rid}")

    async def _settle(self, entry: Entry) -> None:
        found = Metered(UNUSED, "none")
        usd = Decimal(0)
        try:
            if entry.executed and entry.candidate is not None:
                found = await self._meter(entry, entry.tap.usage())
                usd = cost(entry.candidate.price, found.usage)
        finally:
            if entry.upload is not None:
                entry.upload.close()
        paid = amounts(found.usage, usd) if entry.executed else NOTHING
        used = charged(paid, entry.held, exact=entry.caller is not None and entry.caller.exact)
        record = entry.record(found, used, paid)
        self._report(entry, found, used)
        log.info("%(id)s", record)
        if entry.admitted:
            await self._charge(entry, used, paid, usage=found.usage, record=record)

    async def _meter(self, entry: Entry, said: Usage) -> Metered:
        assert entry.candidate is not None
        counted = entry.request.seconds if entry.request.seconds_from == "packets" else None
        if entry.upload is not None and wants_counting(entry.request, said):
            with suppress(Refused):  # no room on the disk to hand it over: the estimate is charged
                if (audio := entry.upload.audio()) is not None:
                    fd, at, size = audio
                    counted = await self._probe.seconds(fd, at=at, size=size)
        return metered(entry.request, said, counted=counted, price=entry.candidate.price)

    async def _charge(
        self, entry: Entry, used: Amounts, paid: Amounts, *, usage: Usage, record: dict[str, str | int]
    ) -> None:
        assert entry.caller is not None and entry.candidate is not None
        one = Settlement(
            rid=entry.rid,
            kid=entry.caller.kid,
            team=entry.caller.team,
            model=entry.request.model or "",
            upstream=entry.upstream,
            route=entry.endpoint.name,
            began=entry.call.began,
            used=used,
            cost=paid,
            failed=tuple(Spent(one.upstream, one.cost) for one in entry.failed if one.cost.requests),
            sums={
                "requests": 1,
                "errors": int(entry.status >= 400),
                "usd": used.usd,
                "cost": paid.usd,
                "ms": used.ms,
                "characters": used.characters,
                "input_tokens": usage.input_tokens,
                "output_tokens": usage.output_tokens,
                "bytes_in": entry.upload.received if entry.upload is not None else 0,
                "bytes_out": entry.sent,
            },
            record={name: str(value) for name, value in record.items()},
        )
        if await self._settler.settle(one):
            self._settled(one.rid)

    def _settled(self, rid: str) -> None:
        if self._held.pop(rid, None) is not None:
            self._metrics.held.dec()

    def _report(self, entry: Entry, found: Metered, used: Amounts) -> None:
        assert entry.answered is not None
        labels = {
            "route": entry.endpoint.name,
            "model": entry.request.model or "",
            "upstream": entry.upstream,
            "team": entry.caller.team if entry.caller is not None else "",
        }
        seconds = entry.answered - entry.call.started
        first_byte = None if entry.first_byte is None else entry.first_byte - entry.call.started
        self._metrics.ended(labels, status=entry.status, seconds=seconds, first_byte=first_byte)
        self._metrics.passed(received=entry.upload.received if entry.upload is not None else 0, sent=entry.sent)
        if entry.executed:
            self._metrics.used(
                labels,
                seconds=used.ms / 1000,
                characters=used.characters,
                micro_usd=used.usd,
                source=found.source,
            )
