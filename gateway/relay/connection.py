"""One connection: a request goes out, its answer comes in, one exchange at a time.

Back-pressure holds both ways: a body is written no faster than the peer reads, and an answer of which AHEAD bytes wait
for their reader is not read on. There is one timer; it is moved only when a deadline comes nearer.
"""

import asyncio
import ssl
from collections.abc import Callable
from math import inf
from typing import cast

from gateway.relay.answers import AnswerReader, Head, Malformed
from gateway.relay.endings import left_behind, said_goodbye
from gateway.relay.failures import BrokenOff, Nonsense, TimedOut, Unreachable

AHEAD = 64 * 1024
UNSENT = 64 * 1024
_ARRIVING = memoryview(bytearray(256 * 1024))  # bytes on their way from a socket to the parser


class Connection(asyncio.BufferedProtocol):
    """A connection of a pool.

    `connected`: it has been made. `idle`: it serves nobody. `reused`: it has served before. `reset`: the peer closed it
    with bytes unread.
    """

    def __init__(self, gone: Callable[["Connection"], None]) -> None:
        self.idle = True
        self.connected = False
        self.reused = False
        self.reset = False
        self._loop = asyncio.get_running_loop()
        self._gone = gone
        self._answer = AnswerReader()
        self._error: Exception | None = None
        self._news: asyncio.Future[None] | None = None  # for who reads
        self._room: asyncio.Future[None] | None = None  # for who writes
        self._full = self._paused = self._closed = False
        self._held = 0  # bytes that came since the last piece was taken
        self._due = self._rings = self._patience = inf
        self._stalled = 0.0  # when its peer was to have caught up
        self._timer: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport

    # -- one exchange

    @property
    def lost(self) -> bool:
        """Whether nothing more can be sent, or read beyond what is here."""
        return self._closed or self._error is not None

    @property
    def heard(self) -> bool:
        """Whether anything of the present answer has come."""
        return self._answer.touched

    @property
    def answered(self) -> bool:
        """Whether the head of the present answer is here."""
        return self._answer.head is not None

    @property
    def welcome(self) -> bool:
        """Whether the present answer, which may have come early, is no refusal."""
        return self._answer.head is not None and self._answer.head.status < 300

    @property
    def full(self) -> bool:
        """Whether `writable` would wait."""
        return self._full and not self.lost

    @property
    def reusable(self) -> bool:
        """Whether the answer is whole and the connection as good as new; the request's end is not known here."""
        whole = self._answer.ended and self._answer.keep and not self.lost
        return whole and not self._transport.get_write_buffer_size()

    def begin(self, *, bodiless: bool, patience: float) -> None:
        """An exchange begins; `bodiless`: its answer has no body. What is sent has to be taken within `patience`."""
        self.idle, self._due, self._held, self._patience = False, inf, 0, patience
        self._answer.begin(bodiless=bodiless)

    def write(self, *data: bytes) -> None:
        """Send; see `writable`."""
        if not self.lost:
            self._transport.writelines(data)

    async def writable(self) -> None:
        """Wait until there is room for more; what the peer does not take in time ends the exchange."""
        while self.full:
            self._room = self._loop.create_future()
            await self._room

    async def head(self) -> Head:
        """Status and headers. Raises Unreachable, TimedOut."""
        while (head := self._answer.head) is None:
            await self._more()
        self._due = inf
        return head

    async def read(self, seconds: float) -> list[bytes]:
        """What has come of the body, in its pieces, none at its end; waits `seconds`. Raises TimedOut, BrokenOff."""
        while not self._answer.pieces:
            if self._answer.ended:
                return []
            self.expect(seconds)
            await self._more()
        self._due = inf
        pieces, self._answer.pieces = self._answer.pieces, []
        self._held = 0
        self._read_on()
        return pieces

    def release(self, seconds: float) -> None:
        """The exchange is over; the connection is kept for so many seconds."""
        self.idle = self.reused = True
        self._read_on()
        self.expect(seconds)

    def expect(self, seconds: float) -> None:
        """Give up unless something happens within so many seconds."""
        self._due = self._loop.time() + seconds
        if self._due < self._rings:
            if self._timer is not None:
                self._timer.cancel()
            self._rings, self._timer = self._due, self._loop.call_at(self._due, self._ring)

    def fail(self, error: Exception) -> None:
        """The exchange ends here; whoever waits for it raises `error`."""
        self._error = self._error or error
        self.abort()
        self._wake()
        self._wake_writer()

    def abort(self) -> None:
        """Close at once; what was not sent never is."""
        if not self._closed:
            self._transport.abort()

    # -- what the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is there."""
        self.connected = True
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are none by name
        self._transport.set_write_buffer_limits(high=UNSENT)
        self.encryption: ssl.SSLObject | None = transport.get_extra_info("ssl_object")

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next bytes go: the parser takes them out at once, so one place serves all connections."""
        del sizehint
        return _ARRIVING

    def buffer_updated(self, nbytes: int) -> None:
        """Bytes of the answer; those that answer nothing end the connection."""
        if self.idle or self._error is not None:
            self.abort()
            return
        self._feed(_ARRIVING[:nbytes])
        self._held += nbytes
        if self._held > AHEAD and self._answer.pieces and not self._paused and not self._transport.is_closing():
            self._paused = True
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        """The peer has said all it has to say: an answer without a length is whole now, and only so."""
        if self._error is None and not self.idle and said_goodbye(self.encryption):
            self._answer.end()
        self._ended()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone. What the peer had said before that may still be with the system: it hung up on a body."""
        waited_for = not self.idle and self._error is None and not self._answer.ended
        if exc is not None and self.encryption is None and waited_for:
            self._feed(left_behind(self._transport, AHEAD))
        self.reset = isinstance(exc, ConnectionError)
        self._closed = True
        self._ended()
        if self._timer is not None:
            self._timer.cancel()
        self._gone(self)

    def pause_writing(self) -> None:
        """The peer reads slower than we write."""
        self._full = True
        if self._due == inf:
            self.expect(self._patience)
            self._stalled = self._due

    def resume_writing(self) -> None:
        """It has caught up."""
        self._full = False
        if self._due == self._stalled:
            self._due = inf
        self._wake_writer()

    # -- inside

    def _read_on(self) -> None:
        if self._paused and not self._transport.is_closing():
            self._paused = False
            self._transport.resume_reading()

    def _feed(self, data: bytes | memoryview) -> None:
        try:
            if data:
                self._answer.feed(data)
        except Malformed as error:
            self._error = (BrokenOff if self.answered else Nonsense)(f"a broken answer: {error}")
            self.abort()
        self._wake()

    def _ended(self) -> None:
        if not self.idle and not self._answer.ended and self._error is None:
            kind = BrokenOff if self.answered else Unreachable
            self._error = kind("the upstream closed the connection before its answer was whole")
        self._closed = self._closed or self.idle
        self._wake()
        self._wake_writer()

    async def _more(self) -> None:
        if self._error is not None:
            raise self._error
        self._news = self._loop.create_future()
        await self._news

    def _wake(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)

    def _wake_writer(self) -> None:
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    def _ring(self) -> None:
        self._timer, self._rings = None, inf
        if self._due <= self._loop.time() + 0.001:
            self._due = inf
            if self.idle:
                self.abort()
            else:
                self.fail(TimedOut("the upstream was silent for too long"))
        elif self._due < inf:
            self.expect(self._due - self._loop.time())
