"""A deadline for what a request waits for, by the time in which this process could have heard an answer."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

LATE = 0.02  # seconds by which a timer may be late on a loop that is not overloaded
MOST_LATE = 2.0  # so much of being late is made up for in all


@asynccontextmanager
async def within(seconds: float | None) -> AsyncIterator[None]:
    """Raises TimeoutError unless it is done in `seconds`; None: no deadline.

    Where the event loop itself was late, by as much as it was the deadline is put off: an overloaded gateway must not
    take its own slowness for the store's.
    """
    loop, left = asyncio.get_running_loop(), MOST_LATE
    timer: asyncio.TimerHandle | None = None
    async with asyncio.timeout(None) as limit:

        def check(due: float) -> None:
            nonlocal left, timer
            late = min(left, loop.time() - due)
            if late > LATE:
                left -= late
                timer = loop.call_at(loop.time() + late, check, loop.time() + late)
            else:
                limit.reschedule(loop.time())

        if seconds is not None:
            timer = loop.call_at(loop.time() + seconds, check, loop.time() + seconds)
        try:
            yield
        finally:
            if timer is not None:
                timer.cancel()
