"""Scripts that are asked for at the same time, sent in one go: one write and one read for all of them.

While one batch is under way the next one gathers, so the busier the gateway the larger they grow.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import hiredis
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ResponseError

MOST = 128  # calls in one batch


@dataclass(frozen=True, slots=True)
class Ask:
    """A command as it is sent, and whoever waits for its answer."""

    packed: bytes
    answer: "asyncio.Future[object]"


class Together:
    """Calls to one server. A batch that all have given up closes its connection: nobody reads its answers."""

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._waiting: list[Ask] = []
        self._task: asyncio.Task[None] | None = None
        self._sent: Sequence[Ask] = ()

    async def evaluate(self, digest: str, keys: Sequence[str], args: Sequence[str | int]) -> object:
        """The script's answer. Raises RedisError."""
        loop = asyncio.get_running_loop()
        packed = hiredis.pack_command(("EVALSHA", digest, len(keys), *keys, *args))  # type: ignore[arg-type]
        one = Ask(packed, loop.create_future())
        self._waiting.append(one)
        if self._task is None or self._task.done():
            self._task = loop.create_task(self._run(), name="store")
        try:
            return await one.answer
        except asyncio.CancelledError:
            if self._sent and all(ask.answer.cancelled() for ask in self._sent):
                self._task.cancel()
            raise

    async def close(self) -> None:
        """Give up what is under way."""
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        try:
            while batch := self._next():
                self._sent = batch
                try:
                    answers: Sequence[object] = await self._ask(batch)
                except Exception as error:  # whatever it is, those who asked must hear of it
                    answers = [error] * len(batch)
                for ask, answer in zip(batch, answers, strict=True):
                    _tell(ask.answer, answer)
        finally:
            self._sent = ()
            if self._waiting:  # this batch was given up, those who came behind it were not
                self._task = asyncio.get_running_loop().create_task(self._run(), name="store")

    def _next(self) -> Sequence[Ask]:
        batch = [ask for ask in self._waiting[:MOST] if not ask.answer.done()]
        del self._waiting[:MOST]
        return batch or (self._next() if self._waiting else ())

    async def _ask(self, batch: Sequence[Ask]) -> Sequence[object]:
        """The answers, each an error where its script failed. The library's own pipeline takes thrice as long."""
        pool = self._client.connection_pool
        connection = await pool.get_connection()  # type: ignore[no-untyped-call]
        try:
            await connection.send_packed_command(b"".join(ask.packed for ask in batch), check_health=False)
            return [await _answer(connection) for _ in batch]
        except BaseException:
            await connection.disconnect(nowait=True)  # what is still to come is nobody's
            raise
        finally:
            await pool.release(connection)


async def _answer(connection: AbstractConnection) -> object:
    try:
        return await connection.read_response()
    except ResponseError as error:
        return error


def _tell(answer: "asyncio.Future[object]", said: object) -> None:
    if answer.done():
        return
    if isinstance(said, Exception):
        answer.set_exception(said)
    else:
        answer.set_result(said)
