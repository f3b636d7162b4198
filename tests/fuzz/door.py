"""Connections: raw bytes on a socket whose other end is the gateway's own protocol, with its application behind it.

Its store is away and no key is good, so that no request gets further than who asks.
"""

import asyncio
import logging
import re
import socket
import tempfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.lifespan.on import LifespanOn
from uvicorn.server import ServerState

from gateway.app import Gateway, Start
from gateway.web.door import Door
from tests.fuzz.common import in_time, pieces, stretched
from tests.running import configured, upstream

RUNS = 250
TURNS = 3  # of the event loop, in which it reads what was sent
WHILE = 0.25  # seconds
PATIENCE = 10.0
BAD = 400
NOWHERE = "http://127.0.0.1:9"
TOKEN = "admin-token-of-the-fuzzer"
_HOST = b"Host: gateway.example\r\n"


def _asks(line: bytes, *headers: bytes, body: bytes = b"") -> bytes:
    return b"\r\n".join((line + b" HTTP/1.1", _HOST + b"X: y", *headers, b"", body))


SEEDS = [
    _asks(b"GET /healthz"),
    _asks(b"GET /v1/models", b"Authorization: Bearer ag_x", b"X-Forwarded-For: 10.0.0.1, [::1]:80"),
    _asks(b"POST /v1/audio/speech", b"Content-Type: application/json", b"Content-Length: 2", body=b"{}"),
    _asks(b"POST /v1/audio/transcriptions", b"Transfer-Encoding: chunked", body=b"5\r\nhello\r\n0\r\n\r\n"),
    _asks(b"POST /v1/audio/x/../%2e%2e/y;a?b=c#d", b"Expect: 100-continue", b"Content-Length: 1", body=b"x"),
    _asks(b"GET /v1/audio/voices") + _asks(b"GET /nowhere", b"Connection: close"),
    _asks(b"GET http://other.example:1/v1/models?x"),
    _asks(b"OPTIONS *"),
    _asks(b"CONNECT a:1"),
    _asks(b"GET /admin/keys", b"Authorization: Bearer " + TOKEN.encode()),
    _asks(b"GET /healthz", b"Upgrade: websocket", b"Connection: Upgrade", b"Sec-WebSocket-Version: 13"),
    b"GET /healthz HTTP/1.0\r\n\r\n",
    b"GET /\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
]
WORDS = [
    b"GET ", b"POST ", b"HEAD ", b"OPTIONS ", b" HTTP/1.1\r\n", b" HTTP/1.0\r\n", b" HTTP/0.9\r\n", b"\r\n",
    b"\r\n\r\n",
    b"\n", b"\r", b"\0", b" ", b"\t", b"Host: ", b"Host: a\r\n", b"Host: [::1]:80\r\n", b"Host: a@b\r\n",
    b"Host: a,b\r\n",
    b"Content-Length: 5\r\n", b"Content-Length: ", b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: gzip\r\n",
    b"Connection: close\r\n", b"Connection: keep-alive\r\n", b"Expect: 100-continue\r\n", b"Authorization: Bearer ",
    b"/v1/audio/", b"/v1/audio/speech", b"/v1/audio/transcriptions", b"/v1/models/", b"/admin/keys", b"/..",
    b"/%2e%2e",
    b"//", b"%00", b"%2f", b"%ff", b"?", b"#", b";", b"\\", b"http://", b"https://a:b@c:99999/", b"0\r\n\r\n",
    b"5\r\nhello\r\n",
    b"FFFFFFFFFFFFFFFF\r\n", b";a=b", b"X-Forwarded-For: ", b"X-Forwarded-Host: a\r\n", b"X_Y: z\r\n",
    b"Content-Type: ",
]  # fmt: skip

_HEAD = re.compile(rb"HTTP/1\.1 (\d\d\d) [^\r\n]*\r\n(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]+: ?[^\r\n\0]*\r\n)*\r\n")
_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)\r\n")
_CHUNKS = re.compile(rb"(?:[1-9a-f][0-9a-f]*\r\n.*?\r\n)*0\r\n\r\n", re.DOTALL)


class Harm(AssertionError):
    """The gateway failed inside, or does not come to rest."""


class _Ear(logging.Handler):
    """Hears of failures that were only logged."""

    def __init__(self, harm: list[str]) -> None:
        super().__init__(logging.ERROR)
        self.harm = harm

    def emit(self, record: logging.LogRecord) -> None:
        self.harm.append(self.format(record))


class Doors:
    """The gateway without its listening socket: connections are made in pairs."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.folder = tempfile.TemporaryDirectory(prefix="ag", dir="/tmp")
        self.harm: list[str] = []
        self.loop.set_exception_handler(lambda _, about: self.harm.append(str(about)))
        self.state = ServerState()
        self.ear = _Ear(self.harm)
        logging.getLogger().addHandler(self.ear)
        self.loop.run_until_complete(self._open())

    async def _open(self) -> None:
        data = Path(self.folder.name)
        config = configured(data, upstream("a", NOWHERE + "/v1"), url=f"unix://{data}/nobody")
        config = replace(config, server=replace(config.server, admin_token=TOKEN))
        options: dict[str, Any] = {"http": Door, "ws": "none", "lifespan": "on", "log_config": None}
        self.config = uvicorn.Config(Gateway(Start(config, config.store.url)), access_log=False, **options)
        self.config.load()
        self.lifespan = LifespanOn(self.config)
        await self.lifespan.startup()
        assert not self.lifespan.should_exit

    def ask(self, parts: list[bytes]) -> bytes:
        """What comes back on one connection. Raises Harm."""
        said = self.loop.run_until_complete(self._ask(parts))
        if self.harm:
            raise Harm(self.harm.pop())
        return said

    async def _ask(self, parts: list[bytes]) -> bytes:
        ours, theirs = socket.socketpair()
        with ours:
            ours.setblocking(False)
            theirs.setblocking(False)
            doors: list[Door] = []

            def door() -> Door:
                doors.append(Door(self.config, self.state, self.lifespan.state.copy()))
                return doors[0]

            await self.loop.connect_accepted_socket(door, theirs)
            said = bytearray()
            with suppress(ConnectionError):  # it may hear no more than it wants to
                for part in parts:
                    await asyncio.wait_for(self.loop.sock_sendall(ours, part), PATIENCE)
                    await self._rest()
                ours.shutdown(socket.SHUT_WR)
            with suppress(ConnectionError):
                while piece := await asyncio.wait_for(self.loop.sock_recv(ours, 65_536), PATIENCE):
                    said += piece
            async with asyncio.timeout(PATIENCE):
                while self.state.connections or self.state.tasks:
                    await asyncio.sleep(0)
            return bytes(said)

    async def _rest(self) -> None:
        """Until what was sent is read and answered, or a while has passed: then it waits for more."""
        for _ in range(TURNS):
            await asyncio.sleep(0)
        until = self.loop.time() + WHILE
        while self.state.tasks and self.loop.time() < until:
            await asyncio.sleep(0)

    def close(self) -> None:
        """End it."""
        logging.getLogger().removeHandler(self.ear)
        self.loop.run_until_complete(self.lifespan.shutdown())
        self.loop.close()
        self.folder.cleanup()


_DOORS: list[Doors] = []


def doors() -> Doors:
    """The gateway, started at the first call; `shut` ends it."""
    if not _DOORS:
        _DOORS.append(Doors())
    return _DOORS[0]


def shut() -> None:
    """End the gateway, if it runs."""
    while _DOORS:
        _DOORS.pop().close()


def target(data: bytes) -> None:
    """One connection: it is answered, in whole and honest answers, the same however its bytes come, and then left."""
    gateway = doors()
    found = in_time(lambda: answers(gateway.ask([data])), len(data))
    for parts in pieces(data):
        again = answers(gateway.ask(parts))
        alike(found, again)
    if large := stretched(data):
        in_time(lambda: answers(gateway.ask([large])), len(large))


def alike(found: list[int], again: list[int]) -> None:
    """The same answers, as far as they got before the caller went.

    What is no HTTP ends the connection with a 400; one that comes together with a good head is seen first.
    """
    for one, other in zip(found, again, strict=False):
        if one != other:
            assert BAD in (one, other), f"{found} or {again}"
            broken = found if one == BAD else again
            assert broken.index(BAD) == len(broken) - 1, f"{found} or {again}"
            return


def answers(said: bytes) -> list[int]:
    """The status of each answer; nothing else may have come."""
    found = []
    while said:
        head = _HEAD.match(said)
        assert head is not None, f"no answer: {said[:200]!r}"
        found.append(401 if head[1] == b"429" else int(head[1]))  # after many wrong tokens they are not even looked at
        assert found[-1] < 500 or found[-1] == 503, said[:300]
        said = said[head.end() :]
        length = _LENGTH.search(head[0])
        if not said.startswith(b"HTTP/1.1 ") and length is not None:  # else it was asked for the head alone
            assert not said or len(said) >= int(length[1])
            said = said[int(length[1]) :]
        elif b"\r\ntransfer-encoding: chunked\r\n" in head[0]:
            whole = _CHUNKS.match(said)
            assert whole is not None, f"half an answer: {said[:200]!r}"
            said = said[whole.end() :]
    return found
