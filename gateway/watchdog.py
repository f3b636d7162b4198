"""A thread that tells what the event loop is at while it does not come round: nobody is served meanwhile."""

import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable

log = logging.getLogger("audiogate")
LOOK_SECONDS = 0.25
BLOCKED_LOOKS = 4  # in a row; looks are counted, since a machine that slept has not been blocked
QUIET_SECONDS = 10.0  # from one line in the log to the next
FRAMES = 12


class Watchdog:
    """Watches the event loop of the thread that starts it. `beats` tells how often that had a beat."""

    def __init__(self, beats: Callable[[], int]) -> None:
        self._beats = beats
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Watch from now on."""
        self._thread = threading.Thread(
            target=self._watch, args=(threading.get_ident(),), name="audiogate-watchdog", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Watch no more."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    def _watch(self, watched: int) -> None:
        seen, looks, quiet_until = -1, 0, 0.0
        while not self._over.wait(LOOK_SECONDS):
            if (beats := self._beats()) != seen:
                seen, looks = beats, 0
                continue
            looks += 1
            now = time.monotonic()
            if looks == BLOCKED_LOOKS and now >= quiet_until:
                quiet_until = now + QUIET_SECONDS
                log.warning("the event loop has stood still for over a second, and nobody is served: %s", _at(watched))


def _at(thread: int) -> str:
    """Where a thread is, the innermost function first."""
    frame = sys._current_frames().get(thread)
    frames = reversed(traceback.extract_stack(frame)) if frame is not None else ()
    found = [f"{one.name} ({one.filename}:{one.lineno})" for one in frames]
    return " < ".join(found[:FRAMES])
