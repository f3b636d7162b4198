"""The times of a request's steps: as its record has them, and as people are told them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.policy.steps import STOPPED, Attempt, Span, Step, read, written

MARKS = [("receive", 100.0002), ("plan", 100.0123), ("admit", 100.0124), ("attempt", 100.0137), ("relay", 100.6539)]
moments = st.lists(st.floats(0, 600, allow_nan=False), min_size=1, max_size=9).map(sorted)


def test_the_steps_of_a_request_look_like_this() -> None:
    assert written(100.0, MARKS, 100.6849) == (
        "authenticate=0.2 receive=12.1 plan=0.1 admit=1.3 attempt=640.2 relay=31.0"
    )


def test_a_request_that_came_to_no_other_step_took_its_time_in_the_first_one() -> None:
    assert written(100.0, (), 100.0004) == "authenticate=0.4"


def test_what_was_settled_tells_how_long_that_took_behind_the_answer() -> None:
    text = written(100.0, MARKS[:1], 100.0102, booked=100.0352)
    assert text == "authenticate=0.2 receive=10.0 settle=25.0"
    assert read(text)[-1] == Step("settle", 10.2, 25.0)


def test_one_attempt_alone_is_the_step_itself() -> None:
    text = written(100.0, MARKS, 100.6849, attempts=[Span("a", "served", 100.0138, 100.6539)])
    assert "(" not in text


def test_several_attempts_are_told_apart() -> None:
    attempts = [
        Span("a", "busy", 100.0138, 100.0341),
        Span("b.c-d_E", "no_model", 100.0361, 100.0369),
        Span("a", "served", 100.0371, 100.6539),
    ]
    text = written(100.0, MARKS, 100.6849, attempts=attempts)
    assert "attempt=640.2(a:busy:0.1+20.3,b.c-d_E:no_model:22.4+0.8,a:served:23.4+616.8) relay=31.0" in text
    _, _, _, _, attempt, relay = read(text)
    assert attempt == Step(
        "attempt",
        13.7,
        640.2,
        (
            Attempt("a", "busy", 13.8, 20.3),
            Attempt("b.c-d_E", "no_model", 36.1, 0.8),
            Attempt("a", "served", 37.1, 616.8),
        ),
    )
    assert relay == Step("relay", 653.9, 31.0)


def test_attempts_of_a_request_that_ended_there_are_told_as_well() -> None:
    attempts = [Span("a", "timeout", 100.0, 101.0), Span("b", STOPPED, 101.0, 101.5)]
    assert written(100.0, [("attempt", 100.0)], 101.5, attempts=attempts) == (
        "authenticate=0.0 attempt=1500.0(a:timeout:0.0+1000.0,b:stopped:1000.0+500.0)"
    )


@pytest.mark.parametrize("text", ["", " ", "nothing", "a=1", "a=1.25", "=1.0", "a=-1.0", f"a={'9' * 13}.0"])
def test_what_does_not_read_is_passed_over(text: str) -> None:
    assert read(text) == []
    assert read(f"{text} relay=1.5") == [Step("relay", 0.0, 1.5)]


@pytest.mark.parametrize("inside", ["", "a", "a:busy", "a:busy:1+2", "a b", "(", "语:busy:0.0+1.0"])
def test_so_are_attempts(inside: str) -> None:
    assert [step.attempts for step in read(f"attempt=5.0({inside})")] in ([()], [])


@given(moments)
def test_they_begin_where_the_one_before_ended_and_add_up(times: list[float]) -> None:
    names = ["receive", "plan", "admit", "attempt", "relay", "plan", "admit", "replay"]
    marks = list(zip(names, times[:-1], strict=False))
    steps = read(written(0.0, marks, times[-1]))
    assert [step.name for step in steps] == ["authenticate", *(name for name, _ in marks)]
    began = 0.0
    for step, moment in zip(steps, [0.0, *times], strict=False):
        assert step.began_ms == pytest.approx(began, abs=0.01)
        assert step.began_ms == pytest.approx(moment * 1000, abs=0.06 * len(steps))
        began += step.took_ms
    assert began == pytest.approx(times[-1] * 1000, abs=0.06 * len(steps))
