from math import e

import pytest

from gateway.policy.pace import PENALTY, SHORTEST, TAU, Pace


def test_nothing_is_known_before_something_was_seen() -> None:
    assert Pace().now(5.0) is None


def test_it_is_work_per_second_of_audio() -> None:
    pace = Pace()
    pace.note(0.0, took=6.0, audio=60.0)
    assert pace.now(0.0) == pytest.approx(0.1)


def test_short_audio_is_not_slow() -> None:
    pace = Pace()
    pace.note(0.0, took=0.5, audio=0.01)
    assert pace.now(0.0) == pytest.approx(0.5 / SHORTEST)


def test_a_peak_counts_at_once_and_is_forgotten_slowly() -> None:
    pace = Pace()
    pace.note(0.0, took=1.0, audio=10.0)
    pace.note(0.0, took=90.0, audio=10.0)
    assert pace.now(0.0) == pytest.approx(9.0)
    pace.note(TAU, took=1.0, audio=10.0)
    assert pace.now(TAU) == pytest.approx(9.0 / e + 0.1 * (1 - 1 / e))


def test_what_is_long_ago_counts_for_little() -> None:
    pace = Pace()
    pace.penalise(0.0)
    assert pace.now(0.0) == PENALTY
    assert pace.now(TAU) == pytest.approx(PENALTY / e)
    assert (pace.now(20 * TAU) or 0.0) < 1e-6


def test_one_that_refuses_quickly_does_not_look_quick() -> None:
    quick, busy = Pace(), Pace()
    for _ in range(10):
        quick.note(0.0, took=0.2, audio=1.0)
        busy.penalise(0.0)
    assert (quick.now(0.0) or 0.0) < (busy.now(0.0) or 0.0)
