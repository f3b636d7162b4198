"""The configuration file is read again while the gateway serves: once it is another one, or when SIGHUP asks for it.

What is wrong with the file is logged and nothing changes. Else its keys, teams and limits are brought into the store,
as at the start and by one process alone; then everybody goes by it from the next request on. Requests that were let in
keep the price they were let in at. What only a restart can change is logged and stays as it is.

Each process swaps what it goes by in place. The alternative, new processes for old ones, would cut off requests that
take longer than a process is given to end, and forget what was seen of the upstreams. With several workers the parent
reads the file and declares it, then sends each worker the signal, which makes it read the file too. The signal is
blocked while a process starts, so that it waits until somebody can act on it and none is lost.
"""

import asyncio
import logging
import os
import signal
import time
from collections.abc import Awaitable, Callable, Collection, Iterator
from dataclasses import fields, replace
from pathlib import Path

from gateway.config.load import environment, load
from gateway.config.model import Config
from gateway.config.problem import ConfigError
from gateway.config.sight import Watch, sight
from gateway.errors import Refused, SetupError
from gateway.store.roll import Roll
from gateway.upstreams.base import Upstream

log = logging.getLogger("audiogate")
AGAIN_SECONDS, LOOK_SECONDS = 0.5, 1.0
LIVE = frozenset({"admin_token", "token_file", "metrics_token"})  # of the section `server`
Declare = Callable[[Config], Awaitable[object]]


def read_again(now: Config, *, remarks: bool = True) -> Config | None:
    """The configuration that the file holds now, but for what takes a restart; None if it is wrong, which is logged.

    `remarks`: other things that an operator wants to know are logged, too.
    """
    try:
        found = load(Path(now.file), environment())
    except ConfigError as error:
        for line in str(error).splitlines():
            log.error("%s", line)
        log.error("%s was read again and cannot be used; nothing is changed", now.file)
        return None
    if found.sight is not None and found.sight.moved:
        log.warning("%s is being written; it is read again once it is left alone", now.file)
        return None
    if remarks:
        _remark(now, found)
    kept = now.server if now.server.token_file and not found.server.admin_token else found.server
    live = {name: getattr(found.server if name == "metrics_token" else kept, name) for name in LIVE}
    return replace(found, server=replace(now.server, **live), store=now.store, telemetry=now.telemetry)


def moved(old: Collection[Upstream], new: Collection[Upstream]) -> frozenset[str]:
    """The names that stand for another server now, or for another account there."""
    before = {one.name: (one.kind, one.base_url, one.key) for one in old}
    return frozenset(one.name for one in new if before.get(one.name) != (one.kind, one.base_url, one.key))


async def refuse_taken(roll: Roll, config: Config) -> None:
    """Before anything is written: raises SetupError if operators made a key or a team of a name in the file.

    Raises Refused (503).
    """
    for team in config.teams:
        if (team_record := await roll.find_team(team)) is not None and team_record.origin == "admin":
            raise SetupError(f"teams.{team}: a team of this name was made by hand; choose another in the file.")
    for key in config.keys:
        if (key_record := await roll.find_key(key)) is not None and key_record.origin == "admin":
            raise SetupError(f"keys.{key}: a key of this name was made by hand; choose another in the file.")


class Looks:
    """Looks at the file now and then, for who reads it for all processes. `clock` gives monotonic seconds."""

    def __init__(self, config: Config, *, clock: Callable[[], float]) -> None:
        self._watch = None if config.sight is None else Watch(config.sight)
        self._clock, self._due = clock, clock() + LOOK_SECONDS

    def changed(self) -> bool:
        """Whether it is time to read the file again. Looks once in LOOK_SECONDS, however often it is called."""
        if self._watch is None or (now := self._clock()) < self._due:
            return False
        self._due = now + LOOK_SECONDS
        return self._watch.changed()

    def note(self) -> None:
        """The file is going to be read as it is now, whoever asked for it."""
        if self._watch is not None:
            self._watch.read = sight(self._watch.read.files[0])


class Reloads:
    """One process's part of it. `now` tells what counts, `follow` is told what counts from now on.

    `declare` brings a configuration into the store and raises Refused while that is away; None where another process
    does so, and looks at the file. `refused` hears of a file that cannot be used.
    """

    def __init__(
        self,
        *,
        now: Callable[[], Config],
        declare: Declare | None,
        follow: Callable[[Config], None],
        refused: Callable[[], None] = lambda: None,
    ) -> None:
        self._now, self._declare, self._follow, self._refused = now, declare, follow, refused
        self._looks = None if declare is None else Looks(now(), clock=time.monotonic)
        self._asked = asyncio.Event()
        self._waits: Config | None = None  # for the store

    def ask(self) -> None:
        """Read the file again, soon."""
        self._asked.set()

    async def next(self) -> None:
        """Wait a moment, and read the file if there is a reason. To be called again and again."""
        if not await self._due(LOOK_SECONDS):
            return
        self._asked.clear()
        config = await asyncio.to_thread(self._read)
        if config is None:
            self._refused()
        while config is not None and not await self.apply(config):
            if await self._due(AGAIN_SECONDS):
                self.ask()  # the file counts as it is now
                return

    def _read(self) -> Config | None:
        if self._looks is not None:
            self._looks.note()
        return read_again(self._now(), remarks=self._looks is not None)

    async def apply(self, config: Config) -> bool:
        """Go by this configuration, or log why not. False: the store is away, it has to be tried again."""
        try:
            if self._declare is not None:
                await self._declare(config)
            self._follow(config)
        except Refused as refusal:
            if self._waits is not config:
                log.warning("%s was read again and counts once the store answers (%s)", config.file, refusal)
            self._waits = config
            return False
        except SetupError as error:
            log.error("%s", error)
            log.error("%s was read again and cannot be used; nothing is changed", config.file)
            self._refused()
        except Exception:  # nothing that a file says may end what serves
            log.exception("%s was read again and could not be applied", config.file)
            self._refused()
        else:
            log.info("%s was read again and counts from the next request on", config.file)
        return True

    async def _due(self, seconds: float) -> bool:
        """Whether it is asked for within so many seconds, or the file has changed by then."""
        try:
            async with asyncio.timeout(seconds):
                await self._asked.wait()
        except TimeoutError:
            return self._looks is not None and await asyncio.to_thread(self._looks.changed)
        return True


def hear(reloads: Reloads, *, terminal: bool) -> None:
    """From now on SIGHUP asks for it, in this event loop; one that waits already does. `terminal`: see `hung_up`."""

    def on_signal() -> None:
        if hung_up(terminal=terminal):
            os.kill(os.getpid(), signal.SIGTERM)
        reloads.ask()

    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, on_signal)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})


def hold() -> None:
    """Let SIGHUP wait until somebody listens: in this process, and in those that it starts."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})


def heard() -> bool:
    """Whether SIGHUP waits; if so it is taken, for a process that has no event loop to listen in."""
    if signal.SIGHUP not in signal.sigpending():
        return False
    signal.sigwait({signal.SIGHUP})
    return True


def hung_up(*, terminal: bool) -> bool:
    """Whether SIGHUP came because the terminal has closed that we were started from; `terminal`: if there was one."""
    return terminal and not os.isatty(0)


def _remark(now: Config, found: Config) -> None:
    if fixed := list(_fixed(now, found)):
        log.warning("%s: changed in %s; restart the gateway to apply this", ", ".join(fixed), now.file)
    for note in found.notes:
        log.info("%s", note)


def _fixed(now: Config, found: Config) -> Iterator[str]:
    """What has changed in the file and takes a restart, by its dotted path."""
    for section in ("server", "store", "telemetry"):
        old, new = getattr(now, section), getattr(found, section)
        for one in fields(old):
            if one.name not in LIVE and getattr(old, one.name) != getattr(new, one.name):
                yield f"{section}.{one.name}"
