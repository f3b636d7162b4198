"""How a connection is made: the addresses of a name, one tried beside the other, and TLS.

The addresses of both families are tried in turn, the next one when the last has failed or is a quarter of a second
late (RFC 8305). At every new connection they are held against `policy/addresses.py`, whatever the name meant before,
and what is refused there is not dialled. Certificates are verified. A TLS session is taken up again where the server
offers it: a new connection then costs one round trip and no signature.
"""

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable
from typing import Any

import aiohappyeyeballs

from gateway.policy.addresses import fault
from gateway.relay.connection import Connection
from gateway.relay.requests import Origin

log = logging.getLogger("audiogate")
NEXT_ADDRESS = 0.25
TELL_AGAIN = 60.0  # seconds until the log is told again of the same name


class Trust(ssl.SSLContext):
    """What we believe of a server; remembers the last session with each. As `ssl.create_default_context`."""

    _sessions: dict[str, ssl.SSLSession]

    @classmethod
    def of(cls, cafile: str | None = None) -> "Trust":
        """The system's authorities, or those of a file."""
        trust = cls(ssl.PROTOCOL_TLS_CLIENT)
        trust.minimum_version = ssl.TLSVersion.TLSv1_2
        trust.set_alpn_protocols(["http/1.1"])
        trust._sessions = {}
        if cafile is None:
            trust.load_default_certs()
        else:
            trust.load_verify_locations(cafile)
        return trust

    def wrap_bio(self, *args: Any, **more: Any) -> ssl.SSLObject:
        """What the event loop calls for each connection, which knows nothing of sessions."""
        session = self._sessions.get(str(more.get("server_hostname")))
        return super().wrap_bio(*args, **{"session": session, **more})

    def remember(self, name: str, connection: ssl.SSLObject) -> None:
        """A connection to this server has been used; with TLS 1.3 only then is its session there."""
        if connection.session is not None and connection.session.has_ticket:
            self._sessions[name] = connection.session


class Addresses:
    """Names looked up; the last good answer serves while the resolver is away."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int], list[Any]] = {}
        self._told: dict[str, float] = {}

    async def of(self, origin: Origin) -> list[Any]:
        """Those of its addresses that may be dialled, as `getaddrinfo` gives them. Raises OSError if none may."""
        found = await self._all(origin)
        faults = [fault(info[4][0], allow_private=origin.private) for info in found]
        fit = [info for info, why in zip(found, faults, strict=True) if not why]
        if found and not fit:
            raise OSError(self._refused(origin, found[0][4][0], faults[0]))
        return fit

    async def _all(self, origin: Origin) -> list[Any]:
        loop, name = asyncio.get_running_loop(), (origin.host, origin.port)
        try:
            self._known[name] = list(await loop.getaddrinfo(*name, type=socket.SOCK_STREAM))
        except OSError:
            if name not in self._known:
                raise
        return self._known[name]

    def _refused(self, origin: Origin, address: str, why: str) -> str:
        now = asyncio.get_running_loop().time()
        if now - self._told.get(origin.host, -TELL_AGAIN) >= TELL_AGAIN:
            self._told[origin.host] = now
            log.warning("the upstream's host %s is not dialled: its address %s is %s", origin.host, address, why)
        return "its address may not be dialled"


async def dial(
    origin: Origin, trust: ssl.SSLContext, addresses: Addresses, make: Callable[[], Connection]
) -> Connection:
    """A connection to `origin`, as `make` makes it. Raises OSError (ssl.SSLError is one)."""
    sock = await aiohappyeyeballs.start_connection(
        await addresses.of(origin), happy_eyeballs_delay=NEXT_ADDRESS, interleave=1
    )
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    tls: dict[str, Any] = {"ssl": trust, "server_hostname": origin.host} if origin.encrypted else {}
    loop, made = asyncio.get_running_loop(), make()
    task = loop.create_task(loop.create_connection(lambda: made, sock=sock, **tls))
    try:
        await asyncio.shield(task)
    except BaseException:
        task.add_done_callback(lambda _: made.abort() if made.connected else sock.close())
        try:  # asyncio forgets a connection whose making is called off before TLS has begun
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        finally:
            task.cancel()
        raise
    return made
