"""Work that goes on behind a request: held, so that it is not lost in mid-flight, and waited for at the end."""

import asyncio
import logging
from collections.abc import Coroutine

log = logging.getLogger("audiogate")


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

    def __len__(self) -> int:
        return len(self._running)

    async def drain(self, *, seconds: float) -> None:
        """Wait up to `seconds` for all of them, then cancel the rest."""
        if self._running:
            await asyncio.wait(self._running, timeout=seconds)
        for task in tuple(self._running):
            task.cancel()
        if self._running:
            await asyncio.wait(self._running)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("background task %s failed", task.get_name(), exc_info=error)
