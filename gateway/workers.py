"""Several processes that share one port, and the parent that starts, replaces and ends them."""

import asyncio
import logging
import multiprocessing
import os
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from types import FrameType

from uvicorn.config import STARTUP_FAILURE

from gateway.app import Start
from gateway.config.model import Config
from gateway.errors import SetupError
from gateway.reload import Looks, Reloads, heard, hung_up, read_again
from gateway.serving import HURRIED_SECONDS, serving

log = logging.getLogger("audiogate")
LOOK_SECONDS = 0.5
SILENT_LOOKS = 120  # after which a worker that does not beat any more is replaced
LATE_SECONDS = 3.0  # for a worker that should have ended by itself: it hangs
HURRY = signal.SIGUSR1  # what nobody sends to a whole group of processes
_spawned = multiprocessing.get_context("spawn")


@dataclass(slots=True)
class Worker:
    """A process that serves. `beats`: where it tells that it goes on; `silent`: looks without a beat since the last."""

    process: SpawnProcess
    beats: Connection
    silent: int = 0


class Workers:
    """The parent. Workers read their file again when it has changed, or at SIGHUP; one that dies is replaced."""

    def __init__(self, start: Start, listener: socket.socket) -> None:
        self._start, self._listener = start, listener
        self._reloads = Reloads(now=lambda: self._start.config, declare=start.declare, follow=self._pass_on)
        self._looks = Looks(start.config, clock=time.monotonic)
        self._wanted: Config | None = None
        self._workers: list[Worker] = []
        self._told = 0
        self._woken, self._wake = socket.socketpair()

    def run(self) -> None:
        """Serve until SIGINT or SIGTERM; see `serving.py`. Raises SetupError if workers cannot start."""
        self._listen()
        try:
            for _ in range(self._start.config.server.workers):
                self._workers.append(self._begin())
            while not self._told:
                quiet = self._sleep(LOOK_SECONDS, [one.process for one in self._workers])
                self._reload()
                self._replace(quiet=quiet)
        finally:
            self._end()

    def _listen(self) -> None:
        def told(number: int, frame: FrameType | None) -> None:
            del number, frame
            self._told += 1

        for end in (self._woken, self._wake):
            end.setblocking(False)
        signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, told)

    def _sleep(self, seconds: float, processes: Sequence[SpawnProcess]) -> bool:
        """Until a signal comes or one of these dies, or has died already; at most so long. True: it was as long."""
        reasons = wait([self._woken, *(process.sentinel for process in processes)], seconds)
        with suppress(BlockingIOError):
            self._woken.recv(4096)
        return not reasons

    def _begin(self) -> Worker:
        ours, theirs = _spawned.Pipe(duplex=False)
        start = replace(self._start, declare=None, terminal=False)
        process = _spawned.Process(target=_work, args=(start, self._listener, theirs))
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # in there, until it is up to it
        process.start()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        theirs.close()  # so that it shows when the worker dies, and to the worker when we do
        os.set_blocking(ours.fileno(), False)
        return Worker(process, ours)

    def _reload(self) -> None:
        asked = heard()
        if asked and hung_up(terminal=self._start.terminal):
            self._told += 1
        if asked or self._looks.changed():
            self._looks.note()
            self._wanted = read_again(self._start.config)
        if self._wanted is not None and asyncio.run(self._reloads.apply(self._wanted)):
            self._wanted = None

    def _pass_on(self, config: Config) -> None:
        """Workers that are started from now on have it, those that run read the file as well."""
        self._start = replace(self._start, config=config)
        for process in _running(self._workers):
            os.kill(process.pid or 0, signal.SIGHUP)

    def _replace(self, *, quiet: bool) -> None:
        """Workers that have died, or hang.

        Silence counts where it was `quiet` in between: one that dies shows before its end is known, and looks follow
        upon each other without a pause until then.
        """
        for at, one in enumerate(self._workers):
            if self._told:
                return
            if one.process.exitcode is None and not _hangs(one, quiet=quiet):
                continue
            one.process.kill()
            one.process.join()
            one.beats.close()
            if one.process.exitcode == STARTUP_FAILURE:
                raise SetupError("The workers cannot start; the log tells why.")
            log.warning("worker %s has ended and is replaced", one.process.pid)
            self._workers[at] = self._begin()

    def _end(self) -> None:
        """Pass on what we were told, as often as we were; who does not end in time is killed."""
        passed, until = 0, time.monotonic() + self._start.config.server.timeouts.drain + LATE_SECONDS
        self._told = max(1, self._told)
        self._listener.close()  # theirs stay open for a while
        while running := _running(self._workers):
            if time.monotonic() >= until:
                for process in running:
                    process.kill()
            if passed == 1 and self._told > 1:
                until = min(until, time.monotonic() + HURRIED_SECONDS + LATE_SECONDS)
            for number in (signal.SIGTERM, HURRY)[passed : self._told]:
                for process in running:
                    os.kill(process.pid or 0, number)
                passed += 1
            self._sleep(max(0.05, until - time.monotonic()), running)
        signal.set_wakeup_fd(-1)


def several(start: Start, listener: socket.socket) -> None:
    """Serve in as many processes as the configuration says. Raises SetupError."""
    folder = Path(tempfile.mkdtemp(prefix="audiogate-metrics-"))
    # The metrics library reads this where it is imported first: in the workers, which inherit it.
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)  # noqa: TID251
    try:
        Workers(replace(start, metrics=folder), listener).run()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _work(start: Start, listener: socket.socket, beat: Connection) -> None:
    """What a worker does. HURRY is for its parent alone."""
    server = serving(start, beat)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(HURRY, lambda *_: server.stop_at_once())
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    server.run(sockets=[listener])


def _running(workers: Sequence[Worker]) -> list[SpawnProcess]:
    return [one.process for one in workers if one.process.exitcode is None]


def _hangs(one: Worker, *, quiet: bool) -> bool:
    """Whether it has beaten before, and not for a minute."""
    try:
        beaten = bool(os.read(one.beats.fileno(), 4096))
    except BlockingIOError:
        beaten = False
    if beaten:
        one.silent = 1
    elif one.silent and quiet:
        one.silent += 1
    return one.silent > SILENT_LOOKS
