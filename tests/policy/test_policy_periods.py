from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.policy.periods import BadPeriod, Period, Unit, named, read_period

NOW = datetime(2026, 3, 1, 15, 20, 30, tzinfo=UTC)
MOMENTS = st.floats(1_700_000_000, 1_900_000_000).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))
KEPT: dict[Unit, int] = {"hour": 90 * 86_400, "day": 400 * 86_400}


def read(since: str, until: str = "", *, hourly: bool = False, now: datetime = NOW) -> Period:
    return read_period(since, until, now=now.timestamp(), hourly=hourly, kept=KEPT)


@pytest.mark.parametrize(
    ("since", "until", "unit", "words"),
    [
        ("7d", "", "day", "2026-02-23 to 2026-03-01"),
        ("1d", "", "day", "2026-03-01"),
        ("7d", "2d", "day", "2026-02-23 to 2026-02-28"),
        ("24h", "", "hour", "2026-02-28T16:00Z to 2026-03-01T15:00Z"),
        ("1h", "", "hour", "2026-03-01T15:00Z"),
        ("2026-01", "", "day", "2026-01-01 to 2026-03-01"),
        ("2026-01", "2026-01", "day", "2026-01-01 to 2026-01-31"),
        ("2025-12", "2026-02", "day", "2025-12-01 to 2026-02-28"),
        ("2026-02-28", "2026-02-28", "day", "2026-02-28"),
        ("2026-02-28", "2026-02-28T05", "hour", "2026-02-28T00:00Z to 2026-02-28T05:00Z"),
        ("2026-02-28T05", "2026-02-28", "hour", "2026-02-28T05:00Z to 2026-02-28T23:00Z"),
        ("2026-02-28T05:00", "2026-02-28T05:00Z", "hour", "2026-02-28T05:00Z"),
        ("2026-02-28T05:00:00Z", "2026-02-28T06Z", "hour", "2026-02-28T05:00Z to 2026-02-28T06:00Z"),
        ("2026-03-01", "2027-12-31", "day", "2026-03-01"),
        ("2026-03-01T15", "2027-12", "hour", "2026-03-01T15:00Z"),
    ],
)
def test_a_period_is_read_as_people_write_it(since: str, until: str, unit: str, words: str) -> None:
    found = read(since, until)
    assert (found.unit, str(found)) == (unit, words)


def test_days_are_counted_in_hours_when_hours_are_asked_for() -> None:
    found = read("2026-02-28", hourly=True)
    assert str(found) == "2026-02-28T00:00Z to 2026-03-01T15:00Z"
    assert len(list(found.units())) == 24 + 16


@pytest.mark.parametrize("text", ["", "yesterday", "0d", "0h", "7", "7w", "2026", "2026-13", "2026-02-30", "2026-2-3"])
@pytest.mark.parametrize("end", ["since", "until"])
def test_what_is_no_time_is_told_with_what_would_be(text: str, end: str) -> None:
    if (text, end) == ("", "until"):
        return
    with pytest.raises(
        BadPeriod, match=f"a month such as 2026-01, or a span such as 24h or 7d, got '{text}'"
    ) as caught:
        read(**{"since": "1d", end: text})
    assert caught.value.end == end


@pytest.mark.parametrize("text", ["2026-02-28T15:30", "2026-02-28T24", "9999-12-31", "9999-12", "2026-02-28 15"])
def test_times_that_are_no_whole_hours_or_out_of_this_world_are_refused(text: str) -> None:
    with pytest.raises(BadPeriod):
        read("1d", text)


@pytest.mark.parametrize(
    ("since", "until", "words"),
    [
        ("2026-03-02", "", "2026-03-02 is later than the end, 2026-03-01"),
        ("2026-02-02", "2026-02-01", "2026-02-02 is later than the end, 2026-02-01"),
        ("2026-02-02T03", "2026-02-02T02", "2026-02-02T03:00Z is later than the end, 2026-02-02T02:00Z"),
    ],
)
def test_a_beginning_behind_the_end_is_refused(since: str, until: str, words: str) -> None:
    with pytest.raises(BadPeriod, match=words) as caught:
        read(since, until)
    assert caught.value.end == "since"


def test_what_is_asked_for_must_be_kept_still_to_the_last_hour_and_day() -> None:
    assert read("400d").start == datetime(2025, 1, 26, tzinfo=UTC)
    assert read("2160h").start == datetime(2025, 12, 1, 16, tzinfo=UTC)
    with pytest.raises(BadPeriod, match=r"sums of days are kept for 400 days; ask from 2025-01-26 on$"):
        read("401d")
    with pytest.raises(BadPeriod, match=r"for 90 days; ask from 2025-12-01T16:00Z on, or for days without hours$"):
        read("2161h")
    with pytest.raises(BadPeriod, match="sums of hours"):
        read("2025-06", hourly=True)
    assert read("2025-06").unit == "day"


def test_names() -> None:
    assert [named(NOW, unit) for unit in ("hour", "day", "month")] == ["2026-03-01T15:00Z", "2026-03-01", "2026-03"]


@given(
    MOMENTS,
    st.integers(1, 90),
    st.sampled_from("hd"),
)
def test_a_span_has_as_many_units_as_it_says_and_ends_now(now: datetime, count: int, unit: str) -> None:
    found = read(f"{count}{unit}", now=now)
    units = list(found.units())
    assert len(units) == count
    assert units[-1] <= now < found.end
    assert found.end - units[-1] == (timedelta(hours=1) if unit == "h" else timedelta(days=1))
    assert (units[0], sorted(set(units))) == (found.start, units)


@given(MOMENTS, st.sampled_from(["hour", "day"]))
def test_what_is_named_is_read_back(now: datetime, unit: str) -> None:
    text = named(now, unit)
    found = read(text, text, now=now)
    assert (found.unit, str(found), len(list(found.units()))) == (unit, text, 1)
    month = read(named(now, "month"), now=now)
    assert (month.start.day, month.start.hour) == (1, 0)
