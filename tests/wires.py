"""A TCP proxy that makes a connection slow, deaf or short: between a gateway and its store, or between two stores."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

PIECE = 65536


@dataclass
class Wire:
    """What lies between; everything may be changed while it runs. Times are in seconds.

    `delay` holds back each piece in either direction, in order. While `silent`, nothing passes and nothing is closed.
    `eats` says which replies are lost: the connection is cut instead of passing one. `refuses` new connections.
    """

    port: int = 0
    delay: float = 0.0
    silent: bool = False
    refuses: bool = False
    eats: Callable[[bytes], bool] = lambda _: False
    eaten: int = 0
    connections: int = 0
    _open: set[asyncio.StreamWriter] = field(default_factory=set)

    @property
    def url(self) -> str:
        """As the address of a store."""
        return f"redis://127.0.0.1:{self.port}"

    def cut(self) -> None:
        """Reset every connection there is."""
        for writer in tuple(self._open):
            reset(writer)


def reset(writer: asyncio.StreamWriter) -> None:
    """Close with RST instead of FIN."""
    if (sock := writer.get_extra_info("socket")) is not None and sock.family != socket.AF_UNIX:
        with suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@asynccontextmanager
async def wired(target: str) -> AsyncIterator[Wire]:
    """A wire to the server at `target`: a URL with host and port, or with the path of a socket."""
    wire, running = Wire(), set[asyncio.Task[None]]()

    async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wire.connections += 1
        task = asyncio.current_task()
        assert task is not None
        running.add(task)
        wire._open.add(writer)
        other: asyncio.StreamWriter | None = None
        try:
            if wire.refuses:
                return
            back, other = await _dial(target)
            wire._open.add(other)
            ways = [
                asyncio.ensure_future(_pass(wire, reader, other, replies=False)),
                asyncio.ensure_future(_pass(wire, back, writer, replies=True)),
            ]
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
        except (OSError, asyncio.CancelledError):
            pass  # a cancelled task of a stream's is reported as an error
        finally:
            running.discard(task)
            for end in (writer, other):
                if end is not None:
                    wire._open.discard(end)
                    reset(end)

    server = await asyncio.start_server(served, "127.0.0.1", 0)
    wire.port = server.sockets[0].getsockname()[1]
    try:
        yield wire
    finally:
        server.close()
        for task in tuple(running):
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def _dial(target: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    parts = urlsplit(target)
    if parts.scheme == "unix":
        return await asyncio.open_unix_connection(parts.path)
    return await asyncio.open_connection(parts.hostname, parts.port)


async def _pass(wire: Wire, source: asyncio.StreamReader, to: asyncio.StreamWriter, *, replies: bool) -> None:
    """Pass pieces on, each `delay` after it came; a delay does not slow down what follows."""
    waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    async def deliver() -> None:
        while True:
            due, data = await waiting.get()
            await asyncio.sleep(max(0.0, due - loop.time()))
            while wire.silent:
                await asyncio.sleep(0.005)
            to.write(data)
            await to.drain()

    delivering = asyncio.ensure_future(deliver())
    try:
        while data := await source.read(PIECE):
            if replies and wire.eats(data):
                wire.eaten += 1
                return
            waiting.put_nowait((loop.time() + wire.delay, data))
        while not waiting.empty() and not delivering.done():
            await asyncio.sleep(0.005)
    except OSError:
        pass
    finally:
        delivering.cancel()
        await asyncio.gather(delivering, return_exceptions=True)
