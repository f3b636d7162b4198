"""What the targets share: an input in pieces, a large one made of a small one, and how long either may take.

All of it depends on the input alone, so that a file of the corpus does the same in every run.
"""

import random
import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from time import thread_time
from typing import TypeVar
from zlib import crc32

Found = TypeVar("Found")

LARGE = 100_000
SECONDS = 0.1  # of processor time for an input of LARGE bytes or less, in proportion for more
TRACED = 6  # as much slower is Python whose lines are counted
TRIES = 3  # a busy machine makes an input slow once, not each time


class Slow(AssertionError):
    """An input takes longer than its size allows."""


def pieces(data: bytes) -> Iterator[list[bytes]]:
    """The input cut in different ways: at a few places, and byte by byte unless it is long."""
    dice = random.Random(crc32(data))
    ends = [0, *sorted(dice.randint(0, len(data)) for _ in range(dice.randint(1, 8))), len(data)]
    yield [data[start:end] for start, end in pairwise(ends)]
    if len(data) <= (200 if traced() else 1_500):
        yield [data[at : at + 1] for at in range(len(data))]


def stretched(data: bytes, *, size: int = LARGE) -> bytes | None:
    """For one input in ten (100 where lines are counted): a piece of it is repeated until the whole has this size."""
    dice = random.Random(crc32(data) ^ 1)
    if not data or dice.randrange(100) >= (1 if traced() else 10):
        return None
    start = dice.randrange(len(data))
    piece = data[start : start + dice.choice((1, 2, 3, 8, 40, len(data)))]
    return data[:start] + piece * max(1, (size - len(data)) // len(piece)) + data[start:]


def in_time(work: Callable[[], Found], size: int, *, factor: float = 1) -> Found:
    """What `work` makes of an input of this size. Raises Slow if it takes `factor` times SECONDS in each of TRIES."""
    allowed = SECONDS * factor * max(1.0, size / LARGE) * (TRACED if traced() else 1)
    for _ in range(TRIES):
        began = thread_time()
        found = work()
        if (took := thread_time() - began) <= allowed:
            return found
    raise Slow(f"{took:.3f} s of processor time for {size} bytes, {allowed:.3f} s allowed")


def traced() -> bool:
    """Whether something counts the lines that run: coverage, or a fuzzer."""
    return sys.gettrace() is not None or "atheris" in sys.modules
