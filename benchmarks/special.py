"""Rows that are not a load alone: each begins with fresh processes."""

from collections.abc import Callable
from contextlib import ExitStack

from benchmarks.measure import memory
from benchmarks.programs import load
from benchmarks.rounds import Plan, Sample
from benchmarks.setting import Served
from benchmarks.stage import Stage
from benchmarks.workloads import GATEWAYS, KIB, MB, MIX, W1, W2, W4, Sent, speech, upload

CROWD = upload(64, 25 * MB, requests=64)
SLOW = upload(32, 25 * MB, "--model", "whisper-1-mock-slow", requests=32)
TOUCH = (speech(1, requests=2), upload(1, 64 * KIB, requests=2))  # so that code that is loaded late does not count
MIXED = (W1, W2, W4)
DRAIN = 120.0


def memory_row(stage: Stage, plan: Plan, tell: Callable[[Sample], None]) -> None:
    """Growth under a crowd of uploads, fresh and after mixed load: over what it had before any load."""
    for who in plan.taking_part(GATEWAYS):
        with ExitStack() as stack:
            if (served := _touched(stage, stack, who)) is None:
                continue
            with memory(served.pid, served.stores) as fresh:
                told = _load(stage, served, CROWD)
            tell({"row": "memory", "who": who, "round": 0, "growth_mb": fresh.growth, **_went(told)})
            for sent in (*MIXED, *MIX):
                _load(stage, served, sent, seconds=plan.seconds / 2)
            with memory(served.pid, served.stores) as used:
                told = _load(stage, served, CROWD)
            growth = (used.most - fresh.before) / 1e6
            tell({"row": "memory-used", "who": who, "round": 0, "growth_mb": growth, **_went(told)})


def slow_row(stage: Stage, plan: Plan, tell: Callable[[Sample], None]) -> None:
    """Growth while the upstream takes what comes more slowly than it comes."""
    for who in plan.taking_part(GATEWAYS):
        with ExitStack() as stack:
            if (served := _touched(stage, stack, who)) is None:
                continue
            with memory(served.pid, served.stores) as slow:
                told = _load(stage, served, SLOW)
            tell({"row": "slow", "who": who, "round": 0, "growth_mb": slow.growth, **_went(told)})


def start_row(stage: Stage, plan: Plan, tell: Callable[[Sample], None]) -> None:
    """Seconds from the command until it is ready, its folder empty."""
    for turn in range(plan.rounds):
        for who in plan.taking_part(GATEWAYS):
            with ExitStack() as stack:
                if (served := stage.fresh(stack, who)) is not None:
                    tell({"row": "start", "who": who, "round": turn, "seconds": served.seconds})


SPECIALS = {"memory": memory_row, "slow": slow_row, "start": start_row}


def _touched(stage: Stage, stack: ExitStack, who: str) -> Served | None:
    served = stage.fresh(stack, who)
    if served is not None:
        for sent in TOUCH:
            _load(stage, served, sent)
    return served


def _load(stage: Stage, served: Served, sent: Sent, *, seconds: float = DRAIN) -> Sample:
    return load(stage.aside, served.port, *served.options, *sent.words(), seconds=seconds, drain=DRAIN)


def _went(told: Sample) -> Sample:
    return {
        "requests": told["requests"],
        "errors": told["errors"] + told["abandoned"],
        "first_error": told["first_error"],
        "took": told["seconds"],
    }
