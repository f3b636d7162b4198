"""The audio routes as a plain ASGI endpoint: a request in, `proxy.serve`, the answer out."""

import asyncio
import json
import logging

from starlette.types import Message, Receive, Scope, Send

from gateway.call import Call
from gateway.client import BrokenOff
from gateway.errors import Refused, refuse
from gateway.parts import Parts, Reply
from gateway.proxy import serve
from gateway.web.errors import Rendered, rendered

log = logging.getLogger("audiogate")
COMMON = (("openai-version", "2020-10-01"),)
EVENT_ENDS = (b"\n\n", b"\r\n\r\n", b"\r\r")


class Body:
    """A request's body as ASGI brings it, and afterwards the news that the caller has hung up."""

    def __init__(self, receive: Receive) -> None:
        self.gone = False  # the caller, or whatever made the request pointless
        self.refusal: Refused | None = None  # what to say instead, while nothing was answered
        self._receive = receive
        self._ended = asyncio.Event()

    async def read(self) -> bytes:
        """The next piece, b"" at the end. Raises Refused("client_gone") when the caller goes away before that."""
        while not self._ended.is_set():
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self.gone = True
                raise refuse("client_gone")
            if not message.get("more_body", False):
                self._ended.set()
            if data := message.get("body", b""):
                return bytes(data)
        return b""

    async def hang_up(self, work: "asyncio.Task[object]") -> None:
        """Wait until the caller goes away, then end `work`."""
        await self._ended.wait()
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.end(work)

    def revoke(self, work: "asyncio.Task[object]") -> None:
        """The key is no longer good."""
        self.refusal = refuse("revoked_key", shown="yours")
        self.end(work)

    def end(self, work: "asyncio.Task[object]") -> None:
        """Nobody wants the answer any more."""
        self.gone = True
        work.cancel()


class AudioEndpoint:
    """Everything under /v1/audio/."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request. A caller that hangs up cancels it."""
        body = Body(receive)
        work = asyncio.current_task()
        assert work is not None
        call = self._call(scope, body, work)
        watch = self._parts.tasks.spawn(body.hang_up(work), name=f"watch {call.rid}")
        try:
            await self._answer(call, send)
        except asyncio.CancelledError:
            if not body.gone:
                raise
            work.uncancel()
            if body.refusal is not None and not scope.get("audiogate.answered"):
                await _send_whole(send, rendered(body.refusal))
        finally:
            watch.cancel()

    def _call(self, scope: Scope, body: Body, work: "asyncio.Task[object]") -> Call:
        pairs = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
        size = next((value for name, value in pairs if name == "content-length"), None)
        return Call(
            rid=scope["audiogate.rid"],
            method=scope["method"],
            path=scope["raw_path"].decode("latin-1"),
            query=scope["query_string"].decode("latin-1"),
            headers=dict(reversed(pairs)),
            authorization=tuple(value for name, value in pairs if name == "authorization"),
            peer=scope["client"][0] if scope["client"] else "",
            size=int(size) if size is not None else None,
            read=body.read,
            began=scope["audiogate.began"],
            started=self._parts.clock(),
            stop=lambda: body.revoke(work),
        )

    async def _answer(self, call: Call, send: Send) -> None:
        try:
            reply = await serve(call, self._parts)
        except Refused as refusal:
            await _send_whole(send, rendered(refusal))
        except Exception:
            log.exception("request %s failed", call.rid)
            await _send_whole(send, rendered(refuse("internal")))
        else:
            await _relay(reply, send)


async def _relay(reply: Reply, send: Send) -> None:
    error: BaseException | None = None
    end = b"\n\n"
    try:
        await send(_start(reply.status, (*reply.headers, *COMMON)))
        async for piece in reply.pieces():
            end = (end + piece)[-4:]
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
    except BrokenOff:
        error = refuse("upstream_failed")
        headers = dict(reply.headers)
        between_events = headers.get("content-type", "").startswith("text/event-stream") and end.endswith(EVENT_ENDS)
        if between_events and "content-length" not in headers:
            event = b"data: " + json.dumps(error.envelope()).encode() + b"\n\n"
            await send({"type": "http.response.body", "body": event})
        # Otherwise the answer stays unfinished: the server drops the connection, so that nobody takes it for whole.
    except BaseException as caught:
        error = caught
        raise
    finally:
        reply.close(error=error)


async def _send_whole(send: Send, answer: Rendered) -> None:
    status, headers, body = answer
    await send(_start(status, (*headers, *COMMON)))
    await send({"type": "http.response.body", "body": body})


def _start(status: int, headers: tuple[tuple[str, str], ...]) -> Message:
    # An upstream's odd bytes go out as they came.
    encoded = [(name.encode("latin-1"), value.encode("utf-8", "surrogateescape")) for name, value in headers]
    return {"type": "http.response.start", "status": status, "headers": encoded}
