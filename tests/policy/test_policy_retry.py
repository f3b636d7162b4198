import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import Row
from gateway.policy.cooling import LONGEST as LONGEST_WAIT
from gateway.policy.retry import (
    ELSEWHERE,
    LONGEST,
    MAX_ATTEMPTS,
    MAX_FAILED,
    Next,
    answer,
    costly,
    follow,
    pause,
)
from gateway.upstreams.base import Outcome, Verdict

ERRORS = [verdict for verdict in Verdict if verdict is not Verdict.SERVED]
outcomes = st.builds(
    Outcome,
    st.sampled_from(ERRORS),
    status=st.none() | st.integers(100, 599),
    message=st.text(max_size=40),
    type=st.none() | st.text(max_size=9),
    code=st.none() | st.text(max_size=9),
    param=st.none() | st.text(max_size=9),
    retry_after=st.none() | st.floats(0, 999_999),
)


def of(*verdicts: Verdict) -> list[Outcome]:
    return [Outcome(verdict) for verdict in verdicts]


def goes_on(*verdicts: Verdict) -> bool:
    return follow(of(*verdicts), others=True) is Next.ELSEWHERE


@pytest.mark.parametrize("verdict", ERRORS)
def test_only_what_another_upstream_may_do_better_is_tried_there(verdict: Verdict) -> None:
    assert goes_on(verdict) is (verdict in ELSEWHERE)


def test_neither_the_callers_fault_nor_a_request_that_may_have_been_billed_is_tried_again() -> None:
    assert ELSEWHERE.isdisjoint({Verdict.CALLER, Verdict.TIMEOUT, Verdict.SERVED})


def test_what_was_not_answered_in_time_is_tried_elsewhere_if_the_operator_wants_it() -> None:
    assert follow(of(Verdict.TIMEOUT), others=True, timeouts=True) is Next.ELSEWHERE
    assert follow(of(Verdict.TIMEOUT), others=False, timeouts=True) is Next.END


@pytest.mark.parametrize("verdict", ERRORS)
def test_where_there_is_no_other_only_what_may_be_over_soon_is_tried_there_again(verdict: Verdict) -> None:
    assert follow(of(verdict), others=False) is (Next.SAME if verdict is Verdict.FAILED else Next.END)


def test_one_that_cannot_be_reached_is_tried_again_unless_it_was_given_something() -> None:
    assert follow([Outcome(Verdict.UNREACHABLE, given=False)], others=False) is Next.SAME
    assert follow([Outcome(Verdict.UNREACHABLE)], others=False) is Next.END


@pytest.mark.parametrize(
    ("status", "said", "follows"),
    [
        (503, None, Next.SAME),
        (503, LONGEST, Next.SAME),
        (503, LONGEST + 1, Next.END),
        (500, 0.0, Next.SAME),
        (302, None, Next.END),
    ],
)
def test_it_is_tried_there_again_as_soon_as_it_says_and_never_late(
    status: int, said: float | None, follows: Next
) -> None:
    assert follow([Outcome(Verdict.FAILED, status, retry_after=said)], others=False) is follows


def test_the_pause_is_drawn_and_grows_up_to_a_point() -> None:
    assert pause(of(Verdict.FAILED), draw=0.0) == 0.0
    assert pause(of(Verdict.FAILED), draw=1.0) == 0.4
    assert pause(of(*[Verdict.FAILED] * 2), draw=0.5) == 0.4
    assert pause(of(*[Verdict.FAILED] * 30), draw=1.0) == LONGEST
    assert pause([Outcome(Verdict.FAILED, 503, retry_after=2.0)], draw=0.0) == 2.0


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (Outcome(Verdict.FAILED), True),
        (Outcome(Verdict.TIMEOUT), True),
        (Outcome(Verdict.UNREACHABLE), False),
        (Outcome(Verdict.UNREACHABLE, billed=True), True),
        (Outcome(Verdict.BUSY), False),
    ],
)
def test_only_what_gave_an_upstream_work_is_bounded(outcome: Outcome, expected: bool) -> None:
    assert costly(outcome) is expected


def test_two_upstreams_that_failed_are_enough() -> None:
    assert goes_on(Verdict.FAILED)
    assert not goes_on(*[Verdict.FAILED] * MAX_FAILED)
    assert not goes_on(Verdict.FAILED, Verdict.FAILED, Verdict.BUSY)


def test_there_is_an_end_to_all_attempts() -> None:
    assert goes_on(*[Verdict.BUSY] * (MAX_ATTEMPTS - 1))
    assert not goes_on(*[Verdict.BUSY] * MAX_ATTEMPTS)


def test_who_cannot_serve_the_request_was_not_tried() -> None:
    assert goes_on(*[Verdict.UNFIT] * MAX_ATTEMPTS)


@pytest.mark.parametrize(
    ("verdict", "name", "status"),
    [
        (Verdict.CREDENTIALS, "upstream_refused", 502),
        (Verdict.EXHAUSTED, "upstreams_out_of_quota", 429),
        (Verdict.NO_MODEL, "upstream_refused", 502),
        (Verdict.BUSY, "upstream_busy", 429),
        (Verdict.FAILED, "upstream_failed", 502),
        (Verdict.UNREACHABLE, "upstream_unreachable", 503),
        (Verdict.UNTRUSTED, "upstream_untrusted", 502),
        (Verdict.TIMEOUT, "upstream_timeout", 504),
        (Verdict.UNFIT, "no_upstream", 403),
        (Verdict.CALLER, "upstream_said", 400),
    ],
)
def test_the_last_word_is_told(verdict: Verdict, name: str, status: int) -> None:
    found = answer([Outcome(Verdict.FAILED), Outcome(verdict)])
    assert (found.name, found.row.status) == (name, status)


def test_every_verdict_has_its_case_above() -> None:
    assert len(ERRORS) == 10


@given(st.lists(outcomes, min_size=1, max_size=4))
def test_an_upstreams_401_and_403_are_never_told_as_the_callers(found: list[Outcome]) -> None:
    refusal = answer(found)
    row: Row = refusal.row
    assert 400 <= row.status <= 599
    if found[-1].verdict is not Verdict.CALLER:
        assert row.status != 401
        assert row.status != 403 or found[-1].verdict is Verdict.UNFIT
    if refusal.retry_after is not None:
        assert 1 <= refusal.retry_after <= LONGEST_WAIT
    error = refusal.envelope()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert isinstance(error["message"], str)
    assert isinstance(error["type"], str)
    assert error["code"] is None or isinstance(error["code"], str)


@pytest.mark.parametrize("status", [None, 200, 302, 399, 500, 502, 599])
def test_a_fault_of_the_caller_is_never_told_with_a_servers_status(status: int | None) -> None:
    assert answer([Outcome(Verdict.CALLER, status, "no {braces}")]).row.status == 400


@pytest.mark.parametrize("status", [400, 404, 409, 413, 415, 422, 499])
def test_what_an_upstream_says_of_the_request_is_passed_on(status: int) -> None:
    refusal = answer(
        [
            Outcome(Verdict.BUSY, 429),
            Outcome(Verdict.CALLER, status, "file is {odd}", type="audio_error", code="bad_file", param="file"),
        ]
    )
    assert refusal.row.status == status
    assert refusal.envelope() == {
        "error": {"message": "file is {odd}", "type": "audio_error", "param": "file", "code": "bad_file"}
    }


def test_what_an_upstream_says_without_type_and_code_gets_openais_type() -> None:
    error = answer([Outcome(Verdict.CALLER, 400, "no")]).envelope()["error"]
    assert error == {"message": "no", "type": "invalid_request_error", "param": None, "code": None}


@pytest.mark.parametrize(
    ("waits", "told"),
    [
        ([None], 1.0),
        ([0.0], 1.0),
        ([7.0], 7.0),
        ([600.0], LONGEST_WAIT),
        ([30.0, 5.0, None], 5.0),
        ([None, 40.0], 40.0),
    ],
)
def test_busy_upstreams_are_worth_waiting_for_as_long_as_the_quickest_says(
    waits: list[float | None], told: float
) -> None:
    refusal = answer([Outcome(Verdict.BUSY, 429, retry_after=wait) for wait in waits])
    assert refusal.retry_after == told
    assert refusal.message.endswith(f"in {told:.0f}s.")
    assert refusal.row.retry == "yes"


def test_a_failure_that_names_a_time_is_passed_on_with_it() -> None:
    refusal = answer([Outcome(Verdict.FAILED, 503, retry_after=20.0)])
    assert (refusal.name, refusal.retry_after) == ("upstream_failed", 20.0)
    assert answer([Outcome(Verdict.FAILED, 503)]).retry_after is None
