"""A request's body on its way: the one writer that fills the spool, and what each attempt sends of it."""

import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from math import inf
from time import monotonic

from gateway.audio.body import Reader
from gateway.audio.request import AudioRequest, Layout
from gateway.call import Digest, Pour
from gateway.errors import Refused, refuse
from gateway.probe.parent import Probe
from gateway.spool import Spool

logging.getLogger("python_multipart").setLevel(logging.CRITICAL)  # else a line for each form that is refused


class Unfit(Exception):
    """What is being sent must not be completed: a field that came late asks for another upstream."""


class Overlong(Exception):
    """The body came out longer than was announced to the upstream: it has to be sent again, whole."""


class Upload:
    """One body: its pieces come by `read` (b"" at the end), go through `reader` into `spool`, at most `max_bytes`.

    `digest` is told what the spool is.
    """

    def __init__(
        self,
        read: Callable[[], Awaitable[bytes]],
        reader: Reader,
        spool: Spool,
        *,
        max_bytes: int,
        digest: Digest | None = None,
    ) -> None:
        self.received = 0
        self.waited = 0.0  # seconds that pieces were waited for
        self._read = read
        self._reader = reader
        self._spool = spool
        self._max_bytes = max_bytes
        self._digest = digest
        self._stopped = False
        self._counted: float | None = None

    @property
    def request(self) -> AudioRequest:
        """What is known of the request so far; final once `complete`."""
        if self._counted is None:
            return self._reader.request
        return replace(self._reader.request, seconds=self._counted, seconds_from="packets")

    @property
    def complete(self) -> bool:
        """Whether the whole body is here and passed every check."""
        return self._spool.complete

    @property
    def failure(self) -> BaseException | None:
        """Why the body will never be whole, if so."""
        return self._spool.failure

    @property
    def routable(self) -> bool:
        """Whether an upstream can be chosen."""
        return self._reader.routable

    @property
    def blocked(self) -> bool:
        """Whether the whole body has to be read before an upstream can be chosen."""
        return self._reader.blocked

    async def pull(self) -> None:
        """Read one piece of the body. Raises Refused for what is wrong with it."""
        began = monotonic()
        try:
            data = await self._read()
        except Refused as error:
            self._spool.fail(error)
            raise
        self.waited += monotonic() - began
        self.take(data)

    def take(self, data: bytes) -> None:
        """The next piece of the body, b"" at its end. Raises Refused for what is wrong with it."""
        try:
            if not data:
                self._reader.close()
                if self._digest is not None:
                    self._digest.end(self._reader.layout(self._reader.request.model or ""))
                self._spool.finish()
                return
            self.received += len(data)
            if self.received > self._max_bytes:
                raise refuse("too_large", limit=self._max_bytes, got=self.received)
            kept = self._reader.feed(data)
            if self._digest is not None:
                self._digest.update(kept)
            self._spool.append(kept)
        except Refused as error:
            self._spool.fail(error)
            raise

    async def measure(self, probe: Probe) -> None:
        """Read the whole body and count its audio, where it has some that can be counted. Raises as `pull`."""
        while not self.complete:
            await self.pull()
        with suppress(Refused):  # no room on the disk to hand it over
            if (audio := self.audio()) is not None:
                fd, at, size = audio
                seconds = await probe.seconds(fd, at=at, size=size)
                # A sum of floats: what is behind the microseconds is noise, and would be rounded up to a millisecond.
                self._counted = None if seconds is None else round(seconds, 6)

    def fill(self, pour: Pour) -> None:
        """Take the rest as it comes, see `call.Call`; what goes wrong reaches whoever follows."""
        if not self.complete:
            pour(self._poured, lambda: self._spool.fail(refuse("client_gone")))

    def sending(self, layout: Layout, *, check: Callable[[], bool]) -> "Sent":
        """The body as it goes out in a layout that was made for it.

        `check` is asked when the body is whole and before its last bytes go out: may it be completed?
        """
        return Sent(self._spool, layout, check)

    def layout(self, model: str) -> Layout:
        """How the body goes out, with its length if that is known."""
        return self._reader.layout(model)

    async def whole(self) -> None:
        """Wait until the body is here. Raises what went wrong with it."""
        await self._spool.whole()

    def audio(self) -> tuple[int, int, int] | None:
        """File descriptor, offset and size of the audio in it, None where there is none or it is not whole."""
        size = self._reader.file_size
        if not self.complete or size is None:
            return None
        return self._spool.fileno(), self._reader.file_at, size

    def stop(self) -> None:
        """Take no more of it."""
        self._stopped = True

    def close(self) -> None:
        """Forget it."""
        self.stop()
        self._spool.close()

    def _poured(self, data: bytes) -> None:
        if self._stopped or self._spool.failure is not None:
            return
        try:
            self.take(data)
        except Refused:
            return  # the spool has it, and so have its followers
        except Exception as error:
            self._spool.fail(error)


class Sent:
    """One attempt's body: the spool's bytes with the splices put in, and the closing once it may be completed."""

    def __init__(self, spool: Spool, layout: Layout, check: Callable[[], bool]) -> None:
        self.done = False
        self.failure: Exception | None = None
        self._spool, self._layout, self._check = spool, layout, check
        self._splices = list(layout.splices)
        self._at = self._sent = 0
        self._ended = False

    @property
    def at_hand(self) -> bool:
        """Whether all of it is here."""
        return self._spool.complete

    async def read(self, take: Callable[[bytes], bool]) -> bytes:
        """The next piece, b"" at the end; see `client.Sending`. Raises what ended the upload, Unfit, Overlong."""
        if self._ended:
            return b""

        def straight(piece: bytes) -> bool:
            fits = self._next_splice() >= self._at + len(piece) and not self._too_long(len(piece))
            if fits and take(piece):
                self._at += len(piece)
                self._sent += len(piece)
                return True
            return False

        while (piece := self._spool.piece(self._at)) is None:
            await self._spool.more(straight)
        if not piece:
            self._ended = True
            return self._last()
        return self._counted(self._spliced(piece))

    def _next_splice(self) -> float:
        return self._splices[0][0] if self._splices else inf

    def _spliced(self, piece: bytes) -> bytes:
        at, self._at = self._at, self._at + len(piece)
        parts = []
        while self._next_splice() < self._at:
            offset, insert = self._splices.pop(0)
            parts += [piece[: offset - at], insert]
            piece, at = piece[offset - at :], offset
        return b"".join((*parts, piece))

    def _last(self) -> bytes:
        """What goes out behind the spool's bytes, and makes the body whole."""
        if not self._check():
            self.failure = Unfit()
            raise self.failure
        last = self._counted(b"".join(insert for _, insert in self._splices)) + self._layout.closing
        if self._layout.length is not None:
            missing = self._layout.length - self._sent - len(self._layout.closing)
            last += (b"\r\n" * (missing // 2 + 1))[:missing]
        return last

    def _counted(self, data: bytes) -> bytes:
        """What goes out before the closing: never so much that what was announced could be taken for whole."""
        if self._too_long(len(data)):
            self.failure = Overlong()
            raise self.failure
        self._sent += len(data)
        return data

    def _too_long(self, more: int) -> bool:
        length = self._layout.length
        return length is not None and self._sent + more + len(self._layout.closing) > length
