"""Runs the application: the socket, the store that needs no set-up, and how it all ends."""

import asyncio
import logging
import os
import resource
import signal
import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import FrameType

from gateway import logs
from gateway.app import Start
from gateway.config.model import Config
from gateway.errors import Refused, SetupError, refuse
from gateway.groundwork import declare, embedded
from gateway.reload import hold
from gateway.serving import serving
from gateway.store.keys import Minted
from gateway.workers import several

log = logging.getLogger("audiogate")
AGAIN_SECONDS = 0.5
LAST_WORDS_SECONDS = 0.2
BACKLOG = 2048
HANDED_OVER = 3  # the first descriptor that whoever started us hands over
MOST_FILES = 1_048_576


def inherited(environ: Mapping[str, str]) -> socket.socket | None:
    """The socket that whoever started this process holds open for us, by the protocol of systemd's socket units.

    None: there is none. Raises SetupError where it is not one TCP socket that listens.
    """
    if environ.get("LISTEN_PID") != str(os.getpid()) or environ.get("LISTEN_FDS", "0") == "0":
        return None
    if environ["LISTEN_FDS"] != "1":
        raise SetupError("Several sockets were handed over (LISTEN_FDS); audiogate serves one: hand over that.")
    try:
        listener = socket.socket(fileno=HANDED_OVER)
    except OSError as error:
        raise SetupError(f"Descriptor {HANDED_OVER}, named by LISTEN_FDS, is no socket ({error.strerror}).") from error
    listener.set_inheritable(False)
    is_open = listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    if not is_open or listener.family not in (socket.AF_INET, socket.AF_INET6):
        listener.detach()  # it is not ours
        raise SetupError("The socket handed over (LISTEN_FDS) does not listen for TCP: hand over one that does.")
    return listener


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
    _raise_limit()
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
        start = Start(config, url, declare=declare_again, terminal=terminal)
        if config.server.workers == 1:
            serving(start).run(sockets=[listener])
        else:
            several(start, listener)
        _be_deaf()
    except (KeyboardInterrupt, _Stopped):
        _be_deaf()
    finally:
        hold()
        listener.close()
        if store is not None:
            asyncio.run(store.stop())
        logs.out.finish(seconds=LAST_WORDS_SECONDS)


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


def _be_deaf() -> None:
    """It is over: whoever loses patience now must not stop us from leaving the store in order."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _raise_limit() -> None:
    """As many files and connections as this process is allowed to have; what is given at first is far fewer."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
