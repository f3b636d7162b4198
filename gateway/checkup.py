"""Asks an upstream a free question with our key; what the answer means is in `upstreams/checking.py`."""

import asyncio
import socket
import ssl
from collections.abc import Callable
from urllib.parse import urlsplit

import httpx2

from gateway import dialling
from gateway.relay.dial import Addresses
from gateway.upstreams.base import Upstream
from gateway.upstreams.checking import MODELS, Checked, Heard, judged, trouble

__all__ = ("Checked", "check")

BYTES = 1024 * 1024  # of the answer: aggregators have a thousand models
STANDS = frozenset({"connection.connect_tcp.complete", "connection.start_tls.complete"})


class _Watch:
    """How long it takes, in seconds since it was made; None: it has not come to that."""

    def __init__(self) -> None:
        self._now = asyncio.get_running_loop().time
        self._began = self._now()
        self.connected: float | None = None
        self.answered: float | None = None

    async def __call__(self, event: str, info: object) -> None:
        del info
        if event in STANDS:
            self.connected = self._now() - self._began
        if event == "http11.receive_response_headers.complete":
            self.answered = self._now() - self._began


async def check(upstream: Upstream, *, clock: Callable[[], float]) -> Checked:
    """Whether an upstream is usable, as far as its list of models tells; nothing is raised, nothing is billed.

    It takes `dialling.SECONDS` at most. `clock` gives seconds since 1970.
    """
    host = urlsplit(upstream.base_url).netloc
    watch = _Watch()
    try:
        found = judged(upstream, await _heard(upstream, watch, clock))
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError) as error:
        verdict, why = _trouble(error)
        found = trouble(upstream, verdict, host=host, why=why, seconds=dialling.SECONDS)
    return _timed(found, watch)


def _timed(found: Checked, watch: _Watch) -> Checked:
    ms = [None if seconds is None else round(seconds * 1000, 1) for seconds in (watch.answered, watch.connected)]
    return Checked(found.ok, found.verdict, found.message, *ms)


async def _heard(upstream: Upstream, watch: _Watch, clock: Callable[[], float]) -> Heard:
    tls = await asyncio.to_thread(ssl.create_default_context)  # it reads all authorities of the system
    async with dialling.client(upstream, tls, Addresses()) as client:
        url = upstream.base_url + MODELS
        got = await dialling.get(client, url, key=upstream.key, most=BYTES, trace=watch)
        date, location = got.headers.get("date", ""), got.headers.get("location", "")
        return Heard(got.status, got.body, date, location, clock())


def _trouble(error: Exception) -> tuple[str, str]:
    """The word of TROUBLES for what was raised, and what the system says of it: the last cause that says anything."""
    causes: list[BaseException] = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) is not None:
        causes.append(cause)
    words = [getattr(one, "verify_message", "") or getattr(one, "strerror", "") for one in reversed(causes)]
    why = next((word for word in words if word), "") or str(error) or type(error).__name__
    return next(word for kind, word in _TROUBLES.items() if any(isinstance(one, kind) for one in causes)), why


# The first of them that is among the causes tells.
_TROUBLES: dict[type[BaseException], str] = {
    UnicodeEncodeError: "bad_key",
    httpx2.InvalidURL: "no_name",
    socket.gaierror: "no_name",
    ssl.SSLCertVerificationError: "untrusted",
    httpx2.TimeoutException: "late",
    TimeoutError: "late",
    ssl.SSLError: "broken",  # among the causes of all that happens while TLS begins
    ConnectionRefusedError: "refused",
    httpx2.ConnectError: "unreachable",
    httpx2.HTTPError: "broken",
    OSError: "not_allowed",  # by `relay/dial.py`
    ValueError: "broken",
}
