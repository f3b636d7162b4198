"""Closes each request, once: what was used, what it costs, the store, the metrics, one line in the log."""

import asyncio
import json
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress

from gateway.audio.usage import Usage
from gateway.entry import Entry
from gateway.errors import Refused
from gateway.logs import requests
from gateway.metrics import Metrics
from gateway.policy.limits import NOTHING, Amounts, amounts
from gateway.policy.metering import UNUSED, Expiry, Metered, charged, metered, wants_counting
from gateway.policy.pricing import cost
from gateway.policy.routing import Candidate
from gateway.probe.parent import Probe
from gateway.settler import Settler
from gateway.store.leases import Leases
from gateway.store.usage import Settlement, Spent, flat
from gateway.tasks import Tasks
from gateway.upload import Upload

log = logging.getLogger("audiogate")
# States of a key on which nothing may go on running, and the errors they are recorded as.
OVER = {"revoked": "revoked_key", "expired": "expired_key", "gone": "revoked_key"}


class Ledger:
    """Opens and closes the entries of a process. `clock` gives monotonic seconds.

    `expiry`: what becomes of requests whose gateway died. `told` hears of each request once its bill is written.
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
        told: Callable[[Entry, Mapping[str, str | int]], None] | None = None,
    ) -> None:
        self._told = told
        self._settler, self._leases, self._probe, self._expiry = settler, leases, probe, expiry
        self._tasks, self._metrics, self._clock = tasks, metrics, clock
        self._held: dict[str, Entry] = {}
        self._owed: list[Settlement] = []
        self._settling = False

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
        """The request has ended, well or badly; what takes time goes on in the background. Call it once per entry."""
        entry.answered = self._clock()
        self._metrics.answered()
        if entry.call.ended is not None:
            entry.call.ended(entry.executed)
        if isinstance(error, Refused):
            entry.error = error.name
            entry.status = entry.status or error.row.status
        elif isinstance(error, asyncio.CancelledError):
            why = entry.call.why  # we ended it, if so
            entry.status = entry.status or why.row.status if why is not None else 499
            entry.error = entry.error or (why.name if why is not None else "client_gone")
        elif error is not None:
            entry.error = type(error).__name__
            entry.status = entry.status or 500
        if entry.status == 499:
            self._metrics.aborted(entry.step)
        if entry.upload is not None:
            entry.upload.stop()
        said = entry.tap.usage() if entry.executed else UNUSED
        if entry.executed and entry.upload is not None and wants_counting(entry.request, said):
            self._tasks.spawn(self._count(entry, entry.upload, said), name=f"count {entry.rid}")
        else:
            self._book(entry, said)

    async def _count(self, entry: Entry, upload: Upload, said: Usage) -> None:
        """The upstream does not tell the audio's length: how long is it?"""
        counted = None
        try:
            with suppress(Refused):  # no room on the disk to hand it over: the estimate is charged
                if (audio := upload.audio()) is not None:
                    fd, at, size = audio
                    counted = await self._probe.seconds(fd, at=at, size=size)
        finally:
            self._book(entry, said, counted)

    def _book(self, entry: Entry, said: Usage, counted: float | None = None) -> None:
        """Write the bill, and owe it to the store."""
        found, paid = Metered(UNUSED, "none"), NOTHING
        try:
            if entry.executed and entry.candidate is not None:
                if counted is None and entry.request.seconds_from == "packets":
                    counted = entry.request.seconds
                size = entry.upload.received if entry.upload is not None else 0
                found = metered(entry.request, said, counted=counted, price=entry.candidate.price, size=size)
                paid = amounts(found.usage, cost(entry.candidate.price, found.usage))
        finally:
            if entry.upload is not None:
                entry.upload.close()
        used = charged(paid, entry.held, exact=entry.caller is not None and entry.caller.exact)
        record = entry.record(found, used, paid, booked=self._clock())
        self._report(entry, found, used)
        line = json.dumps(record)
        requests.note(record, line)
        if self._told is not None:
            self._told(entry, record)
        if entry.admitted:
            self._owed.append(_settlement(entry, used, paid, usage=found.usage, record=line))
            if not self._settling:
                self._settling = True
                self._tasks.spawn(self._settle(), name="settle")

    async def _settle(self) -> None:
        """What is owed, all of it together; what comes in meanwhile is next."""
        try:
            while self._owed:
                owed, self._owed = self._owed, []
                for rid in await self._settler.settle_all(owed):
                    self._settled(rid)
        finally:
            self._settling = False

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


def _settlement(entry: Entry, used: Amounts, paid: Amounts, *, usage: Usage, record: str) -> Settlement:
    assert entry.caller is not None and entry.candidate is not None
    return Settlement(
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
        record=flat(record),
    )
