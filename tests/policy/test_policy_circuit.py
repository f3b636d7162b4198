import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.policy.circuit import AT_ONCE, COUNTED, LONGEST_REST, REST, TRIP_AFTER, Circuit, after
from gateway.upstreams.base import Outcome, Verdict

NEUTRAL = [Verdict.CALLER, Verdict.NO_MODEL, Verdict.UNFIT]


def run(*verdicts: Verdict, now: float = 100.0) -> Circuit:
    circuit = Circuit()
    for verdict in verdicts:
        circuit = after(circuit, Outcome(verdict), now=now)
    return circuit


def test_a_new_upstream_does_not_rest() -> None:
    assert not Circuit().resting(0.0)


@pytest.mark.parametrize("verdict", sorted(COUNTED))
def test_so_many_failures_in_a_row_make_it_rest_and_one_fewer_does_not(verdict: Verdict) -> None:
    assert not run(*[verdict] * (TRIP_AFTER - 1)).resting(100.0)
    tripped = run(*[verdict] * TRIP_AFTER)
    assert tripped.resting(100.0)
    assert tripped.resting(100.0 + REST - 0.001)
    assert not tripped.resting(100.0 + REST)


def test_failures_of_different_kinds_add_up() -> None:
    assert run(Verdict.FAILED, Verdict.TIMEOUT, Verdict.UNREACHABLE).resting(100.0)


def test_one_success_forgets_all() -> None:
    assert run(*[Verdict.FAILED] * 9, Verdict.SERVED) == Circuit()
    assert not run(Verdict.FAILED, Verdict.FAILED, Verdict.SERVED, Verdict.FAILED).resting(100.0)


def test_the_first_failure_after_a_rest_makes_it_rest_again() -> None:
    tripped = run(*[Verdict.FAILED] * TRIP_AFTER)
    later = 100.0 + REST + 1
    assert after(tripped, Outcome(Verdict.FAILED), now=later).resting(later + REST - 1)


@pytest.mark.parametrize("verdict", NEUTRAL)
def test_what_the_caller_got_wrong_changes_nothing(verdict: Verdict) -> None:
    for start in (Circuit(), Circuit(2, 0.0), Circuit(3, 500.0)):
        assert after(start, Outcome(verdict), now=100.0) is start


@pytest.mark.parametrize(("verdict", "rest"), sorted(AT_ONCE.items()))
def test_some_answers_make_it_rest_at_once(verdict: Verdict, rest: float) -> None:
    circuit = run(verdict)
    assert circuit.rests_until == 100.0 + rest
    assert circuit.failures == 0


@pytest.mark.parametrize(
    ("said", "rest"), [(0.0, 0.0), (17.5, 17.5), (LONGEST_REST, LONGEST_REST), (1e6, LONGEST_REST)]
)
def test_its_own_retry_after_is_honoured_up_to_a_cap(said: float, rest: float) -> None:
    circuit = after(Circuit(1, 0.0), Outcome(Verdict.BUSY, 429, retry_after=said), now=100.0)
    assert circuit == Circuit(1, 100.0 + rest)


def test_a_rest_is_never_cut_short_by_another_failure() -> None:
    assert run(Verdict.EXHAUSTED, Verdict.BUSY).rests_until == 160.0


@given(st.lists(st.tuples(st.sampled_from(list(Verdict)), st.floats(0, 10)), max_size=40))
def test_no_history_rests_longer_than_the_cap(history: list[tuple[Verdict, float]]) -> None:
    circuit, now = Circuit(), 0.0
    for verdict, gap in history:
        now += gap
        circuit = after(circuit, Outcome(verdict, retry_after=gap * 1000), now=now)
        assert circuit.rests_until <= now + LONGEST_REST
        assert circuit.failures >= 0


def test_every_verdict_is_placed() -> None:
    assert {*AT_ONCE, *COUNTED, *NEUTRAL, Verdict.SERVED} == set(Verdict)
