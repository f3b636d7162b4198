"""The client under test, asked for whole exchanges; and bodies that note how far they were taken."""

import asyncio
import importlib
import pkgutil
import ssl
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import ModuleType

import pytest

import gateway.client
from gateway.client import Client, Exchange, Sending
from gateway.upstreams import KINDS
from gateway.upstreams.base import Upstream
from gateway.upstreams.going import Outgoing

PATH = "/v1/audio/speech"
TRUSTING_NOBODY = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # to read the system's authorities takes 30 ms each time
Resolve = Callable[..., None]
Piece = bytes | BaseException | asyncio.Event


@dataclass(frozen=True)
class Answer:
    """A whole answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Body:
    """A body to send: its pieces in order; an exception among them is raised, an event is waited for.

    `taken`: bytes that were asked for; `failure`: what was raised. It is all `at_hand` unless there is an event.
    """

    def __init__(self, pieces: Iterable[Piece]) -> None:
        self._pieces = list(pieces)
        self.at_hand = not any(isinstance(piece, asyncio.Event) for piece in self._pieces)
        self.done, self.taken = False, 0
        self.failure: BaseException | None = None

    async def read(self, take: Callable[[bytes], bool]) -> bytes:
        del take
        while self._pieces:
            piece = self._pieces.pop(0)
            if isinstance(piece, asyncio.Event):
                await piece.wait()
            elif isinstance(piece, BaseException):
                self.failure = piece
                raise piece
            elif piece:
                self.taken += len(piece)
                return piece
        return b""


class Bodies:
    """Makes the same body anew, as often as it is called for; `made` are all of them."""

    def __init__(self, *pieces: Piece) -> None:
        self.made: list[Body] = []
        self._pieces = pieces

    def __call__(self) -> Body:
        self.made.append(Body(self._pieces))
        return self.made[-1]


async def pieces(exchange: Exchange) -> AsyncIterator[bytes]:
    """The body as it arrives."""
    while some := await exchange.read():
        yield b"".join(some)


@asynccontextmanager
async def relaying(tls: ssl.SSLContext | None = TRUSTING_NOBODY) -> AsyncIterator[Client]:
    """A client; it is closed in the end. `tls` None: it trusts whom it trusts by default."""
    client = Client(tls=tls)
    try:
        yield client
    finally:
        await client.close()


def upstream_at(
    url: str, *, connect: float = 3.0, first_byte: float = 3.0, idle: float = 3.0, private: bool = True
) -> Upstream:
    """An upstream with these deadlines in seconds, whose address may be `private`."""
    kind = KINDS["openai"]
    return Upstream(
        "a",
        kind,
        url,
        models={},
        can=kind.can,
        connect_timeout=connect,
        first_byte_timeout=first_byte,
        idle_timeout=idle,
        allow_private=private,
    )


async def opened(
    client: Client,
    url: str,
    *,
    body: Callable[[], Sending] | None = None,
    method: str = "",
    path: str = PATH,
    headers: Mapping[str, str] | None = None,
    length: int | None = None,
    **deadlines: float,
) -> Exchange:
    """An exchange with its answer's head here. `path` is put behind `url` as it is."""
    upstream = upstream_at(url, **deadlines)
    patience = upstream.first_byte_timeout or 0.0
    request = Outgoing(method or ("POST" if body else "GET"), url + path, headers or {}, length, patience)
    return await client.open(upstream, request, body)


async def read(exchange: Exchange) -> Answer:
    """The rest of it; it is closed."""
    try:
        body = b"".join([piece async for piece in pieces(exchange)])
    finally:
        exchange.close()
    return Answer(exchange.status, exchange.headers, body)


async def ask(client: Client, url: str, **more: object) -> Answer:
    """A whole exchange; `more` as for `opened`."""
    return await read(await opened(client, url, **more))  # type: ignore[arg-type]


def rooms() -> list[ModuleType]:
    """The modules of which the client consists."""
    found = [gateway.client]
    try:
        package = importlib.import_module("gateway.relay")
    except ModuleNotFoundError:
        return found
    found.append(package)
    return found + [
        importlib.import_module(f"gateway.relay.{one.name}") for one in pkgutil.iter_modules(package.__path__)
    ]


def turn(patch: pytest.MonkeyPatch, name: str, value: object) -> None:
    """Give a constant of the client another value, in every module that knows it."""
    known = [room for room in rooms() if hasattr(room, name)]
    assert known, f"the client has no {name}"
    for room in known:
        patch.setattr(room, name, value)
