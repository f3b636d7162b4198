"""The connections to one origin: kept for a while, bounded in number, the one used last first."""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine

from gateway.relay.connection import Connection

CONNECTIONS = 2000
KEEP_ALIVE = 4.0  # seconds; uvicorn and Node close after 5, and lose what was sent just then


class Pool:
    """At most `limit` connections, made by `dial`."""

    def __init__(
        self,
        dial: Callable[[Callable[[], Connection]], Coroutine[object, object, Connection]],
        *,
        limit: int = CONNECTIONS,
        kept: Callable[[Connection], None] = lambda _: None,
    ) -> None:
        self._dial, self._limit, self._kept = dial, limit, kept
        self._all: set[Connection] = set()
        self._idle: list[Connection] = []
        self._dialling = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def get(self, seconds: float, *, fresh: bool = False) -> Connection:
        """A connection that serves nobody else; `fresh`: one that never served. To be given back in any case.

        Raises OSError, TimeoutError where there is none within `seconds`.
        """
        if not fresh and not self._waiting and (kept := self._take()) is not None:
            return kept
        async with asyncio.timeout(seconds):
            while len(self._all) + self._dialling >= self._limit and not (fresh and self._drop_one()):
                await self._turn()
                if not fresh and (kept := self._take()) is not None:
                    return kept
            self._dialling += 1
            try:
                made = await self._dial(lambda: Connection(self._forget))
            finally:
                self._dialling -= 1
                self._next()
        if not made.lost:
            self._all.add(made)
        return made

    def give_back(self, connection: Connection, *, whole: bool) -> None:
        """An exchange is over; its connection is kept if both bodies have ended (`whole`: the request's)."""
        if whole and connection.reusable:
            if not connection.reused:  # once: to look at an encrypted one takes as long as a request
                self._kept(connection)
            connection.release(KEEP_ALIVE)
            self._idle.append(connection)
        else:
            connection.abort()
        self._next()

    def close(self) -> None:
        """Close them all."""
        for connection in tuple(self._all):
            connection.abort()

    def _take(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if not connection.lost:
                return connection
        return None

    def _drop_one(self) -> bool:
        kept = self._take()
        if kept is not None:
            kept.abort()
        return kept is not None

    async def _turn(self) -> None:
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._next()  # it was ours: somebody else's now
            raise
        finally:
            if turn in self._waiting:
                self._waiting.remove(turn)

    def _next(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return

    def _forget(self, connection: Connection) -> None:
        self._all.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        self._next()
