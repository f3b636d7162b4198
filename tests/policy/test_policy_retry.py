import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import Row
from gateway.policy.retry import ELSEWHERE, MAX_ATTEMPTS, MAX_FAILED, MAX_WAIT, again, answer
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


@pytest.mark.parametrize("verdict", ERRORS)
def test_only_what_another_upstream_may_do_better_is_tried_again(verdict: Verdict) -> None:
    assert again(of(verdict), replayable=True) is (verdict in ELSEWHERE)
    assert not again(of(verdict), replayable=False)


def test_neither_the_callers_fault_nor_a_request_that_may_have_been_billed_is_tried_again() -> None:
    assert ELSEWHERE.isdisjoint({Verdict.CALLER, Verdict.TIMEOUT, Verdict.SERVED})


def test_two_upstreams_that_failed_are_enough() -> None:
    assert again(of(Verdict.FAILED), replayable=True)
    assert not again(of(*[Verdict.FAILED] * MAX_FAILED), replayable=True)
    assert not again(of(Verdict.FAILED, Verdict.BUSY, Verdict.FAILED), replayable=True)
    assert not again(of(Verdict.FAILED, Verdict.FAILED, Verdict.BUSY), replayable=True)


def test_there_is_an_end_to_all_attempts() -> None:
    assert again(of(*[Verdict.BUSY] * (MAX_ATTEMPTS - 1)), replayable=True)
    assert not again(of(*[Verdict.BUSY] * MAX_ATTEMPTS), replayable=True)


@pytest.mark.parametrize(
    ("verdict", "name", "status"),
    [
        (Verdict.CREDENTIALS, "upstream_refused", 502),
        (Verdict.EXHAUSTED, "upstreams_out_of_quota", 429),
        (Verdict.NO_MODEL, "upstream_refused", 502),
        (Verdict.BUSY, "upstream_busy", 429),
        (Verdict.FAILED, "upstream_failed", 502),
        (Verdict.UNREACHABLE, "upstream_unreachable", 503),
        (Verdict.TIMEOUT, "upstream_timeout", 504),
        (Verdict.UNFIT, "no_upstream", 403),
        (Verdict.CALLER, "upstream_said", 400),
    ],
)
def test_the_last_word_is_told(verdict: Verdict, name: str, status: int) -> None:
    found = answer([Outcome(Verdict.FAILED), Outcome(verdict)])
    assert (found.name, found.row.status) == (name, status)


def test_every_verdict_has_its_case_above() -> None:
    assert len(ERRORS) == 9


@given(st.lists(outcomes, min_size=1, max_size=4))
def test_an_upstreams_401_and_403_are_never_told_as_the_callers(found: list[Outcome]) -> None:
    refusal = answer(found)
    row: Row = refusal.row
    assert 400 <= row.status <= 599
    if found[-1].verdict is not Verdict.CALLER:
        assert row.status != 401
        assert row.status != 403 or found[-1].verdict is Verdict.UNFIT
    if refusal.retry_after is not None:
        assert 1 <= refusal.retry_after <= MAX_WAIT
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
        ([600.0], MAX_WAIT),
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
