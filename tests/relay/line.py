"""One connection at a raw upstream: what came, byte by byte, and how it ended."""

import asyncio
import re
import socket
import struct
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol, cast

SECONDS = 5.0  # that anything is waited for


class Gone(Exception):
    """The other side has ended the connection."""


@dataclass
class Got:
    """A request as it came: its fields in order, names in lower case, and the sizes of the chunks it came in."""

    method: str
    target: str
    fields: list[tuple[str, str]]
    body: bytes = b""
    chunks: tuple[int, ...] = ()

    def all(self, name: str) -> list[str]:
        """Every value of a field."""
        return [value for known, value in self.fields if known == name]


class Owner(Protocol):
    """Who keeps the lines: their origin. It is told of every line that begins and of all news."""

    lines: list["Line"]
    seen: list[Got]
    whole: list[Got]
    news: asyncio.Event

    def begin(self, line: "Line") -> None:
        """A line has begun."""


class Line(asyncio.Protocol):
    """One connection, seen from the upstream. `raw` is all that came.

    `at`: how much of that was taken. `ended`: "" while it is open, else who ended it and how: "closed" or "reset" by
    the other side, "ours". `lost` is set when it is gone for good.
    """

    def __init__(self, origin: Owner) -> None:
        self.origin, self.number = origin, len(origin.lines)
        self.raw, self.at, self.ended = bytearray(), 0, ""
        self.transport: asyncio.Transport
        self._news, self._room, self.lost = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._room.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It begins: the script runs."""
        self.transport = cast("asyncio.Transport", transport)
        self.origin.begin(self)

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        self.raw += data
        self._tell()

    def eof_received(self) -> None:
        """The other side closed it."""
        self.ended = self.ended or "closed"
        self._tell()

    def connection_lost(self, error: Exception | None) -> None:
        """It is gone."""
        self.ended = self.ended or ("reset" if error else "closed")
        self.lost.set()
        self._tell()

    def pause_writing(self) -> None:
        """The other side does not read."""
        self._room.clear()

    def resume_writing(self) -> None:
        """It reads again."""
        self._room.set()

    def _tell(self) -> None:
        self._news.set()
        self.origin.news.set()
        if self.ended:
            self._room.set()

    async def has(self, count: int) -> None:
        """Wait until so many bytes have come in all. Raises Gone if they never will."""
        async with asyncio.timeout(SECONDS):
            while len(self.raw) < count:
                if self.ended:
                    raise Gone
                self._news.clear()
                await self._news.wait()

    async def take(self, count: int) -> bytes:
        """The next `count` bytes. Raises Gone."""
        await self.has(self.at + count)
        self.at += count
        return bytes(self.raw[self.at - count : self.at])

    async def until(self, mark: bytes) -> bytes:
        """What comes up to and with `mark`. Raises Gone."""
        while (found := self.raw.find(mark, self.at)) < 0:
            await self.has(len(self.raw) + 1)
        return await self.take(found + len(mark) - self.at)

    async def head(self) -> Got:
        """The next request's head, read strictly. Raises Gone; waits for as long as it takes to begin."""
        while len(self.raw) == self.at:
            if self.ended:
                raise Gone
            self._news.clear()
            await self._news.wait()
        first, *lines = (await self.until(b"\r\n\r\n"))[:-4].decode("latin-1").split("\r\n")
        method, target, version = first.split(" ")
        assert version == "HTTP/1.1", first
        found = [re.fullmatch(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+): ?([^\r\n\0]*)", line) for line in lines]
        assert all(found), lines
        got = Got(method, target, [(match[1].lower(), match[2]) for match in found if match])
        self.origin.seen.append(got)
        self.origin.news.set()
        return got

    async def request(self) -> Got:
        """The next request, whole. Raises Gone."""
        got = await self.head()
        if got.all("transfer-encoding"):
            assert (got.all("transfer-encoding"), got.all("content-length")) == (["chunked"], [])
            pieces: list[bytes] = []
            while size := int(line := (await self.until(b"\r\n"))[:-2], 16):
                assert re.fullmatch(rb"[0-9a-fA-F]{1,8}", line), line
                pieces.append((await self.take(size + 2))[:-2])
                assert self.raw[self.at - 2 : self.at] == b"\r\n"
            assert await self.take(2) == b"\r\n"
            got.body, got.chunks = b"".join(pieces), tuple(map(len, pieces))
        elif told := got.all("content-length"):
            (length,) = told
            got.body = await self.take(int(length))
        self.origin.whole.append(got)
        self.origin.news.set()
        return got

    async def say(self, data: bytes, *cuts: int) -> None:
        """Send; at each of the offsets `cuts`, only after what is before it has been read. Raises Gone."""
        for start, end in pairwise((0, *cuts, len(data))):
            if self.ended:
                raise Gone
            self.transport.write(data[start:end])
            await self._room.wait()
            if cuts:
                for _ in range(4):  # the bytes leave, wake the other side, are read
                    await asyncio.sleep(0)

    def finish(self) -> None:
        """Close it, after what has been said."""
        self.ended = self.ended or "ours"
        self.transport.close()

    def reset(self) -> None:
        """Close it with RST."""
        self.ended = self.ended or "ours"
        if (sock := self.transport.get_extra_info("socket")) is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.abort()

    def abort(self) -> None:
        """Close it at once."""
        if not self.lost.is_set():  # asyncio's transports do not bear it afterwards
            self.transport.abort()

    async def over(self) -> str:
        """Wait until it has ended, and tell how."""
        async with asyncio.timeout(SECONDS):
            while not self.ended:
                self._news.clear()
                await self._news.wait()
        return self.ended
