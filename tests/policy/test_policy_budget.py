import random

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.policy.budget import PER_SECOND, SECONDS, SHARE, Budget

LEAST = int(SECONDS * PER_SECOND)


def test_a_few_may_always_be_tried_again_and_a_share_of_what_was_asked() -> None:
    budget = Budget()
    assert [budget.retry(5.0) for _ in range(LEAST + 1)] == [True] * LEAST + [False]
    for _ in range(50):
        budget.request(5.5)
    assert [budget.retry(6.0) for _ in range(11)] == [True] * int(50 * SHARE) + [False]


def test_what_is_longer_ago_counts_no_more() -> None:
    budget = Budget()
    for _ in range(LEAST):
        assert budget.retry(3.0)
    assert not budget.retry(3.0 + SECONDS - 1)
    assert budget.retry(3.0 + SECONDS)
    assert budget.retry(1e6)


def test_a_clock_that_is_read_late_takes_nothing_back() -> None:
    budget = Budget()
    for _ in range(LEAST):
        assert budget.retry(8.0)
    assert not budget.retry(7.0)
    assert not budget.retry(8.0)


def test_processes_share_what_there_is_in_any_case() -> None:
    budget = Budget(share_of=4)
    assert sum(budget.retry(1.0) for _ in range(LEAST)) == LEAST // 4


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**32), st.integers(1, 200))
def test_U_12_when_all_fails_what_goes_out_stays_within_a_fifth_and_ten_a_second(seed: int, rate: int) -> None:
    dice, budget, now, asked, sent = random.Random(seed), Budget(), 100.0, 0, 0
    end = now + 60
    while now < end:
        now += dice.expovariate(rate)
        asked += 1
        sent += 1
        budget.request(now)
        if budget.retry(now):
            sent += 1
    assert sent <= asked * (1 + SHARE) + PER_SECOND * (60 + SECONDS)
