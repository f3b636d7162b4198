"""Runs rows: one contestant after the other, in an order that is drawn anew for each round."""

import random
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from benchmarks.measure import busy, family, settle, used
from benchmarks.programs import load
from benchmarks.setting import Served
from benchmarks.stage import Stage
from benchmarks.workloads import ROWS, Row, Sent, takes_part

Sample = dict[str, Any]
WARM = 0.2  # of the time that is measured
BATCH_SECONDS = 60.0
FEW_KEYS, PASS_SECONDS = 10, 30.0


@dataclass(frozen=True)
class Plan:
    """How often, how long (seconds) and with whom; `wanted` are those that were asked for by name."""

    rounds: int
    seconds: float
    dice: random.Random
    against: tuple[str, ...]
    wanted: frozenset[str]

    def taking_part(self, usual: tuple[str, ...]) -> list[str]:
        """Who of those that usually are in a row is in it now, and who else was asked for by name."""
        return [who for who in self.against if takes_part(who, usual, self.wanted)]


def block(stage: Stage, names: Iterable[str], plan: Plan, tell: Callable[[Sample], None]) -> None:
    """Run some rows in turn, so that what they say can be compared; each figure is told."""
    cells = [(row, who) for row in (ROWS[name] for name in names) for who in plan.taking_part(row.against)]
    for turn in range(plan.rounds):
        plan.dice.shuffle(cells)
        for row, who in cells:
            served = stage.get(who, tls=row.tls, keys=row.keys)
            if served is not None:
                tell({"row": row.name, "who": who, "round": turn, **sample(stage, row, served, plan.seconds)})


def sample(stage: Stage, row: Row, served: Served, seconds: float) -> Sample:
    """Warm up, then measure for so long."""
    _warm(stage, row, served, seconds * WARM)
    settle(served.pid, served.stores)
    taken, ours = stage.taken()["body_bytes"], family(served.pid, served.stores)
    before, stores, core = used(ours), used(served.stores), busy(stage.aside)
    began = time.monotonic()
    told = _run(stage, row, served, seconds)
    span, after_core = time.monotonic() - began, busy(stage.aside)
    settle(served.pid, served.stores)
    after, after_stores = used({*ours, *family(served.pid, served.stores)}), used(served.stores)
    done = told["batches"] if len(row.sent) > 1 else told["requests"]
    found = {
        "requests": told["requests"],
        "per_second": told["batches"] / span if len(row.sent) > 1 else _rate(row, told),
        "errors": told["errors"] + told["abandoned"],
        "first_error": told["first_error"],
        "intact": _intact(row, told, stage.taken()["body_bytes"] - taken),
        "aside_busy": (after_core[0] - core[0]) / max(1, after_core[1] - core[1]),
    }
    if done:
        found |= {
            "cpu_ms": (after.cpu - before.cpu) * 1000 / done,
            "store_ms": (after_stores.cpu - stores.cpu) * 1000 / done,
            "faults": (after.faults - before.faults) / done,
        }
        for what in ("first", "whole") if len(row.sent) == 1 else ():
            found |= {f"{what}_{part}": told[f"{what}_ms"][part] for part in ("p50", "p99")}
    return found


def _warm(stage: Stage, row: Row, served: Served, seconds: float) -> None:
    """A while of the same; with many keys until each has been shown, since none of them is new in a long run."""
    if row.keys > FEW_KEYS:
        each = ("--requests", row.keys)
        load(stage.aside, served.port, *served.options, *row.sent[0].words(), *each, seconds=PASS_SECONDS)
    else:
        _run(stage, row, served, seconds)


def _rate(row: Row, told: Sample) -> float:
    return float(told["per_second"]) * (row.sent[0].up / 1e6 if row.unit == "MB/s" else 1)


def _intact(row: Row, told: Sample, taken: int) -> bool:
    """Whether every byte arrived: at the upstream those of the files, at the callers those of the answers."""
    if told["errors"]:
        return True  # then they cannot be told apart
    up = sum(sent.up * count for sent, count in zip(row.sent, told["each"], strict=True))
    down = [(sent.down * count, got) for sent, count, got in zip(row.sent, told["each"], told["got"], strict=True)]
    return taken >= up and all(got == wanted for wanted, got in down if wanted)


def _run(stage: Stage, row: Row, served: Served, seconds: float) -> Sample:
    if len(row.sent) > 1:
        return _batches(stage, row, served, seconds)
    told = load(stage.aside, served.port, *served.options, *row.sent[0].words(), seconds=seconds)
    return {**told, "batches": 1, "each": [told["requests"]], "got": [told["bytes_in"]]}


def _batches(stage: Stage, row: Row, served: Served, seconds: float) -> Sample:
    """All kinds of requests at once, again and again until the time is over."""
    until, batches = time.monotonic() + seconds, 0
    each, got, errors, abandoned, first_error = [0] * len(row.sent), [0] * len(row.sent), 0, 0, ""

    def one(sent: Sent) -> Sample:
        return load(stage.aside, served.port, *served.options, *sent.words(), seconds=BATCH_SECONDS)

    with ThreadPoolExecutor(len(row.sent)) as pool:
        while not batches or time.monotonic() < until:
            told = list(pool.map(one, row.sent))
            batches += 1
            each = [count + one["requests"] for count, one in zip(each, told, strict=True)]
            got = [count + one["bytes_in"] for count, one in zip(got, told, strict=True)]
            errors += sum(one["errors"] for one in told)
            abandoned += sum(one["abandoned"] for one in told)
            first_error = first_error or next((one["first_error"] for one in told if one["first_error"]), "")
    return {
        "requests": sum(each),
        "batches": batches,
        "errors": errors,
        "abandoned": abandoned,
        "first_error": first_error,
        "each": each,
        "got": got,
    }
