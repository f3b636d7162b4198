"""What is asked of upstreams beside requests, by httpx2: their addresses and their size are held to the same rules."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import httpx2

from gateway.relay.dial import Addresses
from gateway.relay.requests import PORTS, Origin
from gateway.upstreams.base import Upstream

SECONDS = 10.0  # for one answer
HEADERS = {"accept": "application/json", "accept-encoding": "identity", "user-agent": "audiogate"}


class Dialling(httpx2.AsyncBaseTransport):
    """Requests go to addresses of their host that an upstream may have, as in `relay/dial.py`, one after the other."""

    def __init__(self, tls: ssl.SSLContext, addresses: Addresses, *, private: bool) -> None:
        self._inner = httpx2.AsyncHTTPTransport(verify=tls, trust_env=False)
        self._addresses, self._private = addresses, private

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """The answer. Raises OSError where no address may be dialled, httpx2.ConnectError where none answers."""
        url, host = request.url, request.url.host
        origin = Origin(url.scheme == "https", host, url.port or PORTS[url.scheme], self._private)
        found = dict.fromkeys(str(info[4][0]) for info in await self._addresses.of(origin))
        error: Exception = OSError("the name has no address")
        for address in found:
            request.url = url.copy_with(host=address)  # the Host header is written already
            request.extensions = {**request.extensions, "sni_hostname": host}
            try:
                return await self._inner.handle_async_request(request)
            except httpx2.ConnectError as why:
                error = why
        raise error

    async def aclose(self) -> None:
        """Close the connections."""
        await self._inner.aclose()


def client(upstream: Upstream, tls: ssl.SSLContext, addresses: Addresses) -> httpx2.AsyncClient:
    """Who asks this upstream, and nobody else."""
    way = Dialling(tls, addresses, private=upstream.allow_private)
    # The library ends a handshake of its own accord; one that is called off from outside leaves its socket open.
    timeout = httpx2.Timeout(SECONDS, connect=SECONDS / 2)
    return httpx2.AsyncClient(transport=way, trust_env=False, timeout=timeout)


@dataclass(frozen=True, slots=True)
class Got:
    """An answer, as it came: its body whole, or None where it was longer than asked for."""

    status: int
    headers: Mapping[str, str]
    body: bytes | None


async def get(
    client: httpx2.AsyncClient,
    url: str,
    *,
    key: str | None,
    most: int,
    trace: Callable[[str, object], Awaitable[None]] | None = None,
) -> Got:
    """GET it with this key or none, within SECONDS. Redirects are answers: a key follows none.

    `trace` is told how the connection gets on. Raises OSError (TimeoutError is one), ValueError, httpx2.HTTPError,
    httpx2.InvalidURL.
    """
    headers = {**HEADERS, "authorization": f"Bearer {key}"} if key is not None else HEADERS
    told = {} if trace is None else {"trace": trace}
    body = b""
    async with (
        asyncio.timeout(SECONDS),
        client.stream("GET", url, headers=headers, follow_redirects=False, extensions=told) as response,
    ):
        async for piece in response.aiter_raw():
            body += piece
            if len(body) > most:
                return Got(response.status_code, response.headers, None)
        return Got(response.status_code, response.headers, body)
