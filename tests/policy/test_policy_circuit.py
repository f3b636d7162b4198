import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.policy.circuit import CALM, ENOUGH, IN_A_ROW, JITTER, LONGEST_REST, PROBE, REST, WINDOW, Circuit

START = 1000.0


def failing(times: int = IN_A_ROW, *, now: float = START, draw: float = 0.0) -> Circuit:
    circuit = Circuit()
    for _ in range(times):
        circuit.failed(now, draw=draw)
    return circuit


def test_so_many_failures_in_a_row_eject_and_one_fewer_does_not() -> None:
    assert not failing(IN_A_ROW - 1).shut(START)
    out = failing()
    assert out.out
    assert out.shut(START)
    assert out.shut(START + REST - 0.001)
    assert not out.shut(START + REST)


def test_a_success_in_between_begins_the_count_anew() -> None:
    circuit = failing(IN_A_ROW - 1)
    circuit.served(START)
    for _ in range(IN_A_ROW - 1):
        circuit.failed(START, draw=0.0)
    assert not circuit.out


@pytest.mark.parametrize(("seconds", "out"), [(WINDOW - 1, True), (WINDOW * 2, False)])
def test_half_of_enough_failing_within_the_window_ejects(seconds: float, out: bool) -> None:
    circuit = Circuit()
    for number in range(ENOUGH):
        now = START + seconds * number / (ENOUGH - 1)
        circuit.failed(now, draw=0.0) if number % 2 else circuit.served(now)
    assert circuit.out is out


def test_fewer_than_half_do_not() -> None:
    circuit = Circuit()
    for number in range(ENOUGH * 3):
        circuit.served(START) if number % 3 < 2 else circuit.failed(START, draw=0.0)
    assert not circuit.out


def test_after_its_rest_one_request_tries_it_and_the_others_stay_away() -> None:
    circuit = failing()
    circuit.begin(START + 1)
    assert not circuit.shut(START + REST), "who begins during the rest is not the one that tries"
    circuit.begin(START + REST)
    assert circuit.shut(START + REST)
    circuit.served(START + REST + 1)
    assert not circuit.shut(START + REST + 1)
    assert not circuit.out


def test_a_trial_that_is_never_heard_of_again_is_followed_by_another() -> None:
    circuit = failing()
    circuit.begin(START + REST)
    assert circuit.shut(START + REST + PROBE - 0.001)
    assert not circuit.shut(START + REST + PROBE)


def test_a_trial_that_fails_makes_the_rest_longer_up_to_a_point() -> None:
    circuit, now = failing(), START
    for times in range(2, 30):
        now = circuit.rests_until
        circuit.begin(now)
        circuit.failed(now, draw=0.0)
        assert circuit.rests_until == now + min(REST * times, LONGEST_REST)
        assert circuit.shut(now)


def test_what_was_under_way_when_it_was_ejected_changes_nothing() -> None:
    circuit = failing(IN_A_ROW + 20)
    assert (circuit.ejections, circuit.rests_until) == (1, START + REST)


def test_whoever_is_served_meanwhile_brings_it_back() -> None:
    circuit = failing()
    circuit.served(START + 1)
    assert not circuit.shut(START + 1)


def test_a_time_of_service_makes_up_for_ejections() -> None:
    circuit = failing()
    circuit.served(START + REST)
    for _ in range(IN_A_ROW):
        circuit.failed(START + REST, draw=0.0)
    assert circuit.ejections == 2
    back = circuit.rests_until
    circuit.served(back)
    for _ in range(IN_A_ROW):
        circuit.failed(back + 2 * CALM, draw=0.0)
    assert circuit.ejections == 1


def test_rests_are_drawn_apart() -> None:
    assert failing(draw=0.0).rests_until == START + REST
    assert failing(draw=0.5).rests_until == pytest.approx(START + REST * (1 + JITTER / 2))


@given(st.integers(0, 2**32), st.floats(0.0, 1.0))
def test_whatever_happens_it_never_rests_longer_than_it_may(seed: int, share: float) -> None:
    dice, circuit, now = random.Random(seed), Circuit(), START
    for _ in range(300):
        now += dice.random() * 20
        circuit.begin(now)
        circuit.failed(now, draw=dice.random()) if dice.random() < share else circuit.served(now)
        assert circuit.rests_until - now <= LONGEST_REST * (1 + JITTER)
        assert not circuit.shut(now + LONGEST_REST * (1 + JITTER) + PROBE)


def test_U_13_one_that_fails_half_the_time_is_out_within_ten_seconds_and_its_rests_grow() -> None:
    dice, circuit, now = random.Random(13), Circuit(), START
    outs: list[tuple[float, float]] = []
    for _ in range(60_000):  # twenty requests a second for it, less while it is out
        now += 0.05
        if circuit.shut(now):
            continue
        circuit.begin(now)
        was_out = circuit.out
        circuit.failed(now, draw=dice.random()) if dice.random() < 0.5 else circuit.served(now)
        if circuit.shut(now) and circuit.out and (not outs or outs[-1][1] != circuit.rests_until) and not was_out:
            outs.append((now, circuit.rests_until))
    assert outs[0][0] - START < 10
    assert outs[0][1] - outs[0][0] >= REST
    assert max(until - since for since, until in outs) > 3 * REST
