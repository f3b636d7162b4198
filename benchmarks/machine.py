"""Where the figures come from: the machine and the versions."""

import os
import platform
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.contestants import CONTESTANTS


def facts(who: Iterable[str]) -> dict[str, Any]:
    """The day, the processor, the kernel, and the version of each contestant."""
    return {
        "day": time.strftime("%Y-%m-%d", time.gmtime()),
        "cpu": _line("/proc/cpuinfo", "model name"),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(int(_line("/proc/meminfo", "MemTotal").split()[0]) / 1e6),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "versions": {name: CONTESTANTS[name].version() for name in who},
    }


def _line(path: str, name: str) -> str:
    for line in Path(path).read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return "0"
