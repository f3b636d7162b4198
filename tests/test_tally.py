"""What adds up before the library hears of it: whoever reads, reads all of it."""

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge

from gateway.tally import Buckets, Tallies


def test_whoever_reads_the_registry_reads_what_has_added_up() -> None:
    registry = CollectorRegistry(auto_describe=True)
    tallies = Tallies(registry, at_once=False)
    asked = tallies.sum(Counter("asked", "", registry=registry))
    busy = tallies.sum(Gauge("busy", "", ["who"], registry=registry), "a")
    for _ in range(3):
        asked.inc(2)
        busy.inc()
    busy.dec(5)
    for _ in range(2):  # once is enough: nothing is told twice
        assert registry.get_sample_value("asked_total") == 6
        assert registry.get_sample_value("busy", {"who": "a"}) == -2
    busy.inc()
    assert registry.get_sample_value("busy", {"who": "a"}) == -1


def test_a_gauge_that_is_set_forgets_what_was_added_before() -> None:
    registry = CollectorRegistry()
    busy = Tallies(registry, at_once=False).sum(Gauge("busy", "", registry=registry))
    busy.inc(7)
    busy.set(2)
    busy.inc()
    assert registry.get_sample_value("busy") == 3


def test_a_gauge_that_may_only_be_set_can_be_read() -> None:
    registry = CollectorRegistry()
    gauge = Gauge("left", "", registry=registry, multiprocess_mode="mostrecent")
    Tallies(registry, at_once=False).sum(gauge).set(0.5)
    assert registry.get_sample_value("left") == 0.5


@pytest.mark.parametrize("amount", [-1.0, 0.0, 0.1, 0.10001, 1.0, 2.5, 2.6, float("inf")])
def test_an_amount_falls_into_the_bucket_that_the_library_has_for_it(amount: float) -> None:
    registry = CollectorRegistry()
    tallies = Tallies(registry, at_once=False)
    ours = Buckets("ours", "", registry=registry, buckets=(0.1, 1.0, 2.5))
    theirs = Buckets("theirs", "", registry=registry, buckets=(0.1, 1.0, 2.5))
    spread = tallies.spread(ours)
    for _ in range(2):
        spread.observe(amount)
        theirs.observe(amount)
        for name, labels in (("sum", {}), ("count", {}), *(("bucket", {"le": le}) for le in ("0.1", "1.0", "2.5"))):
            wanted = registry.get_sample_value(f"theirs_{name}", labels)
            assert registry.get_sample_value(f"ours_{name}", labels) == wanted


def test_where_others_read_at_any_time_nothing_waits() -> None:
    registry = CollectorRegistry()
    tallies = Tallies(registry, at_once=True)
    number, buckets = Counter("asked", ""), Buckets("took", "")
    tallies.sum(number).inc(2)
    tallies.spread(buckets).observe(0.3)
    assert next(sample.value for sample in number.collect()[0].samples) == 2
    assert next(sample.value for sample in buckets.collect()[0].samples if sample.name == "took_count") == 1
