"""Takes what the ledger closes and hands it to a thread that tells it: to a request it costs some microseconds."""

import asyncio
import logging
import random
import secrets
import sys
import threading
from collections import deque
from collections.abc import Mapping
from importlib.util import find_spec
from time import monotonic

from gateway.config.model import Telemetry
from gateway.entry import Entry
from gateway.errors import SetupError
from gateway.policy.tracing import HEADER, Trace, header, joined
from gateway.telemetry.seen import Seen

log = logging.getLogger("audiogate")
MOST = 2000  # requests that may wait: some 10 MB
BATCH = 50  # requests whose spans go out together
TURN = (
    0.0005  # seconds that who is served may wait for Python while spans are made; without, it would be 5 ms each time
)
PAUSE, MEASURES = 1.0, 30.0  # seconds between two looks, and between two messages of metrics


def checked(settings: Telemetry) -> None:
    """Raises SetupError where telemetry is configured and its libraries are missing."""
    if settings.endpoint and not _installed():
        raise SetupError(
            "telemetry.endpoint is set, and OpenTelemetry's libraries are not installed: "
            "`pip install 'audiogate[otel]'`, or leave the endpoint empty."
        )


def teller_of(settings: Telemetry) -> "Teller | None":
    """Who tells it, None where nobody is to be told. Raises SetupError."""
    checked(settings)
    return Teller(settings) if settings.endpoint else None


class Teller:
    """Tells an OpenTelemetry collector of requests. What it cannot take in time is dropped, and nobody waits for it."""

    def __init__(self, settings: Telemetry) -> None:
        from gateway.telemetry.sending import Sending  # loads the library: 0.2 s and 18 MB

        self._settings, self._sending = settings, Sending(settings, secrets.token_hex(8))
        self._queue: deque[Seen] = deque()
        self._lost = 0
        self._wake, self._stopped = threading.Event(), False
        self._thread = threading.Thread(target=self._run, name="telemetry", daemon=True)
        self._thread.start()
        self._turn = sys.getswitchinterval()
        sys.setswitchinterval(TURN)

    def told(self, entry: Entry, record: Mapping[str, str | int]) -> None:
        """A request has ended."""
        if len(self._queue) >= MOST:
            self._lost += 1
            return
        assert entry.answered is not None
        call, trace = entry.call, entry.trace or self._trace(entry)
        self._queue.append(
            Seen(record, trace, call.began, call.started, entry.answered, entry.first_byte, entry.marks, entry.tried)
        )
        if len(self._queue) == BATCH:
            self._wake.set()

    def carried(self, entry: Entry) -> str:
        """The header `traceparent` for the attempt that begins."""
        entry.trace = trace = entry.trace or self._trace(entry)
        one = entry.tried[-1]
        one.span = one.span or _span()
        return header(trace, one.span)

    async def close(self, seconds: float) -> None:
        """Tell what is left, if that can be done in time."""
        self._stopped = True
        self._wake.set()
        if "traces" in self._sending.away:
            self._sending.give_up()
        await asyncio.to_thread(self._thread.join, seconds)
        self._sending.give_up()
        sys.setswitchinterval(self._turn)

    def _trace(self, entry: Entry) -> Trace:
        said = entry.call.headers.get(HEADER, "")
        return joined(said, trace=random.getrandbits(128) or 1, span=_span(), share=self._settings.sample)

    def _run(self) -> None:
        due = monotonic() + MEASURES
        while not self._stopped:
            self._wake.wait(PAUSE)
            self._wake.clear()
            self._drain()
            if monotonic() >= due:
                due = monotonic() + MEASURES
                self._sending.measures()
        self._drain()
        if "metrics" not in self._sending.away:
            self._sending.measures()

    def _drain(self) -> None:
        while self._queue and not (self._stopped and "traces" in self._sending.away):
            self._sending.requests([self._queue.popleft() for _ in range(min(BATCH, len(self._queue)))])
        if self._lost:
            log.warning("telemetry: %d requests were not told, since too many waited", self._lost)
            self._lost = 0


def _installed() -> bool:
    try:
        return find_spec("opentelemetry.exporter.otlp.proto.http") is not None
    except ModuleNotFoundError:
        return False


def _span() -> int:
    return random.getrandbits(64) or 1
