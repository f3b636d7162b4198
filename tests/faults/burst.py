"""Requests at a fixed rate from a process of its own: `burst.py PORT KEY RATE SECONDS`. Prints JSON; `served` are those
a second that were answered within these seconds.

`burst.py upstream` is an upstream that costs little; it prints its port.

They begin when they are due, whatever became of those before, each on a connection that is free or a new one.
"""

import asyncio
import json
import sys
import time
from collections import Counter

import uvloop

from tests.faults.machines import UPLOAD
from tests.wire import FORM

MOST = 1500  # connections
HELLO = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 16\r\n\r\n{"text":"hello"}'


class Line(asyncio.Protocol):
    """A connection that asks for one thing at a time."""

    def __init__(self, free: list["Line"]) -> None:
        self.free = free
        self.answer: asyncio.Future[int] | None = None
        self.data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It stands."""
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """A piece of an answer; each has a length."""
        self.data += data
        head, found, body = self.data.partition(b"\r\n\r\n")
        if not found or self.answer is None:
            return
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        if len(body) >= length:
            answer, self.answer, self.data = self.answer, None, b""
            if not answer.done():
                answer.set_result(int(head[9:12]))
            if b"connection: close" not in head.lower():
                self.free.append(self)

    def connection_lost(self, error: Exception | None) -> None:
        """It is gone."""
        if self in self.free:
            self.free.remove(self)
        if self.answer is not None and not self.answer.done():
            self.answer.set_result(-1)


class Upstream(asyncio.Protocol):
    """Says hello to each request, once it has it."""

    def __init__(self) -> None:
        self.data = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It stands."""
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """A piece of a request."""
        self.data += data
        head, found, _ = self.data.partition(b"\r\n\r\n")
        if not found:
            return
        length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
        whole = len(self.data) - len(head) - 4 >= int(length) if length else self.data.endswith(b"0\r\n\r\n")
        if whole:
            self.data.clear()
            self.transport.write(HELLO)  # type: ignore[attr-defined]


async def upstream() -> None:
    """Serve until it is killed."""
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


async def main(port: int, key: str, rate: float, seconds: float) -> None:
    """All of it."""
    loop = asyncio.get_running_loop()
    free: list[Line] = []
    found: Counter[int] = Counter()
    took: list[float] = []
    running: set[asyncio.Task[None]] = set()
    head = (
        f"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: {FORM}\r\nContent-Length: {len(UPLOAD)}\r\n\r\n"
    )
    request = head.encode() + UPLOAD

    started = time.monotonic()
    until, in_time = started + seconds, [0]

    async def ask() -> None:
        began = time.monotonic()
        try:
            line = free.pop() if free else (await loop.create_connection(lambda: Line(free), "127.0.0.1", port))[1]
        except OSError:
            found[-1] += 1
            return
        line.answer = loop.create_future()
        line.transport.write(request)  # type: ignore[attr-defined]
        try:
            status = await asyncio.wait_for(line.answer, 30)
        except TimeoutError:
            status = -2
        found[status] += 1
        if status == 200:
            in_time[0] += time.monotonic() < until
            took.append(time.monotonic() - began)

    count = 0
    while (now := time.monotonic()) < until:
        while started + count / rate <= now:
            count += 1
            if len(running) < MOST:
                task = loop.create_task(ask())
                running.add(task)
                task.add_done_callback(running.discard)
            else:
                found[-3] += 1
        await asyncio.sleep(0.001)
    await asyncio.gather(*running)
    took.sort()
    p99 = took[int(len(took) * 0.99)] if took else 0.0
    half = took[len(took) // 2] if took else 0.0
    told = {"asked": count / seconds, "served": in_time[0] / seconds, "found": found, "p99": p99, "p50": half}
    print(json.dumps(told))


if __name__ == "__main__":
    if sys.argv[1] == "upstream":
        uvloop.run(upstream())
    uvloop.run(main(int(sys.argv[1]), sys.argv[2], float(sys.argv[3]), float(sys.argv[4])))
