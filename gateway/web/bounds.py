"""What comes in on a connection is bounded in bytes: heads while they come, and what passes by unread."""

import httptools

from gateway.errors import Refused, refuse
from gateway.web import head
from gateway.web.answers import Line
from gateway.web.patience import BODY, DEAF, HEAD, PAUSE, Stage

REST = 8 * 1024 * 1024  # bytes of a body that was refused which may pass by before the next request
LINGER = 32 * 1024 * 1024  # bytes that may pass by before the connection is closed
BARREN = 32 * 1024  # bytes of a chunked body that may come, at a time, without any of the body itself


class Stop(Exception):
    """Nothing more shall be parsed: the parser is told so by an error."""


class Bounded(Line):
    """A connection with its counters, see `patience.Watched` for those without an underscore."""

    # Not in the object's dictionary: with more than thirty names in it all of them are slower.
    __slots__ = ("_barren", "_begun", "_headed", "_left", "_piece", "_trailers", "due", "got", "put", "stage", "used")

    def count(self) -> None:
        """Begin."""
        self.stage: Stage = PAUSE
        self.due, self.used = 0.0, False
        self.got = self.put = 0
        self._begun = self._headed = self._piece = 0  # heads; bytes of the head that is coming, and of this piece
        self._trailers = self._barren = 0
        self._left = 0  # bytes that may still pass by

    @property
    def deaf(self) -> bool:
        """Whether nothing more is read of what comes."""
        return self.stage is DEAF

    # -- what the event loop calls

    def data_received(self, data: bytes) -> None:
        """What came, on its way through the parser."""
        size = self._piece = len(data)
        if self.deaf:
            self.got += size
            self._pass_by(size)
            return
        begun = self._begun + (self.stage is PAUSE)
        self._barren += size
        try:
            self.parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if not self.deaf:
                self.spoil(refuse("bad_request", why=f"it is not HTTP/1.1 ({error})"))
            return
        self.got += size
        if self.stage is HEAD:
            self._headed = self._headed + size if self._begun == begun else self._size_of_head()
            if self._headed > head.MOST_BYTES:
                self.deny(head.large_head())
        elif self.stage is BODY:
            if self.cycle.response_complete:
                self._pass_by(size)
            elif self._barren > BARREN:
                self.spoil(
                    refuse("bad_request", why="there is too much between the chunks of its body, or behind them")
                )

    # -- what the parser calls

    def on_message_begin(self) -> None:
        """The first byte of a head."""
        self.url, self.headers, self.expect_100_continue = b"", [], False
        self._begun += 1
        self.stage, self.due = HEAD, 0.0

    def on_url(self, url: bytes) -> None:
        """A piece of the target."""
        self.url += url
        if len(self.url) > head.MOST_URL:
            self.deny(head.long_url())
            raise Stop

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field of the head, or one that comes behind the body, which nobody wants."""
        if self.stage is not HEAD:
            self._trailers += 1
            if self._trailers > head.MOST_FIELDS:
                self.spoil(head.large_head(fields=True))
                raise Stop
            return
        self.headers.append((name.lower(), value))
        if len(self.headers) > head.MOST_FIELDS:
            self.deny(head.large_head(fields=True))
            raise Stop

    def on_headers_complete(self) -> None:
        """The head is whole."""
        if self._headed + self._piece > head.MOST_BYTES and self._size_of_head() > head.MOST_BYTES:
            self.deny(head.large_head())
            raise Stop
        self.stage, self.due, self.used = BODY, 0.0, True
        self.got = self._headed = self._trailers = self._barren = 0
        self._left = REST

    def on_message_complete(self) -> None:
        """The body is whole."""
        self.stage, self.due = PAUSE, 0.0

    # -- what is done about it

    def deny(self, refusal: Refused, *, method: str = "") -> None:
        """Answer what came, in its turn, with a refusal; what comes behind it is not read."""
        raise NotImplementedError

    def spoil(self, refusal: Refused) -> None:
        """What is coming in is no request, or no longer one."""
        raise NotImplementedError

    def stop_listening(self) -> None:
        """What comes from now on passes by unread, within bounds."""
        self.stage, self.due, self._left = DEAF, 0.0, LINGER

    # -- inside

    def _pass_by(self, size: int) -> None:
        self._left -= size
        if self._left >= 0:
            return
        if self.deaf:
            self.transport.close()
        else:
            self.leave()

    def _size_of_head(self) -> int:
        return len(self.url) + sum([len(name) + len(value) + 4 for name, value in self.headers])
