"""What goes out on a connection: an upstream's answer as it comes, or a refusal."""

import json
import re
from collections.abc import Iterable

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from gateway.client import BrokenOff
from gateway.errors import Refused, refuse
from gateway.parts import AnyReply
from gateway.web.errors import rendered

EVENT_ENDS = (b"\n\n", b"\r\n\r\n", b"\r\r")
BODILESS = (204, 304)
LAST_CHUNK = b"0\r\n\r\n"
_CONTROL = re.compile("[\x00-\x08\x0a-\x1f\x7f]")


class Line(HttpToolsProtocol):
    """A connection, as its answers see it. `put`: bytes of answers that were written to it so far."""

    __slots__ = ()
    put: int

    def goes_on(self, answer: "Answer") -> bool:
        """Whether it can be used again behind this answer, which is about to begin."""
        raise NotImplementedError

    def leave(self) -> None:
        """Its last answer is out."""
        raise NotImplementedError


class Answer:
    """The answer to one request, whose id is `rid`. `expects`: its body is sent once it was asked for (100-continue).

    `response_complete` and `keep_alive` are what uvicorn asks of whatever it serves.
    """

    def __init__(self, line: Line, *, keep_alive: bool, expects: bool = False) -> None:
        self.response_complete = False
        self.keep_alive = keep_alive
        self.expects = expects
        self._line = line
        self._started = False

    @property
    def halfway(self) -> bool:
        """Whether it was begun and is not whole."""
        return self._started and not self.response_complete

    def say(self, refusal: Refused, *, rid: str, method: str) -> None:
        """Refuse, in whole."""
        status, headers, body = rendered(refusal)
        head = self._head(status, headers, rid, chunked=False)
        self._write(head if method == "HEAD" else head + body)
        self._complete()

    async def relay(self, reply: AnyReply, *, rid: str, method: str) -> None:
        """Pass on what comes. What breaks off stays so, unless it can be told in its own form."""
        headers = dict(reply.headers)
        bodiless = method == "HEAD" or reply.status in BODILESS
        chunked = "content-length" not in headers and not bodiless
        flow, tail = self._line.flow, b"\n\n"
        try:
            if flow.write_paused:
                await flow.drain()
            self._write(self._head(reply.status, reply.headers, rid, chunked=chunked))
            while pieces := await reply.read():
                tail = b"".join([piece[-4:] for piece in (tail, *pieces[-4:])])[-4:]
                if chunked:
                    self._write(b"%x\r\n" % sum(map(len, pieces)), *pieces, b"\r\n")
                elif not bodiless:
                    self._write(*pieces)
                if flow.write_paused:
                    del pieces  # meanwhile nothing is in hand
                    await flow.drain()
        except BrokenOff:
            error = refuse("upstream_failed")
            reply.close(error=error)
            events = headers.get("content-type", "").startswith("text/event-stream")
            if not (chunked and events and tail.endswith(EVENT_ENDS)):
                return
            event = b"data: " + json.dumps(error.envelope()).encode() + b"\n\n"
            self._write(b"%x\r\n%s\r\n" % (len(event), event))
        except BaseException as error:
            reply.close(error=error)
            raise
        else:
            reply.close()
        self._complete(LAST_CHUNK if chunked else b"")

    # -- inside

    def _write(self, *pieces: bytes) -> None:
        self._line.put += sum(map(len, pieces))
        if len(pieces) == 1:
            self._line.transport.write(pieces[0])
        else:
            self._line.transport.writelines(pieces)

    def _head(self, status: int, headers: Iterable[tuple[str, str]], rid: str, *, chunked: bool) -> bytes:
        if _CONTROL.search("".join([value for _, value in headers])):
            raise ValueError("a header that would break the answer in two")
        self._started = True
        self.keep_alive = self.keep_alive and self._line.goes_on(self)
        lines = "".join([f"{name}: {value}\r\n" for name, value in headers])
        close = "" if self.keep_alive else "connection: close\r\n"
        # In chunks for HTTP/1.0 as well: whoever cannot read them cannot take half an answer for a whole one either.
        coding = "transfer-encoding: chunked\r\n" if chunked else ""
        text = f"{lines}openai-version: 2020-10-01\r\nx-request-id: {rid}\r\n{close}{coding}\r\n"
        always = [b"%b: %b\r\n" % pair for pair in self._line.server_state.default_headers]
        # An upstream's odd bytes go out as they came.
        return b"".join((STATUS_LINE[status], *always, text.encode("utf-8", "surrogateescape")))

    def _complete(self, last: bytes = b"") -> None:
        if last:
            self._write(last)
        self.response_complete = True
        if not self.keep_alive:
            self._line.leave()
        self._line.on_response_complete()


class Denial(Answer):
    """The answer to what its head alone refuses: nothing is done for it."""

    def __init__(self, line: Line, refusal: Refused, *, rid: str, method: str, keep_alive: bool, expects: bool) -> None:
        super().__init__(line, keep_alive=keep_alive, expects=expects)
        self._refusal, self._rid, self._method = refusal, rid, method

    def give(self) -> None:
        """It is its turn."""
        self.say(self._refusal, rid=self._rid, method=self._method)
