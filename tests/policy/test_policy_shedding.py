"""What is refused while there is too much to do."""

import random

import pytest

from gateway.policy.shedding import FLOOR, HIGH, LOW, MOST_REFUSED, SHARPEST, next_share, refusal, wait


@pytest.mark.parametrize(
    ("share", "lag", "found"),
    [
        (0.0, 0.0, 0.0),
        (0.0, HIGH, 0.0),  # late, and not too late
        (0.0, HIGH * 1.25, 0.2),
        (0.0, 60.0, 1 - SHARPEST),  # never all at once
        (0.5, (HIGH + LOW) / 2, 0.5),  # between the two, nothing changes
        (0.5, 0.0, 0.45),
        (0.02, 0.0, 0.0),
        (0.97, 60.0, MOST_REFUSED),
    ],
)
def test_how_much_is_refused_follows_how_late_the_loop_is(share: float, lag: float, found: float) -> None:
    assert next_share(share, lag=lag) == pytest.approx(found, abs=1e-9)


@pytest.mark.parametrize(
    ("serving", "share", "draw", "found"),
    [
        (100, 0.0, 0.0, None),
        (200, 0.0, 0.9, "requests"),
        (FLOOR - 1, 1.0, 0.0, None),  # so many are always taken on
        (FLOOR, 0.3, 0.29, "lag"),
        (FLOOR, 0.3, 0.31, None),
    ],
)
def test_who_is_refused(serving: int, share: float, draw: float, found: str | None) -> None:
    assert refusal(serving=serving, most=200, share=share, draw=draw) == found


def test_few_requests_at_once_are_a_bound_all_the_same() -> None:
    assert refusal(serving=2, most=2, share=0.0, draw=0.5) == "requests"


def test_who_is_refused_is_told_to_come_again_in_one_to_three_seconds() -> None:
    assert [wait(draw) for draw in (0.0, 0.5, 1.0)] == [1.0, 2.0, 3.0]


class Machine:
    """A process that can do `capacity` requests a second; what is beyond waits in its event loop.

    To refuse one costs it `cheap` of a request.
    """

    def __init__(self, capacity: float, *, cheap: float, seed: int) -> None:
        self.capacity, self.cheap, self.dice = capacity, cheap, random.Random(seed)
        self.behind = 0.0  # seconds of work that wait
        self.done = 0

    def step(self, offered: float, share: float, seconds: float) -> float:
        """Let so many requests a second come; returns how late the loop is."""
        for _ in range(round(offered * seconds * self.dice.uniform(0.9, 1.1))):
            taken = self.dice.random() >= share
            self.done += taken
            self.behind += (1 if taken else self.cheap) / self.capacity
        self.behind = max(0.0, self.behind - seconds)
        return self.behind * self.dice.uniform(0.5, 1.0)


@pytest.mark.parametrize("times", [1.5, 3.0, 6.0])
@pytest.mark.parametrize("seed", range(5))
def test_G_13_most_of_what_can_be_done_is_done_however_much_comes(times: float, seed: int) -> None:
    machine, share, lags = Machine(1000, cheap=0.05, seed=seed), 0.0, []
    for _ in range(150):
        lag = machine.step(1000 * times, share, 0.2)
        share = next_share(share, lag=lag)
        lags.append(lag)
    possible = (1 - 0.05 * times) / (1 - 0.05)  # to refuse the others takes its time as well
    assert machine.done >= 0.9 * possible * 1000 * 30
    assert sorted(lags[50:])[-len(lags) // 20] < 4 * HIGH


def test_G_13_all_is_taken_on_again_soon_after_the_worst() -> None:
    share, steps = MOST_REFUSED, 0
    while share:
        share, steps = next_share(share, lag=0.0), steps + 1
    assert steps <= 40  # of a fifth of a second
