"""An upstream on a raw socket: it sends the bytes that it is told to, and notes what came and how each line ended."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from tests.corpus.replies import CHUNKED, GOOD, head
from tests.relay.line import SECONDS, Gone, Got, Line

Script = Callable[[Line], Awaitable[None]]


class Origin:
    """The upstream: its lines in the order in which they were made, requests that began (`seen`) and came whole."""

    def __init__(self, script: Script) -> None:
        self.lines: list[Line] = []
        self.seen: list[Got] = []
        self.whole: list[Got] = []
        self.news = asyncio.Event()
        self.port, self.scheme = 0, "http"
        self._script = script
        self._tasks: list[asyncio.Task[None]] = []
        self.failures: list[BaseException] = []

    @property
    def url(self) -> str:
        """Scheme, host and port."""
        return f"{self.scheme}://127.0.0.1:{self.port}"

    @property
    def open(self) -> list[Line]:
        """The lines that have not ended."""
        return [line for line in self.lines if not line.ended]

    def begin(self, line: Line) -> None:
        """Run the script on a new line."""
        self.lines.append(line)
        self.news.set()
        self._tasks.append(asyncio.ensure_future(self._run(line)))

    async def line(self, number: int) -> Line:
        """Wait for a line."""
        await self.sees(lambda: len(self.lines) > number)
        return self.lines[number]

    async def sees(self, true: Callable[[], object]) -> None:
        """Wait until it is so; looked at whenever bytes or lines come or end."""
        async with asyncio.timeout(SECONDS):
            while not true():
                self.news.clear()
                await self.news.wait()

    async def stop(self) -> None:
        """End every line and script."""
        for line in self.lines:
            line.abort()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for line in self.lines:
            await line.lost.wait()

    async def _run(self, line: Line) -> None:
        try:
            await self._script(line)
        except Gone:
            pass
        except Exception as error:
            self.failures.append(error)


@asynccontextmanager
async def origin(script: Script, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[Origin]:
    """A running upstream. What its script raises is raised here in the end."""
    one = Origin(script)
    server = await asyncio.get_running_loop().create_server(lambda: Line(one), "127.0.0.1", 0, ssl=tls)
    one.port, one.scheme = server.sockets[0].getsockname()[1], "https" if tls else "http"
    try:
        yield one
    finally:
        server.close()
        await one.stop()
    if one.failures:
        raise one.failures[0]


def serves(reply: bytes = GOOD) -> Script:
    """Answers every request with these bytes."""

    async def script(line: Line) -> None:
        while True:
            await line.request()
            await line.say(reply)

    return script


def halting(go_on: asyncio.Event) -> Script:
    """Says "hello" in a chunk, and " world" in another once it may go on."""

    async def script(line: Line) -> None:
        await line.request()
        await line.say(head(CHUNKED) + b"5\r\nhello\r\n")
        await go_on.wait()
        await line.say(b"6\r\n world\r\n0\r\n\r\n")

    return script


def in_turn(*scripts: Script) -> Script:
    """The n-th line gets the n-th script; the last one stays."""
    return lambda line: scripts[min(line.number, len(scripts) - 1)](line)
