"""What a process has seen of the upstreams, while the configuration names others."""

import logging

import pytest

from gateway.health import Health
from gateway.metrics import Metrics
from gateway.upstreams.base import Outcome, Verdict

FAILED = Outcome(Verdict.FAILED)


def health(*upstreams: str) -> Health:
    return Health(upstreams, clock=lambda: 100.0, metrics=Metrics(models=(), teams=()))


def resting(*upstreams: str) -> Health:
    """All of them rest after failures."""
    one = health(*upstreams)
    for name in upstreams:
        while name not in one.unhealthy():
            one.note(name, FAILED)
    return one


def test_what_was_seen_of_upstreams_that_stay_is_kept() -> None:
    one = resting("a", "b")
    one.wallet("b", dry=True)
    one.follow(["b", "a", "c"])
    assert one.unhealthy() == {"a", "b"}


def test_what_goes_and_comes_back_is_new() -> None:
    one = resting("a", "b")
    one.wallet("a", dry=True)
    one.follow(["b"])
    assert one.unhealthy() == {"b"}
    one.follow(["a", "b"])
    assert one.unhealthy() == {"b"}


def test_another_server_under_a_known_name_starts_anew() -> None:
    one = resting("a", "b")
    one.wallet("a", dry=True)
    one.follow(["a", "b"], anew={"a"})
    assert one.unhealthy() == {"b"}


def test_news_of_an_upstream_that_is_gone_is_no_news(caplog: pytest.LogCaptureFixture) -> None:
    one = health("a")
    told: list[str] = []
    one.exhausted = told.append
    one.follow(["b"])
    with caplog.at_level(logging.DEBUG):
        one.note("a", FAILED)
        one.note("a", Outcome(Verdict.EXHAUSTED))
        one.wallet("a", dry=True)
    assert (one.unhealthy(), told, caplog.records) == (frozenset(), [], [])
    one.follow(["a"])
    assert one.unhealthy() == frozenset()


def test_the_numbers_show_at_once_that_an_upstream_rests_and_that_it_serves_again() -> None:
    metrics = Metrics(models=(), teams=())
    one = Health(["a"], clock=lambda: 100.0, metrics=metrics)

    def up() -> float | None:
        return metrics.registry.get_sample_value("audiogate_upstream_up", {"upstream": "a"})

    assert up() == 1
    while "a" not in one.unhealthy():
        one.note("a", FAILED)
    assert up() == 0
    one.note("a", Outcome(Verdict.SERVED))
    assert up() == 1
    one.note("a", Outcome(Verdict.SERVED))
    assert up() == 1
