"""What Prometheus reads: the numbers of one process, or of several that share a folder."""

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from prometheus_client import CollectorRegistry, Metric, disable_created_metrics, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

Labels = Mapping[str, str]
disable_created_metrics()  # type: ignore[no-untyped-call]  # one more series each, which several workers do not have


def text(registry: CollectorRegistry, folder: Path | None, *, is_present: Callable[[Labels], bool]) -> bytes:
    """All numbers, with a `folder` those of all processes that write there, in Prometheus' text format.

    A gauge is left out where `is_present` says so of its labels: it tells of something that is gone.
    """
    if folder is not None:
        _bury(folder)
        registry = CollectorRegistry()
        MultiProcessCollector(registry, path=str(folder))  # type: ignore[no-untyped-call]
    return generate_latest(_Present(registry, is_present))


def ended(folder: Path, pid: int) -> None:
    """This process ends: its gauges no longer count."""
    mark_process_dead(pid, path=str(folder))  # type: ignore[no-untyped-call]


class _Present:
    """The numbers without the gauges of what is gone: those of several processes cannot be removed at their source."""

    def __init__(self, numbers: CollectorRegistry, is_present: Callable[[Labels], bool]) -> None:
        self._numbers, self._is_present = numbers, is_present

    def collect(self) -> Iterator[Metric]:
        """All families; a gauge's samples are picked."""
        for family in self._numbers.collect():
            if family.type == "gauge":
                family.samples = [sample for sample in family.samples if self._is_present(sample.labels)]
            yield family


def _bury(folder: Path) -> None:
    """The gauges of processes that were killed do not count."""
    for file in folder.glob("gauge_live*.db"):
        pid = int(file.stem.rpartition("_")[2])
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            file.unlink(missing_ok=True)
        except PermissionError:
            continue
