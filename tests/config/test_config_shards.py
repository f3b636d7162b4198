"""Limits of upstreams that cannot be divided among shards are refused, each with its line."""

from pathlib import Path

import pytest

from tests.config.told import GOOD, found

TOLD = "expected at least 16, one for each of store.shards"


def limited(limit: str, shards: int) -> str:
    lines = GOOD.splitlines(keepends=True)
    lines.insert(5, f"    limits:\n      - {limit}\n")
    return "".join(lines) + f"store: {{shards: {shards}}}\n"


@pytest.mark.parametrize(
    ("limit", "parts"),
    [
        ("{measure: requests, per: minute, amount: 160, burst: 15}", ["burst"]),
        ("{measure: requests, per: hour, amount: 160, burst: 1}", ["burst"]),
        ("{measure: requests, per: minute, amount: 160, burst: 16}", []),
        ("{measure: requests, per: minute, amount: 16}", []),
        ("{measure: concurrency, amount: 15}", ["amount"]),
        ("{measure: concurrency, amount: 16}", []),
        ("{measure: usd, per: day, amount: 1}", []),
    ],
)
def test_each_shard_has_its_part_of_an_upstream_s_rates_and_bursts(
    tmp_path: Path, limit: str, parts: list[str]
) -> None:
    told = [(7, f"upstreams.a.limits[0].{part}", TOLD) for part in parts]
    assert found(tmp_path, limited(limit, 16)) == told
    assert found(tmp_path, limited(limit, 1)) == [], "one shard has it all"


def test_a_rate_that_is_too_small_is_told_once_for_each_figure(tmp_path: Path) -> None:
    told = found(tmp_path, limited("{measure: requests, per: minute, amount: 15, burst: 2}", 16))
    assert {(line, path) for line, path, _ in told} == {
        (7, "upstreams.a.limits[0].amount"),
        (7, "upstreams.a.limits[0].burst"),
    }
    without = found(tmp_path, limited("{measure: requests, per: minute, amount: 15}", 16))
    assert (7, "upstreams.a.limits[0].amount", TOLD) in without
