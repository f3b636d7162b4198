"""Work that goes on behind a request: held, so that it is not lost in mid-flight, and waited for at the end."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import TypeVar

from gateway.errors import Refused

log = logging.getLogger("audiogate")
T = TypeVar("T")


async def to_the_end(work: Coroutine[object, object, T]) -> T:
    """The result of work that must not be cut off in the middle: a cancellation is raised once it is done.

    What the work has to leave behind it must note itself, for a caller that is cancelled never sees its result.
    """
    task = asyncio.get_running_loop().create_task(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            with suppress(asyncio.CancelledError):  # whoever insists waits, too
                await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # seen: whoever was cancelled has no use for it
        raise


async def checkpoint() -> None:
    """Raise the cancellation that something put off until its work was done, if one was."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        await asyncio.sleep(0)


class Tasks:
    """The background tasks of one process."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[None]] = set()

    def spawn(self, work: Coroutine[object, object, None], *, name: str) -> asyncio.Task[None]:
        """Start `work`; what it raises is logged."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._running.add(task)
        task.add_done_callback(self._ended)
        return task

    def repeat(self, seconds: float, work: Callable[[], Awaitable[None]], *, name: str) -> asyncio.Task[None]:
        """Do `work` every so many seconds, whatever it raises: a full disk or a lost store must not end it for good."""
        return self.spawn(_repeated(seconds, work), name=name)

    def __len__(self) -> int:
        return len(self._running)

    async def wait(self, *, seconds: float) -> None:
        """Wait up to `seconds` for all of them."""
        if self._running:
            await asyncio.wait(self._running, timeout=seconds)

    async def drain(self, *, seconds: float) -> None:
        """Wait up to `seconds` for all of them, then cancel the rest."""
        await self.wait(seconds=seconds)
        for task in tuple(self._running):
            task.cancel()
        if self._running:
            await asyncio.wait(self._running)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("background task %s failed", task.get_name(), exc_info=error)


async def _repeated(seconds: float, work: Callable[[], Awaitable[None]]) -> None:
    while True:
        await asyncio.sleep(seconds)
        try:
            await work()
        except Refused:
            continue  # the store is away; the breaker and the metrics tell
        except Exception:
            log.exception("background work failed; it is tried again")
