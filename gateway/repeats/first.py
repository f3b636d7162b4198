"""The first request of its name: served as any other; its answer is kept when it is whole."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

from gateway import proxy
from gateway.call import Call
from gateway.errors import Refused
from gateway.parts import AnyReply, Parts, Reply
from gateway.repeats.fingerprint import Fingerprint
from gateway.store.repeats import MOST_BYTES, Mine
from gateway.upstreams.going import RETURNED

PATIENCE = 2.0  # seconds that the end of an answer waits until the store has it
TRIES = (0.0, 1.0, 2.0, 4.0)  # seconds before each attempt to tell the store


def told(work: Callable[[], Awaitable[object]], parts: Parts) -> "asyncio.Task[None]":
    """Tell the store, behind the answer. What it never hears of ends with its lease, and is not done again."""

    async def tell() -> None:
        for wait in TRIES:
            await asyncio.sleep(wait)
            try:
                await work()
            except Refused:
                continue
            return

    return parts.tasks.spawn(tell(), name="tell of a repeat")


class First:
    """The first request of its name, and its answer on its way to the caller."""

    status = 0
    headers: tuple[tuple[str, str], ...] = ()

    def __init__(self, mine: Mine, print_: Fingerprint, parts: Parts) -> None:
        self._mine, self._print, self._parts = mine, print_, parts
        self._reply: Reply | None = None
        self._executed = False
        self._told = False
        self._pieces: list[bytes] = []
        self._size = self._held = 0
        self._length = -1
        self._why = ""  # it cannot be kept

    async def serve(self, call: Call) -> AnyReply:
        """Serve it; whatever was not served may be tried again."""
        call.token, call.digest, call.ended = self._mine.token, self._print, self._ended
        try:
            self._reply = reply = await proxy.serve(call, self._parts)
        except BaseException as error:
            free = partial(self._parts.repeats.free, self._mine)
            task = self._lost("broken") if self._executed else told(free, self._parts)
            if isinstance(error, Refused):  # whoever tries again at once finds it free
                await asyncio.wait([task], timeout=PATIENCE)
            raise
        self.status, self.headers = reply.status, reply.headers
        self._length = int(dict(reply.headers).get("content-length", "-1"))
        return self

    async def read(self) -> list[bytes]:
        """The next pieces. Whoever has seen an answer whole finds it kept. Raises BrokenOff."""
        assert self._reply is not None
        pieces = await self._reply.read()
        self._hold(pieces)
        if not self._told and (not pieces or self._size == self._length):
            self._told = True
            await asyncio.wait([self._kept()], timeout=PATIENCE)
        return pieces

    def close(self, *, error: BaseException | None = None) -> None:
        """The answer is done, or nobody wants it any more."""
        assert self._reply is not None
        self._reply.close(error=error)
        if not self._told:
            self._told = True
            self._lost(self._why or "broken")

    def _ended(self, executed: bool) -> None:
        self._executed = executed

    def _hold(self, pieces: list[bytes]) -> None:
        size = sum(map(len, pieces))
        self._size += size
        if self._size > MOST_BYTES or size > self._parts.repeats.room:
            self._why = self._why or ("large" if self._size > MOST_BYTES else "full")
        if self._why:
            self._forget()
            return
        self._parts.repeats.room -= size
        self._held += size
        self._pieces += pieces

    def _forget(self) -> None:
        self._parts.repeats.room += self._held
        self._held, self._pieces = 0, []

    def _kept(self) -> "asyncio.Task[None]":
        """The answer is whole."""
        if self._why or not self._print.whole:
            return self._lost(self._why or "unread")
        headers = [(name, value) for name, value in self.headers if name in RETURNED]
        answer = self.status, headers, b"".join(self._pieces)
        task = told(partial(self._parts.repeats.keep, self._mine, answer, print_=self._print.text), self._parts)
        task.add_done_callback(lambda _: self._forget())
        return task

    def _lost(self, why: str) -> "asyncio.Task[None]":
        self._forget()
        return told(partial(self._parts.repeats.lose, self._mine, why, print_=self._print.text), self._parts)
