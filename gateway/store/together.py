"""What is asked for at the same time goes out in one go: one call to the store for all of it.

While one batch is under way the next one gathers, so the busier the gateway the larger they grow.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Generic, TypeVar

from gateway.errors import Refused, refuse

MOST = 128  # in one batch
Item = TypeVar("Item")
Answer = TypeVar("Answer")


class _Asked(Generic[Item, Answer]):
    """One of them, and whoever waits for its answer. `since`: by the clock of the loop."""

    __slots__ = ("answer", "item", "since")

    def __init__(self, item: Item, loop: asyncio.AbstractEventLoop) -> None:
        self.item, self.since = item, loop.time()
        self.answer: asyncio.Future[Answer] = loop.create_future()


class Together(Generic[Item, Answer]):
    """Things for `work`, which gives an answer or an error for each; what it raises is an error for all of them.

    When a batch fails, whoever has waited for half as long as it took does not wait for the next one.
    """

    def __init__(self, work: Callable[[Sequence[Item]], Awaitable[Sequence[Answer | Exception]]]) -> None:
        self._work = work
        self._waiting: list[_Asked[Item, Answer]] = []
        self._task: asyncio.Task[None] | None = None

    async def ask(self, item: Item) -> Answer:
        """The answer. Raises what `work` does.

        Whoever is cancelled before it goes out has not asked. Later the answer is waited for and returned, since it may
        have to be noted; the cancellation comes with whatever is waited for next.
        """
        loop = asyncio.get_running_loop()
        one: _Asked[Item, Answer] = _Asked(item, loop)
        self._waiting.append(one)
        if self._task is None or self._task.done():
            self._task = loop.create_task(self._run(), name="store")
        try:
            return await one.answer
        except asyncio.CancelledError:
            if one in self._waiting:
                self._waiting.remove(one)
                raise
            return await _to_the_end(one, loop)

    async def _run(self) -> None:
        clock = asyncio.get_running_loop().time
        while self._waiting:
            sent = clock()
            batch = self._waiting[:MOST]
            del self._waiting[:MOST]
            try:
                answers = await self._work([one.item for one in batch])
            except Exception as error:  # whatever it is, those who asked must hear of it
                answers = [error] * len(batch)
                late = (sent + clock()) / 2
                behind = [one for one in self._waiting if one.since <= late]
                self._waiting = [one for one in self._waiting if one.since > late]
                _tell(behind, [_gone()] * len(behind))  # nothing was asked of these, so nothing has to be noted
            except BaseException:  # the loop is closed under it
                _tell(batch, [_gone()] * len(batch))
                raise
            _tell(batch, answers)


def _gone() -> Refused:
    return refuse("store_down", retry_after=1)


async def _to_the_end(one: _Asked[Item, Answer], loop: asyncio.AbstractEventLoop) -> Answer:
    task = asyncio.current_task()
    assert task is not None
    try:
        if one.answer.cancelled():  # with its waiter; else the answer came at the same moment
            one.answer = loop.create_future()
        while not one.answer.done():
            with suppress(asyncio.CancelledError):  # whoever insists waits, too
                await asyncio.wait([one.answer])
        return one.answer.result()
    finally:
        task.uncancel()
        task.cancel()


def _tell(some: Sequence[_Asked[Item, Answer]], answers: Sequence[Answer | Exception]) -> None:
    for one, answer in zip(some, answers, strict=True):
        if one.answer.cancelled():  # just now, and who asked has not run since
            one.answer = asyncio.get_running_loop().create_future()
        if isinstance(answer, Exception):
            one.answer.set_exception(answer)
        else:
            one.answer.set_result(answer)
