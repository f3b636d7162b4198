import pytest

from gateway.policy.cooling import LONGEST, NAMED, RESTS, Cooling
from gateway.upstreams.base import Outcome, Verdict

NOW = 1000.0


def after(*outcomes: Outcome) -> Cooling:
    cooling = Cooling()
    for outcome in outcomes:
        cooling.note(outcome, NOW)
    return cooling


@pytest.mark.parametrize("verdict", sorted(NAMED))
@pytest.mark.parametrize(("said", "wait"), [(7.0, 7.0), (0.0, 0.0), (1e300, LONGEST)])
def test_who_names_a_time_is_not_asked_before(verdict: Verdict, said: float, wait: float) -> None:
    cooling = after(Outcome(verdict, 429, retry_after=said))
    assert cooling.wait(NOW) == wait
    assert cooling.wait(NOW + wait) == 0.0
    assert cooling.rests_until == 0.0


def test_of_two_times_the_later_one_counts() -> None:
    busy = [Outcome(Verdict.BUSY, 429, retry_after=wait) for wait in (9.0, 3.0)]
    assert after(*busy).wait(NOW) == 9.0


def test_a_success_does_not_end_a_wait_that_was_named() -> None:
    assert after(Outcome(Verdict.BUSY, 429, retry_after=9.0), Outcome(Verdict.SERVED)).wait(NOW) == 9.0


@pytest.mark.parametrize(("verdict", "rest"), sorted(RESTS.items()))
def test_some_answers_put_it_behind_the_others_for_a_while(verdict: Verdict, rest: float) -> None:
    cooling = after(Outcome(verdict))
    assert (cooling.rests_until, cooling.wait(NOW)) == (NOW + rest, 0.0)
    cooling.note(Outcome(Verdict.SERVED), NOW)
    assert cooling.rests_until == 0.0


def test_a_dry_account_may_name_the_time_of_its_rest() -> None:
    assert after(Outcome(Verdict.EXHAUSTED, 429, retry_after=20.0)).rests_until == NOW + 20
    assert after(Outcome(Verdict.EXHAUSTED, 429, retry_after=1e9)).rests_until == NOW + LONGEST


@pytest.mark.parametrize("verdict", sorted(set(Verdict) - NAMED - set(RESTS) - {Verdict.SERVED}))
def test_nothing_else_says_anything_about_our_account(verdict: Verdict) -> None:
    assert after(Outcome(verdict, retry_after=5.0)) == Cooling()
    assert after(Outcome(Verdict.FAILED)) == Cooling()
