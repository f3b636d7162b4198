"""A client that says exactly what it is told to, on a raw socket, and forms built byte by byte."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.running import Running

BOUNDARY = "----boundary-of-the-tests-7d9a2c"  # as long as those of real clients
FORM = f"multipart/form-data; boundary={BOUNDARY}"


def text(name: str, value: str | bytes) -> bytes:
    """A text part."""
    value = value.encode() if isinstance(value, str) else value
    return f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'.encode() + value + b"\r\n"


def file(content: bytes, filename: str = "x.wav", *, name: str = "file", end: bytes = b"\r\n") -> bytes:
    """A file part without a content type; `end` empty leaves it unfinished."""
    line = f'Content-Disposition: form-data; name="{name}"; filename="{filename}"'
    return f"--{BOUNDARY}\r\n{line}\r\n\r\n".encode() + content + end


END = f"--{BOUNDARY}--\r\n".encode()
MODEL = text("model", "whisper-1")


def pieces_of(body: bytes, *, seed: int, largest: int) -> Iterator[bytes]:
    """`body` cut at random places."""
    dice = random.Random(seed)
    at = 0
    while at < len(body):
        size = dice.randint(1, largest)
        yield body[at : at + size]
        at += size


def chunked(pieces: Iterable[bytes], *, end: bool = True) -> bytes:
    """Pieces in chunked transfer coding."""
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + (b"0\r\n\r\n" if end else b"")


def framed(body: bytes, framing: str) -> tuple[str, bytes]:
    """The header that frames the body, and the body in that framing."""
    if framing == "length":
        return f"Content-Length: {len(body)}", body
    return "Transfer-Encoding: chunked", chunked(pieces_of(body, seed=len(body), largest=20_000))


@dataclass
class Said:
    """An answer. `whole` tells whether its body came to a proper end."""

    status: int
    headers: dict[str, str]
    body: bytearray = field(default_factory=bytearray)
    whole: bool = False

    @property
    def json(self) -> Any:
        """A JSON body."""
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """The error of an OpenAI envelope, which must have just the four keys, and its request id."""
        assert set(self.json) == {"error"}, self.json
        error: dict[str, Any] = self.json["error"]
        assert set(error) == {"message", "type", "param", "code"}, error
        assert isinstance(error["message"], str)
        assert isinstance(error["type"], str)
        assert error["message"]
        assert all(error[name] is None or isinstance(error[name], str) for name in ("param", "code")), error
        assert self.headers["content-type"] == "application/json"
        assert self.headers["x-request-id"].startswith("req_")
        return error


@dataclass
class Wire:
    """One connection to the gateway."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    key: str

    async def begin(self, method: str, target: str, *headers: str, key: str | None = None) -> None:
        """Send a request line and headers, with alice's key unless `key` says otherwise ("": none)."""
        lines = [f"{method} {target} HTTP/1.1", "Host: gateway", *headers]
        if (shown := self.key if key is None else key) != "":
            lines.append(f"Authorization: Bearer {shown}")
        await self.send("\r\n".join([*lines, "", ""]).encode())

    async def send(self, data: bytes) -> None:
        """Send bytes."""
        self.writer.write(data)
        await self.writer.drain()

    async def post(self, target: str, body: bytes, *headers: str, content_type: str = FORM) -> Said:
        """Send a whole request, return the whole answer."""
        await self.begin("POST", target, f"Content-Type: {content_type}", f"Content-Length: {len(body)}", *headers)
        await self.send(body)
        return await self.answer()

    async def head(self) -> Said:
        """Wait for the answer's status and headers."""
        async with asyncio.timeout(10):
            first, *lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
        return Said(int(first.split(" ")[1]), headers)

    async def answer(self) -> Said:
        """Wait for the whole answer, or as much of it as comes."""
        said = await self.head()
        try:
            async with asyncio.timeout(10):
                if said.headers.get("transfer-encoding") == "chunked":
                    while size := int(await self.reader.readuntil(b"\r\n"), 16):
                        said.body += (await self.reader.readexactly(size + 2))[:-2]
                    await self.reader.readuntil(b"\r\n")
                else:
                    left = int(said.headers.get("content-length", "0"))
                    while left:
                        data = await self.reader.read(left)
                        if not data:
                            return said
                        said.body += data
                        left -= len(data)
        except (asyncio.IncompleteReadError, ConnectionError):
            return said
        said.whole = True
        return said

    def hang_up(self) -> None:
        """Go away without a word."""
        self.writer.transport.abort()


@asynccontextmanager
async def dial(gateway: Running) -> AsyncIterator[Wire]:
    """A connection to the gateway."""
    host, _, port = gateway.origin.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=2**24)
    try:
        yield Wire(reader, writer, gateway.key)
    finally:
        writer.transport.abort()
