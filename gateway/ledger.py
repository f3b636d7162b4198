"""Closes each request, once: what was used, what it costs, the store, the metrics, one line in the log."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal

from gateway.audio.request import OTHER, AudioRequest, Endpoint
from gateway.audio.usage import NoTap, Tap, Usage
from gateway.errors import Refused
from gateway.logs import REQUESTS
from gateway.metrics import Metrics
from gateway.policy.keys import Caller
from gateway.policy.limits import Amounts, amounts
from gateway.policy.metering import UNUSED, Metered, metered, wants_counting
from gateway.policy.pricing import cost
from gateway.policy.routing import Candidate
from gateway.probe.parent import Probe
from gateway.store.usage import Settlement
from gateway.store.usage import Usage as UsageStore
from gateway.tasks import Tasks
from gateway.upload import Upload

log = logging.getLogger(REQUESTS)
LONGEST_PAUSE = 5.0


@dataclass(slots=True)
class Entry:
    """One request, as its facts become known. `began` is in seconds since 1970, `started` and the like monotonic.

    `executed`: an upstream has served it, or may have, so it is charged. `step` is where it is, or where it ended.
    """

    rid: str
    method: str
    path: str
    began: float
    started: float
    endpoint: Endpoint = OTHER
    step: str = "authenticate"
    caller: Caller | None = None
    candidate: Candidate | None = None
    admitted: bool = False
    executed: bool = False
    status: int = 0
    error: str = ""
    attempts: int = 0
    upstream_seconds: float = 0.0
    sent: int = 0
    answered: float | None = None
    first_byte: float | None = None
    upstream_request: str = ""
    upload: Upload | None = None
    tap: Tap = field(default_factory=NoTap)

    @property
    def upstream(self) -> str:
        """The name of the upstream that it is at."""
        return self.candidate.upstream.name if self.candidate is not None else ""

    @property
    def request(self) -> AudioRequest:
        """What is known of the request."""
        return self.upload.request if self.upload is not None else AudioRequest(self.endpoint)


class Ledger:
    """Opens and closes the entries of a process. `clock` gives monotonic seconds."""

    def __init__(
        self, usage: UsageStore, probe: Probe, tasks: Tasks, *, metrics: Metrics, clock: Callable[[], float]
    ) -> None:
        self._usage, self._probe, self._tasks, self._metrics, self._clock = usage, probe, tasks, metrics, clock

    def open(self, entry: Entry) -> Entry:
        """A request has come in."""
        self._metrics.began()
        return entry

    def admitted(self, entry: Entry, candidate: Candidate) -> None:
        """The store has reserved what the request may use, at this candidate."""
        entry.admitted, entry.candidate = True, candidate
        self._metrics.held.inc()

    def close(self, entry: Entry, *, error: BaseException | None = None) -> None:
        """The request has ended, well or badly; the rest happens in the background. Call it once per entry."""
        entry.answered = self._clock()
        if isinstance(error, Refused):
            entry.error = error.name
            entry.status = entry.status or error.row.status
        elif isinstance(error, asyncio.CancelledError):
            entry.error, entry.status = "client_gone", 499
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
        if entry.executed and entry.candidate is not None:
            found = await self._meter(entry, entry.tap.usage())
            usd = cost(entry.candidate.price, found.usage)
        used = amounts(found.usage, usd)
        record = self._record(entry, found, used)
        self._report(entry, found, used)
        log.info("%(id)s", record)
        if entry.upload is not None:
            entry.upload.close()
        if entry.admitted:
            await self._charge(entry, used, found.usage, record)

    async def _meter(self, entry: Entry, said: Usage) -> Metered:
        assert entry.candidate is not None
        counted = None
        if entry.upload is not None and wants_counting(entry.request, said):
            audio = entry.upload.audio()
            if audio is not None:
                fd, at, size = audio
                counted = await self._probe.seconds(fd, at=at, size=size)
        return metered(entry.request, said, counted=counted, price=entry.candidate.price)

    async def _charge(self, entry: Entry, used: Amounts, usage: Usage, record: dict[str, str | int]) -> None:
        assert entry.caller is not None and entry.candidate is not None
        charged = used if entry.executed else Amounts(requests=0)
        one = Settlement(
            rid=entry.rid,
            kid=entry.caller.kid,
            team=entry.caller.team,
            model=entry.request.model or "",
            upstream=entry.upstream,
            route=entry.endpoint.name,
            began=entry.began,
            used=charged,
            sums={
                "requests": 1,
                "errors": int(entry.status >= 400),
                "usd": charged.usd,
                "ms": charged.ms,
                "characters": charged.characters,
                "input_tokens": usage.input_tokens,
                "output_tokens": usage.output_tokens,
                "bytes_in": entry.upload.received if entry.upload is not None else 0,
                "bytes_out": entry.sent,
            },
            record={name: str(value) for name, value in record.items()},
        )
        self._metrics.unsettled.inc()
        pause = 0.1
        while True:
            try:
                await self._usage.settle(one)
                break
            except Refused as error:
                log.warning("request %s is not settled yet: %s", entry.rid, error)
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE)
        self._metrics.unsettled.dec()
        self._metrics.held.dec()

    def _record(self, entry: Entry, found: Metered, used: Amounts) -> dict[str, str | int]:
        request, caller, candidate = entry.request, entry.caller, entry.candidate
        assert entry.answered is not None
        return {
            "id": entry.rid,
            "at": f"{entry.began:.3f}",
            "route": entry.endpoint.name,
            "method": entry.method,
            "path": entry.path,
            "status": entry.status,
            "error": entry.error,
            "step": entry.step,
            "key": caller.kid if caller is not None else "",
            "key_name": caller.name if caller is not None else "",
            "team": caller.team if caller is not None else "",
            "model": request.model or "",
            "model_sent": candidate.model if candidate is not None else "",
            "upstream": entry.upstream,
            "upstream_request": entry.upstream_request,
            "attempts": entry.attempts,
            "audio_ms": used.ms,
            "characters": used.characters,
            "input_tokens": found.usage.input_tokens,
            "output_tokens": found.usage.output_tokens,
            "source": found.source,
            "disputed": int(found.disputed),
            "cost_micro_usd": used.usd,
            "bytes_in": entry.upload.received if entry.upload is not None else 0,
            "bytes_out": entry.sent,
            "latency_ms": round((entry.answered - entry.started) * 1000),
            "first_byte_ms": round((entry.first_byte - entry.started) * 1000) if entry.first_byte is not None else -1,
        }

    def _report(self, entry: Entry, found: Metered, used: Amounts) -> None:
        assert entry.answered is not None
        labels = {
            "route": entry.endpoint.name,
            "model": entry.request.model or "",
            "upstream": entry.upstream,
            "team": entry.caller.team if entry.caller is not None else "",
        }
        seconds = entry.answered - entry.started
        first_byte = None if entry.first_byte is None else entry.first_byte - entry.started
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
