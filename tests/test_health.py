"""What a process has seen of the upstreams, while the configuration names others."""

import logging
from decimal import Decimal

import pytest

from gateway.health import REMEMBERED, Health, UpstreamState
from gateway.metrics import Metrics
from gateway.policy.circuit import IN_A_ROW, PROBE, REST
from gateway.policy.picking import Outlook
from gateway.policy.pricing import Price
from gateway.policy.routing import Candidate
from gateway.upstreams.balance import Balance
from gateway.upstreams.base import Outcome, Verdict
from tests.running import upstream

FAILED = Outcome(Verdict.FAILED)
DRY = Balance(Decimal(0), source="token", dry=True)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def at(name: str, model: str = "m", *, most: int = 9) -> Candidate:
    """A candidate for a model at an upstream."""
    return Candidate(upstream(name, "http://127.0.0.1:9/v1", max_requests=most), model, Price())


def health(*upstreams: str) -> Health:
    return Health(upstreams, clock=lambda: 100.0, metrics=Metrics(models=(), teams=()))


def resting(*upstreams: str) -> Health:
    """All of them rest after failures."""
    one = health(*upstreams)
    for name in upstreams:
        while name not in one.unhealthy():
            one.note(name, "m", FAILED)
    return one


def test_what_was_seen_of_upstreams_that_stay_is_kept() -> None:
    one = resting("a", "b")
    one.wallet("b", Balance(dry=True))
    one.follow(["b", "a", "c"])
    assert one.unhealthy() == {"a", "b"}


def test_what_goes_and_comes_back_is_new() -> None:
    one = resting("a", "b")
    one.wallet("a", Balance(dry=True))
    one.follow(["b"])
    assert one.unhealthy() == {"b"}
    one.follow(["a", "b"])
    assert one.unhealthy() == {"b"}


def test_another_server_under_a_known_name_starts_anew() -> None:
    one = resting("a", "b")
    one.wallet("a", Balance(dry=True))
    one.follow(["a", "b"], anew={"a"})
    assert one.unhealthy() == {"b"}


def test_news_of_an_upstream_that_is_gone_is_no_news(caplog: pytest.LogCaptureFixture) -> None:
    one = health("a")
    told: list[str] = []
    one.exhausted = told.append
    one.follow(["b"])
    with caplog.at_level(logging.DEBUG):
        one.note("a", "m", FAILED)
        one.note("a", "m", Outcome(Verdict.EXHAUSTED))
        one.wallet("a", Balance(dry=True))
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
        one.note("a", "m", FAILED)
    assert up() == 0
    one.note("a", "m", Outcome(Verdict.SERVED))
    assert up() == 1
    one.note("a", "m", Outcome(Verdict.SERVED))
    assert up() == 1


def test_one_model_fails_and_the_others_go_on() -> None:
    one = health("a", "b")
    for _ in range(IN_A_ROW):
        one.note("a", "m", FAILED)
    assert one.outlook(at("a")).shut
    assert not one.outlook(at("a", "other")).shut
    assert not one.outlook(at("b")).shut


def test_after_a_rest_one_request_tries_it() -> None:
    clock = Clock()
    one = Health(["a"], clock=clock, metrics=Metrics(models=(), teams=()), draw=lambda: 0.0)
    assert one.begin(at("a"))  # nothing is known of it yet
    for _ in range(IN_A_ROW):
        one.note("a", "m", FAILED)
    clock.now += REST
    assert not one.outlook(at("a")).shut
    assert one.begin(at("a"))
    assert one.outlook(at("a")).shut
    assert not one.begin(at("a")), "who was planned before comes too late"
    clock.now += PROBE
    assert not one.outlook(at("a")).shut


def test_U_8_one_that_names_a_time_is_left_alone_until_then() -> None:
    clock = Clock()
    one = Health(["a"], clock=clock, metrics=Metrics(models=(), teams=()))
    one.note("a", "m", Outcome(Verdict.BUSY, 429, retry_after=7.0))
    assert one.outlook(at("a", "other")).wait == 7.0, "it is about our key, not the model"
    assert one.unhealthy() == {"a"}
    clock.now += 7.0
    assert one.outlook(at("a")).wait == 0.0


def test_so_many_may_be_under_way_and_no_more() -> None:
    under_way = {"a": 8}
    one = Health(["a"], clock=Clock(), metrics=Metrics(models=(), teams=()), under_way=under_way.__getitem__)
    assert one.outlook(at("a")) == Outlook(under_way=8)
    under_way["a"] = 9
    assert one.outlook(at("a")).full
    assert not one.begin(at("a"))


def test_the_pace_is_that_of_the_answers_and_a_failure_is_slow() -> None:
    one = health("a", "b")
    one.note("a", "m", Outcome(Verdict.SERVED), took=6.0, audio=60.0)
    assert one.outlook(at("a")).pace == pytest.approx(0.1)
    one.note("a", "m", Outcome(Verdict.BUSY))
    assert (one.outlook(at("a")).pace or 0.0) > 1.0
    assert one.outlook(at("gone")) == Outlook()


def test_callers_cannot_make_it_remember_any_number_of_models() -> None:
    one = health("a")
    for number in range(2 * REMEMBERED + 10):
        one.note("a", f"m{number}", FAILED)
    assert len(one._seen) <= REMEMBERED


def test_U_11_a_key_that_is_not_accepted_and_each_change_is_told(caplog: pytest.LogCaptureFixture) -> None:
    one = health("a")
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            one.note("a", "m", Outcome(Verdict.CREDENTIALS, 401, "no such key"))
        for _ in range(IN_A_ROW + 3):
            one.note("a", "", FAILED)
        one.note("a", "", Outcome(Verdict.SERVED))
    assert [record.getMessage() for record in caplog.records] == [
        "upstream a does not accept our key: no such key",
        "audio at upstream a fails (failed): others go first",
        "audio at upstream a serves again",
    ]


def gauge(metrics: Metrics, name: str, upstream: str = "a") -> float | None:
    return metrics.registry.get_sample_value(f"audiogate_upstream_{name}", {"upstream": upstream})


def test_what_is_drained_is_begun_no_more_until_that_ends(caplog: pytest.LogCaptureFixture) -> None:
    metrics = Metrics(models=(), teams=())
    one = Health(["a", "b"], clock=lambda: 100.0, metrics=metrics)
    assert gauge(metrics, "drained") == 0
    for _ in range(2):
        one.drain({"a": 1_700_000_000.0, "gone": 1.0})
        assert one.outlook(at("a")) == Outlook(drained=True)
        assert not one.begin(at("a"))
        assert one.outlook(at("b")) == Outlook()
        assert one.begin(at("b"))
        assert (gauge(metrics, "drained"), gauge(metrics, "up"), gauge(metrics, "drained", "b")) == (1, 1, 0)
    assert one.unhealthy() == frozenset(), "that is no fault of its own"
    assert one.state("a").drained == 1_700_000_000.0
    one.drain({})
    assert one.begin(at("a"))
    assert gauge(metrics, "drained") == 0
    assert [record.getMessage() for record in caplog.records] == [
        "upstream a is drained: what is under way there ends, nothing new goes there",
        "upstream a is drained no more: requests may go there again",
    ]


def test_an_upstream_that_comes_with_another_configuration_may_be_drained(caplog: pytest.LogCaptureFixture) -> None:
    one = health("a")
    one.drain({"b": 1.0})
    assert caplog.records == []
    one.follow(["a", "b"])
    assert one.outlook(at("b")).drained
    one.follow(["a"])
    one.drain({})
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == ["upstream b is drained"]


def test_the_state_of_an_upstream_is_told() -> None:
    clock, under_way = Clock(), {"a": 3, "b": 0}
    one = Health(
        ["a", "b"], clock=clock, metrics=Metrics(models=(), teams=()), draw=lambda: 0.0, under_way=under_way.__getitem__
    )
    assert one.state("a") == UpstreamState("up", under_way=3)
    assert one.state("b") == UpstreamState("up")
    one.note("a", "slow", Outcome(Verdict.SERVED), took=6.0, audio=60.0)
    one.wallet("a", DRY)
    clock.now += 10.0
    one.wallet("a", DRY)
    found = one.state("a")
    assert (found.state, found.pace, found.balance, found.balance_age) == ("dry", pytest.approx(0.1), DRY, 10.0)
    for _ in range(IN_A_ROW):
        one.note("a", "m", FAILED)
    found = one.state("a")
    assert (found.state, found.rests, found.resting, found.ejections) == ("resting", REST, ("m",), 1)
    assert found.pace == 5.0, "that of the model that was seen last"
    one.note("a", "", Outcome(Verdict.BUSY, 429, retry_after=70.0))
    assert one.state("a").rests == 70.0
    one.drain({"a": 5.0})
    assert (one.state("a").state, one.state("a").drained) == ("drained", 5.0)
    assert one.state("b") == UpstreamState("up")


def test_each_ejection_is_counted_until_another_server_has_the_name() -> None:
    clock = Clock()
    one = Health(["a"], clock=clock, metrics=Metrics(models=(), teams=()), draw=lambda: 0.0)
    for rounds in range(1, 4):
        for _ in range(IN_A_ROW):
            one.note("a", "m", FAILED)
        assert one.state("a").ejections == rounds
        clock.now += REST * rounds
    one.follow(["a"])
    assert one.state("a").ejections == 3
    one.follow(["a"], anew={"a"})
    assert one.state("a") == UpstreamState("up")


def test_while_one_request_tries_it_it_rests() -> None:
    clock = Clock()
    one = Health(["a"], clock=clock, metrics=Metrics(models=(), teams=()), draw=lambda: 0.0)
    for _ in range(IN_A_ROW):
        one.note("a", "m", FAILED)
    clock.now += REST
    assert one.state("a").state == "up"
    assert one.begin(at("a"))
    assert (one.state("a").state, one.state("a").rests) == ("resting", 0.0)
