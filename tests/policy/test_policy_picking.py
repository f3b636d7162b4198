import random
from collections import Counter

from gateway.policy.picking import GOOD, Choice, Outlook, order


def choice(name: str, *, weight: int = 1, **known: object) -> Choice[str]:
    return Choice(name, weight, Outlook(**known))  # type: ignore[arg-type]


def shares(*choices: Choice[str], seed: int = 7, rounds: int = 6_000) -> dict[str, float]:
    dice = random.Random(seed)
    first = Counter(order(choices, draw=dice.random)[0] for _ in range(rounds))
    return {one.what: round(first[one.what] / rounds, 1) for one in choices}


def test_one_alone_needs_no_draw() -> None:
    assert order([Choice("a", 5, GOOD)], draw=lambda: 1 / 0) == ["a"]


def test_everybody_is_there_once() -> None:
    dice = random.Random(1)
    choices = [choice(name, pace=dice.random(), weight=dice.choice([1, 1, 2])) for name in "abcdefg"]
    for _ in range(100):
        assert sorted(order(choices, draw=dice.random)) == list("abcdefg")


def test_equals_of_whom_nothing_is_known_share_alike() -> None:
    assert shares(choice("a"), choice("b")) == {"a": 0.5, "b": 0.5}


def test_of_two_the_one_that_costs_less_time() -> None:
    assert shares(choice("a", pace=0.1), choice("b", pace=0.2)) == {"a": 1.0, "b": 0.0}
    assert shares(choice("a", pace=0.1, under_way=4), choice("b", pace=0.2)) == {"a": 0.0, "b": 1.0}


def test_of_many_the_slowest_never_and_no_herd_at_the_fastest() -> None:
    found = shares(*(choice(name, pace=pace) for name, pace in zip("abc", (0.1, 0.2, 0.3), strict=True)))
    assert found["c"] == 0.0
    assert 0.6 <= found["a"] <= 0.7
    assert 0.3 <= found["b"] <= 0.4


def test_one_of_whom_nothing_is_known_counts_as_the_best_of_them() -> None:
    assert shares(choice("a", pace=0.1), choice("b", under_way=1)) == {"a": 1.0, "b": 0.0}
    assert shares(choice("a", pace=0.1), choice("b")) == {"a": 0.5, "b": 0.5}


def test_weights_are_shares_as_long_as_they_cost_the_same() -> None:
    assert shares(choice("a", weight=9), choice("b", weight=1)) == {"a": 0.9, "b": 0.1}


def test_who_costs_more_time_gets_less_than_the_share() -> None:
    slow = shares(choice("a", weight=3, pace=0.6), choice("b", weight=1, pace=0.2))
    assert slow == {"a": 0.5, "b": 0.5}


def test_a_pace_of_nothing_is_survived() -> None:
    found = order([choice("a", pace=0.0), choice("b", weight=2, pace=5e-324)], draw=lambda: 0.0)
    assert sorted(found) == ["a", "b"]


def test_under_load_two_equals_share_what_is_under_way() -> None:
    dice, under_way = random.Random(3), {"a": 0, "b": 0, "c": 0}
    for _ in range(300):
        first, *_ = order([choice(name, under_way=count) for name, count in under_way.items()], draw=dice.random)
        under_way[first] += 1
    assert max(under_way.values()) - min(under_way.values()) < 15
