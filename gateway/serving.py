"""Serves in one process, and ends well.

Told to stop it says that it is not ready, and takes on requests for a moment more, until whoever sends them has heard
of it; each answer tells its connection to close meanwhile. Then it takes no more connections, closes those that wait
for nothing, and finishes what is under way within `timeouts.drain`. What is left then is cut off, and booked. Told a
second time it does not wait.
"""

import asyncio
import os
import signal
import socket
import sys
import time
from contextlib import suppress
from multiprocessing.connection import Connection
from types import FrameType
from typing import cast

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway.app import Gateway, Start
from gateway.config.model import Timeouts
from gateway.web.door import Door

GRACE_SECONDS, GRACE_SHARE = 1.0, 1 / 30  # the shorter: this, or that part of `timeouts.drain`
BOOKS_SECONDS = 0.6  # for the books, at least
HURRIED_SECONDS = 4.0  # for them, at most, when nobody waits for anything else
LOOK_SECONDS = 0.02
NEVER = 10**9  # seconds; deadlines of callers are the door's
CLOSE = (b"connection", b"close")


class Serving(uvicorn.Server):
    """The server of one process. A worker beats every second where its parent listens, and stops when that is gone."""

    def __init__(self, config: uvicorn.Config, timeouts: Timeouts, beat: Connection | None = None) -> None:
        super().__init__(config)
        self._timeouts, self._beat = timeouts, beat
        if beat is not None:
            os.set_blocking(beat.fileno(), False)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal ends it in order, the second at once.

        A worker leaves Ctrl-C to its parent, and what comes twice: a whole group of processes may be told at a time.
        """
        del frame
        if self._beat is None:
            self.force_exit = self.should_exit
        if self._beat is None or sig != signal.SIGINT:
            self.should_exit = True

    def stop_at_once(self) -> None:
        """Do not wait for what is under way."""
        self.should_exit = self.force_exit = True

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second."""
        if self._beat is not None and counter % 10 == 0:
            try:
                with suppress(BlockingIOError):
                    os.write(self._beat.fileno(), b".")
            except OSError:  # the parent has died
                self.should_exit = True
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """See above."""
        gateway = cast("Gateway", self.config.loaded_app)
        grace = min(GRACE_SECONDS, self._timeouts.drain * GRACE_SHARE)
        began = time.monotonic()
        gateway.draining = True
        self.config.encoded_headers = [*self.config.encoded_headers, CLOSE]
        while not self.force_exit and time.monotonic() < began + grace:
            await self._look()
        for listening in (*self.servers, *(sockets or ())):
            listening.close()
        by = began + self._timeouts.drain
        await self._finish(by, fresh=time.monotonic() + grace)
        for task in tuple(self.server_state.tasks):
            task.cancel()
        gateway.books = max(BOOKS_SECONDS, HURRIED_SECONDS if self.force_exit else by - time.monotonic())
        await self.lifespan.shutdown()

    async def _finish(self, by: float, *, fresh: float) -> None:
        """Wait for what is under way. Who connected just now may send a request until `fresh`."""
        while not self.force_exit and (now := time.monotonic()) < by:
            connections = cast("set[HttpToolsProtocol]", self.server_state.connections)
            for one in tuple(connections):
                if now >= fresh or cast("object", one.cycle) is not None:
                    one.shutdown()
            if not connections and not self.server_state.tasks:
                return
            await self._look()

    async def _look(self) -> None:
        await self.on_tick(0)  # the date goes on, and the beat
        await asyncio.sleep(LOOK_SECONDS)


def serving(start: Start, beat: Connection | None = None) -> Serving:
    """The server of this process, which calls `start` for its application."""
    config = uvicorn.Config(
        start,
        factory=True,  # it is called where the event loop runs
        http=Door,
        loop="uvloop" if sys.platform != "win32" else "asyncio",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=NEVER,
    )
    return Serving(config, start.config.server.timeouts, beat)
