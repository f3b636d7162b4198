"""What processes use, read from /proc: CPU time, memory, page faults. Linux alone."""

import os
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.programs import descendants

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
MB = 1e6
QUIET_SECONDS, LONGEST_QUIET = 0.1, 2.0
SAMPLE_SECONDS = 0.02


def family(pid: int, without: Iterable[int] = ()) -> list[int]:
    """A process and those below it, without some; none for process 0."""
    left_out = set(without)
    return [one for one in (pid, *descendants(pid)) if one not in left_out] if pid else []


@dataclass(frozen=True)
class Used:
    """CPU seconds (user and system) and minor page faults, of processes and of their children that have ended."""

    cpu: float = 0.0
    faults: int = 0


def used(pids: Iterable[int]) -> Used:
    """What these processes have used so far; those that are gone count nothing."""
    cpu, faults = 0, 0
    for pid in pids:
        with suppress(OSError):
            row = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            cpu += sum(map(int, row[11:15]))
            faults += int(row[7])
    return Used(cpu / TICKS, faults)


def busy(core: int) -> tuple[int, int]:
    """How many ticks a core was busy, and how many passed."""
    for line in Path("/proc/stat").read_text().splitlines():
        name, *numbers = line.split()
        if name == f"cpu{core}":
            ticks = [int(number) for number in numbers[:8]]
            return sum(ticks) - ticks[3] - ticks[4], sum(ticks)
    return 0, 0


def settle(pid: int, without: Iterable[int] = ()) -> None:
    """Wait until a program has finished what it does behind its answers: a tenth of a second of no work."""
    without = tuple(without)
    give_up = time.monotonic() + LONGEST_QUIET
    before = used(family(pid, without)).cpu
    while time.monotonic() < give_up:
        time.sleep(QUIET_SECONDS)
        now = used(family(pid, without)).cpu
        if now - before <= 1 / TICKS:
            return
        before = now


def resident(pids: Iterable[int]) -> int:
    """Bytes resident now."""
    total = 0
    for pid in pids:
        with suppress(OSError):
            total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE
    return total


def _peaks(pids: Iterable[int]) -> int:
    """The sum of each one's peak, in bytes: never less than what they had together."""
    total = 0
    for pid in pids:
        with suppress(OSError):
            for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    total += int(line.split()[1]) * 1024
    return total


@dataclass
class Memory:
    """Bytes resident at the start, and at most until the end of the block."""

    before: int
    most: int = 0
    over: threading.Event = field(default_factory=threading.Event)

    @property
    def growth(self) -> float:
        """In MB (a million bytes)."""
        return max(0, self.most - self.before) / MB


@contextmanager
def memory(pid: int, without: Iterable[int] = ()) -> Iterator[Memory]:
    """Watch how much memory a program takes. Looks often, too, since a child that ends takes its peak with it."""
    without = tuple(without)
    for one in family(pid, without):
        with suppress(OSError):
            Path(f"/proc/{one}/clear_refs").write_text("5")  # the peak begins anew
    found = Memory(resident(family(pid, without)))

    def look() -> None:
        while not found.over.wait(SAMPLE_SECONDS):
            found.most = max(found.most, resident(family(pid, without)))

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        yield found
    finally:
        found.most = max(found.most, _peaks(family(pid, without)))
        found.over.set()
        watcher.join()
