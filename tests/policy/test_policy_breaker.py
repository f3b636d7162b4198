"""The breaker in front of the store."""

from gateway.policy.breaker import FIRST_REST, LONGEST_REST, TRIP_AFTER, Breaker, answered, asked


def failed(breaker: Breaker, times: int, *, now: float = 0.0) -> Breaker:
    for _ in range(times):
        breaker = answered(asked(breaker, now), ok=False, now=now)
    return breaker


def test_a_few_failures_are_no_reason_to_stop_asking() -> None:
    breaker = failed(Breaker(), TRIP_AFTER - 1)
    assert not breaker.tripped
    assert breaker.may_ask(0.0)


def test_after_three_in_a_row_nobody_asks_for_half_a_second() -> None:
    breaker = failed(Breaker(), TRIP_AFTER)
    assert breaker.tripped
    assert not breaker.may_ask(FIRST_REST - 0.01)
    assert breaker.may_ask(FIRST_REST)


def test_then_a_single_call_tries_while_the_others_go_on_resting() -> None:
    breaker = asked(failed(Breaker(), TRIP_AFTER), FIRST_REST)
    assert not breaker.may_ask(FIRST_REST)


def test_rests_grow_to_a_bound_while_tries_fail() -> None:
    breaker, rests = failed(Breaker(), TRIP_AFTER), []
    for _ in range(6):
        now = breaker.rests_until
        breaker = failed(breaker, 1, now=now)
        rests.append(breaker.rests_until - now)
    assert rests == [1.0, 2.0, 4.0, LONGEST_REST, LONGEST_REST, LONGEST_REST]


def test_an_answer_closes_it_at_once() -> None:
    assert answered(failed(Breaker(), 9), ok=True, now=1.0) == Breaker()
    assert asked(Breaker(), 5.0) == Breaker()
