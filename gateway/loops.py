"""What a worker does again and again while it serves."""

import asyncio
from collections.abc import Awaitable, Callable

from gateway import logs
from gateway.health import Health
from gateway.ledger import Ledger
from gateway.metrics import Metrics
from gateway.overload import Overload
from gateway.tasks import Tasks

WATCH_SECONDS = REPLAY_SECONDS = 1.0
RENEW_SECONDS, REAP_SECONDS, TRIM_SECONDS = 3.0, 5.0, 60.0
Work = Callable[[], Awaitable[None]]


def begin(
    tasks: Tasks,
    ledger: Ledger,
    *,
    report: Callable[[], None],
    keep_store: Work,
    trim: Work,
    reload: Work,
    drains: Work,
) -> list[asyncio.Task[None]]:
    """Begin with all of it, in the background. `reload` waits by itself for a moment."""

    async def tell() -> None:
        report()

    return [
        tasks.repeat(WATCH_SECONDS, tell, name="watch"),
        tasks.repeat(WATCH_SECONDS, keep_store, name="watch the store"),
        tasks.repeat(RENEW_SECONDS, ledger.renew, name="watch leases"),
        tasks.repeat(REPLAY_SECONDS, ledger.replay, name="watch the journal"),
        tasks.repeat(REAP_SECONDS, ledger.reap, name="watch the dead"),
        tasks.repeat(TRIM_SECONDS, trim, name="watch the records"),
        tasks.repeat(0, reload, name="watch the file"),
        tasks.repeat(WATCH_SECONDS, drains, name="watch the drains"),
    ]


def reporter(overload: Overload, health: Health, metrics: Metrics) -> Callable[[], None]:
    """What is told once a second: how late the loop is, which upstreams rest, which lines of the log are lost."""

    def report() -> None:
        overload.report()
        health.report()
        metrics.lost_lines.inc(logs.out.lost())

    return report
