"""Grace: how much a team may spend while the store is away, and when that begins anew."""

import pytest

from gateway.grace import REMEMBERED, STEADY, Grace
from gateway.policy.grace import KNOWN_FOR
from gateway.policy.keys import Caller
from gateway.policy.limits import Amounts

MOST = 1_000_000
POOR, RICH = Caller("k1", "poor", "exhausted", "d"), Caller("k2", "rich", "other", "d")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def grace(clock: Clock) -> Grace:
    found = Grace("grace", usd=MOST, clock=clock)
    found.noted(POOR)
    found.noted(RICH)
    return found


def test_a_team_gets_no_more_than_is_stated(grace: Grace) -> None:
    assert grace.admits(POOR, Amounts(usd=900_000))
    assert not grace.admits(POOR, Amounts(usd=100_001))
    assert grace.admits(POOR, Amounts(usd=100_000))
    assert not grace.admits(POOR, Amounts(usd=1))
    assert grace.admits(RICH, Amounts(usd=MOST)), "each team has its own"


def test_one_team_s_spending_is_not_forgotten_as_another_is_let_in(grace: Grace, clock: Clock) -> None:
    """The store answers now and then: always the other team."""
    let_go = 0
    for _ in range(int(KNOWN_FOR)):
        clock.now += 1
        if grace.admits(POOR, Amounts(usd=300_000)):
            let_go += 300_000
        grace.noted(RICH)
    assert let_go == 900_000


def test_it_begins_anew_once_the_store_has_been_there_for_a_while(grace: Grace, clock: Clock) -> None:
    assert grace.admits(POOR, Amounts(usd=MOST - 10))
    clock.now = STEADY / 2
    grace.noted(POOR)
    assert not grace.admits(POOR, Amounts(usd=11))
    assert grace.admits(POOR, Amounts(usd=10))
    clock.now += STEADY
    grace.noted(POOR)
    assert not grace.admits(POOR, Amounts(usd=1)), "so long since the last one that went without it"
    clock.now += 0.001
    assert not grace.admits(POOR, Amounts(usd=1)), "nor by itself: the store has to let one in"
    grace.noted(POOR)
    assert grace.admits(POOR, Amounts(usd=MOST))
    assert not grace.admits(POOR, Amounts(usd=1))


def test_only_the_last_keys_are_remembered(clock: Clock) -> None:
    grace = Grace("open", usd=MOST, clock=clock)
    assert not grace.lasts
    for number in range(REMEMBERED + 1):
        grace.noted(Caller(f"k{number}", "name", "team", "d"))
    assert grace.lasts
    assert not grace.admits(Caller("k0", "name", "team", "d"), Amounts())
    assert grace.admits(Caller("k1", "name", "team", "d"), Amounts(usd=2 * MOST))
