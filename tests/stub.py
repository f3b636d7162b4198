"""A scripted upstream on a real socket that records what it received, byte by byte and when."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.parser import BytesParser
from typing import Any

from tests.wires import reset


@dataclass
class Seen:
    """One request as the upstream saw it. `whole` tells whether its body came to a proper end."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytearray = field(default_factory=bytearray)
    whole: bool = False
    grew: asyncio.Event = field(default_factory=asyncio.Event)
    closed: asyncio.Event = field(default_factory=asyncio.Event)  # its connection is gone

    @property
    def parts(self) -> list[Any]:
        """The parts of a multipart body, in order."""
        head = f"Content-Type: {self.headers['content-type']}\r\n\r\n".encode()
        payload = BytesParser().parsebytes(head + bytes(self.body)).get_payload()
        assert isinstance(payload, list), payload
        return payload

    @property
    def fields(self) -> list[tuple[str, bytes]]:
        """Names and bytes of all parts, in order."""
        return [
            (str(part.get_param("name", header="content-disposition")), part.get_payload(decode=True))
            for part in self.parts
        ]

    @property
    def json(self) -> Any:
        """A JSON body."""
        return json.loads(self.body)

    async def has(self, size: int) -> None:
        """Wait until at least `size` bytes of the body have come."""
        async with asyncio.timeout(10):
            while len(self.body) < size:
                self.grew.clear()
                await self.grew.wait()


@dataclass
class Answer:
    """What to say. `pieces` are sent one by one; `cut` breaks the connection off after them. `early`: do not wait
    for the request's body. `gate` holds back the pieces after the first until it is set, `hold` the whole answer;
    `refuse` closes at once. `raw`: the pieces are all that is sent, without a head and unframed. `reset`: where `cut`
    breaks off, it does so with RST. `stale`: a connection that has served before is closed instead, with the request
    "read" or "unread". `pace`: seconds between two pieces.
    """

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    pieces: tuple[bytes, ...] = (b'{"text":"hello"}',)
    content_type: str = "application/json"
    cut: bool = False
    early: bool = False
    refuse: bool = False
    chunked: bool = False
    raw: bool = False
    reset: bool = False
    stale: str = ""
    pace: float = 0.0
    gate: asyncio.Event | None = None
    hold: asyncio.Event | None = None


def said(text: str = "hello", *, status: int = 200, **more: Any) -> Answer:
    """A JSON answer with a text, or any fields."""
    return Answer(status=status, pieces=(json.dumps({"text": text, **more}).encode(),))


def failed(
    status: int, message: str = "no", *, code: object = None, kind: str = "new_api_error", **headers: str
) -> Answer:
    """A JSON error."""
    error = {"message": message, "type": kind, "param": "", "code": code}
    return Answer(status=status, headers=headers, pieces=(json.dumps({"error": error}).encode(),))


Script = Callable[[Seen], Answer | Awaitable[Answer]]


class Stub:
    """The upstream. `answers` are used up in order, the last one stays."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.answers: list[Answer] = [said()]
        self.arrived = asyncio.Event()
        self.closed = asyncio.Event()  # a client went away
        self.port = 0

    @property
    def url(self) -> str:
        """The base URL, with /v1."""
        return f"http://127.0.0.1:{self.port}/v1"

    async def request(self, number: int = 0) -> Seen:
        """Wait until request `number` has begun."""
        async with asyncio.timeout(10):
            while len(self.seen) <= number:
                self.arrived.clear()
                await self.arrived.wait()
        return self.seen[number]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        mine: list[Seen] = []
        try:
            while await self._exchange(reader, writer, mine):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.closed.set()
            for seen in mine:
                seen.closed.set()
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, mine: list[Seen]) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
        seen = Seen(method, target, headers)
        mine.append(seen)
        self.seen.append(seen)
        self.arrived.set()
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        stale = answer.stale if len(mine) > 1 else ""
        if answer.refuse or stale == "unread":
            writer.transport.abort()
            return False
        if not answer.early:
            await _read_body(reader, seen)
        if stale:
            return False
        if answer.hold is not None:
            await _wait(answer.hold, reader)
        await _write(reader, writer, answer)
        return not answer.early and not answer.cut


async def _read_body(reader: asyncio.StreamReader, seen: Seen) -> None:
    if "chunked" in seen.headers.get("transfer-encoding", ""):
        while size := int(await reader.readuntil(b"\r\n"), 16):
            seen.body += (await reader.readexactly(size + 2))[:-2]
            seen.grew.set()
        await reader.readuntil(b"\r\n")
    else:
        left = int(seen.headers.get("content-length", "0"))
        while left:
            data = await reader.read(min(left, 65536))
            if not data:
                raise ConnectionError("cut off")
            left -= len(data)
            seen.body += data
            seen.grew.set()
    seen.whole = True
    seen.grew.set()


async def _wait(event: asyncio.Event, reader: asyncio.StreamReader) -> None:
    """Wait for the event. Raises ConnectionError if the client goes away first."""

    async def gone() -> None:
        while await reader.read(65536):
            pass

    tasks = [asyncio.ensure_future(event.wait()), asyncio.ensure_future(gone())]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if not tasks[0].done():
            raise ConnectionError("the client went away")
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _write(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: Answer) -> None:
    chunked = not answer.raw and _head(writer, answer)
    for number, piece in enumerate(answer.pieces):
        if number and answer.gate is not None:
            await _wait(answer.gate, reader)
        if number and answer.pace:
            await asyncio.sleep(answer.pace)
        writer.write(b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece)
        await writer.drain()
    if answer.cut:
        if answer.reset:
            reset(writer)
        elif not answer.pieces:
            writer.transport.abort()
        else:
            writer.close()
        return
    if chunked:
        writer.write(b"0\r\n\r\n")
    await writer.drain()


def _head(writer: asyncio.StreamWriter, answer: Answer) -> bool:
    """Send the head; whether the body is in chunks."""
    headers = {"content-type": answer.content_type, **answer.headers}
    if answer.chunked or answer.gate is not None:
        headers["transfer-encoding"] = "chunked"
    elif "content-length" not in headers:
        headers["content-length"] = str(sum(map(len, answer.pieces)))
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    writer.write(f"HTTP/1.1 {answer.status} X\r\n{lines}\r\n".encode())
    return headers.get("transfer-encoding") == "chunked"


@asynccontextmanager
async def stub() -> AsyncIterator[Stub]:
    """A running upstream."""
    one = Stub()
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        await one.serve(reader, writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    one.port = server.sockets[0].getsockname()[1]
    try:
        yield one
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
