"""The C library keeps what pieces of bodies leave free, and Python looks for circles now and then."""

import subprocess
import sys

import pytest

from gateway.memory import keep

FAULTS = """
import resource, sys
from gateway.memory import keep
if sys.argv[1] == "kept":
    keep()
def pieces():
    return [bytes(256_000) for _ in range(20)]
pieces()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    pieces()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    """Pages that had to be asked for again while pieces came and went."""
    done = subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc alone is told")
def test_pieces_that_come_and_go_cost_no_pages() -> None:
    if not keep():
        pytest.skip("this is not glibc")
    assert faults("kept") * 10 < faults("as it comes")


SELDOM = """
import gc
from gateway.memory import look_seldom
kept = [[] for _ in range(1000)]
look_seldom()
print(gc.get_freeze_count() > 1000, gc.isenabled(), gc.get_threshold()[0] > 10_000)
circle = []
circle.append(circle)
del circle
print(gc.collect() >= 1)
"""


def test_circles_are_still_found() -> None:
    done = subprocess.run([sys.executable, "-c", SELDOM], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True"] * 4
