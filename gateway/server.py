"""Runs the application: the socket, the workers, and how it all ends."""

import asyncio
import logging
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import FrameType

import uvicorn
from uvicorn.supervisors import Multiprocess

from gateway import logs
from gateway.app import Start, declare, embedded
from gateway.config.model import Config
from gateway.errors import Refused, SetupError, refuse
from gateway.reload import Reloads, heard, hold, hung_up, read_again
from gateway.store.keys import Minted
from gateway.web.door import Door

log = logging.getLogger("audiogate")
GRACE_SECONDS = 30
AGAIN_SECONDS = 0.5
BACKLOG = 2048


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens there; port 0 takes a free one. Raises SetupError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        why = error.strerror or str(error)
        raise SetupError(
            f"Cannot listen on {host} port {port} ({why}); stop what uses it, or choose another with --port."
        ) from error
    return listener


def origin(listener: socket.socket) -> str:
    """Where it listens, as a URL without a path."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def run(
    config: Config, listener: socket.socket, *, minted: Callable[[Minted], None], started: Callable[[], None]
) -> None:
    """Serve on `listener` until SIGINT or SIGTERM; requests under way are finished first. SIGHUP: see `reload.py`.

    `minted` is told each key that is made, `started` is called when the store is up. Raises SetupError, Refused.
    """
    signal.signal(signal.SIGTERM, _leave)
    hold()
    terminal = os.isatty(0)
    is_up = threading.Event()
    logs.set_up(config.server.log)
    store = embedded(config)
    try:
        url = asyncio.run(store.start()) if store is not None else config.store.url

        def up() -> None:
            is_up.set()
            started()

        async def declare_again(other: Config) -> None:
            if not is_up.is_set():  # what the start has to declare comes first
                raise refuse("store_down")
            await declare(other, url, tell=minted)

        _declare(config, url, minted=minted, started=up)
        if config.server.workers == 1:
            _server(Start(config, url, declare=declare_again, terminal=terminal)).run(sockets=[listener])
        else:
            _several(Start(config, url, declare=declare_again, terminal=terminal), listener)
    except (KeyboardInterrupt, _Stopped):
        pass  # the server raises the signal again once it has stopped
    finally:
        hold()
        listener.close()
        if store is not None:
            asyncio.run(store.stop())


def _declare(
    config: Config, url: str, *, minted: Callable[[Minted], None], started: Callable[[], None], again: bool = False
) -> None:
    """Bring the configuration into the store; where that is away, serve without it and try again behind the scenes."""
    try:
        asyncio.run(declare(config, url, tell=minted))
    except Refused as refusal:
        if refusal.name != "store_down":
            raise
        if not again:
            log.warning("the store does not answer; the gateway serves once it does")
        later = threading.Timer(AGAIN_SECONDS, _declare, (config, url), _more(minted, started))
        later.daemon = True
        later.start()
    except SetupError as error:
        if not again:
            raise
        log.error("the gateway cannot go on: %s", error)
        os.kill(os.getpid(), signal.SIGTERM)
    else:
        started()


def _more(minted: Callable[[Minted], None], started: Callable[[], None]) -> dict[str, object]:
    return {"minted": minted, "started": started, "again": True}


class _Stopped(BaseException):
    """SIGTERM. Without a handler the process would end before it has tidied up."""


def _leave(number: int, frame: FrameType | None) -> None:
    del number, frame
    raise _Stopped


def _several(start: Start, listener: socket.socket) -> None:
    folder = Path(tempfile.mkdtemp(prefix="audiogate-metrics-"))
    # The metrics library reads this where it is imported first: in the workers, which inherit it.
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)  # noqa: TID251
    try:
        _Workers(replace(start, metrics=folder), listener).run()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class _Workers(Multiprocess):
    """Processes that serve. At SIGHUP they read their file again, where uvicorn would replace them one by one."""

    def __init__(self, start: Start, listener: socket.socket) -> None:
        worker = replace(start, declare=None, terminal=False)
        super().__init__(_server(worker, workers=start.config.server.workers).config, sockets=[listener])
        self._start = start
        self._reloads = Reloads(now=lambda: self._start.config, declare=start.declare, follow=self._pass_on)
        self._wanted: Config | None = None

    def handle_signals(self) -> None:
        """Twice a second: what has been asked of this process."""
        if heard():
            if hung_up(terminal=self._start.terminal):
                self.should_exit.set()
            self._wanted = read_again(self._start.config)
        if self._wanted is not None and asyncio.run(self._reloads.apply(self._wanted)):
            self._wanted = None
        super().handle_signals()

    def _pass_on(self, config: Config) -> None:
        """Workers that are started from now on have it, those that run read the file as well."""
        self._start = replace(self._start, config=config)
        self.config.app = replace(self._start, declare=None, terminal=False)
        for process in self.processes:
            if process.pid is not None and process.exitcode is None:
                os.kill(process.pid, signal.SIGHUP)


class _Server(uvicorn.Server):
    """A server that closes its books even when it is told twice to stop."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """The second Ctrl-C ends the requests under way, not their settlement."""
        await super().shutdown(sockets)
        if self.force_exit:
            for task in self.server_state.tasks:
                task.cancel()
            await self.lifespan.shutdown()


def _server(start: Start, workers: int = 1) -> uvicorn.Server:
    return _Server(
        uvicorn.Config(
            start,
            factory=True,  # it is called in the worker
            workers=workers,
            http=Door,
            loop="uvloop" if sys.platform != "win32" else "asyncio",
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
    )
