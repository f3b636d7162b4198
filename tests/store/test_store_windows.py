"""Windows: calendar.lua against Python's, and what happens when one ends."""

import random
from datetime import UTC, date, datetime, timedelta

import pytest

from gateway.errors import Refused
from gateway.policy.limits import Limit
from gateway.store.connection import script_text, shared_text

CLOCK = "redis.call('TIME')"  # the text that `rooms` replaces as well
SCOPE = shared_text()
EPOCH = date(1970, 1, 1)
DAYS = (date(2101, 1, 1) - EPOCH).days
NONE = (0, 0, 0, 0)


def month_of(day: date) -> int:
    """Months since year 0."""
    return day.year * 12 + day.month - 1


def at(text: str) -> int:
    """Milliseconds since 1970 of a moment in UTC."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def test_every_script_reads_the_server_s_clock_once_and_no_other():
    for script in ("admit", "settle", "switch", "declare"):
        assert script_text(script).count(CLOCK) == script_text(script).count("'TIME'") == 1
        assert "os." not in script_text(script)


async def test_the_month_of_every_day_until_2100_is_the_calendar_s(rooms):
    text = f"{SCOPE}\nlocal found = {{}} for day = 0, ARGV[1] - 1 do found[day + 1] = month_of(day) end return found"
    found = await rooms.raw.eval(text, 0, DAYS)
    assert found == [month_of(EPOCH + timedelta(days=day)) for day in range(DAYS)]


async def test_every_month_until_2100_begins_on_the_calendar_s_day(rooms):
    first, last = month_of(EPOCH), month_of(date(2101, 1, 1))
    loop = "for month = ARGV[1], ARGV[2] do found[#found + 1] = first_day_of(month) end"
    text = f"{SCOPE}\nlocal found = {{}} {loop} return found"
    found = await rooms.raw.eval(text, 0, first, last)
    assert found == [(date(month // 12, month % 12 + 1, 1) - EPOCH).days for month in range(first, last + 1)]


async def test_at_any_moment_ids_and_waits_are_the_calendar_s(rooms):
    draw = random.Random(7)
    moments = [draw.randrange(DAYS * 86_400_000) for _ in range(1000)]
    edges = [draw.randrange(1, DAYS) * 86_400_000 for _ in range(200)]
    edges += [(date(month // 12, month % 12 + 1, 1) - EPOCH).days * 86_400_000 for month in range(23_641, 25_200, 7)]
    moments += [edge + step for edge in edges for step in (-1, 0, 1)]
    asked = [part for ms in moments for part in (ms // 1000, ms % 1000 * 1000)]
    text = f"""
        local function at(seconds, micros)
          {SCOPE.replace(CLOCK, "{seconds, micros}")}
          local found = {{unpack(UTC.ids, 1, 4)}}
          for window = 1, 5 do found[4 + window] = wait_for(UTC, window) end
          return found
        end
        local found = {{}}
        for i = 1, #ARGV, 2 do found[#found + 1] = at(ARGV[i], ARGV[i + 1]) end
        return found
    """
    for ms, found in zip(moments, await rooms.raw.eval(text, 0, *asked), strict=True):
        day = EPOCH + timedelta(days=ms // 86_400_000)
        next_month = (day.replace(day=1) + timedelta(days=32)).replace(day=1)
        ends = [-(-(ms + 1) // unit) * unit - ms for unit in (60_000, 3_600_000, 86_400_000)]
        ends.append((next_month - EPOCH).days * 86_400_000 - ms)
        ids = [ms // 60_000, ms // 3_600_000, ms // 86_400_000, month_of(day)]
        assert found == [*ids, *ends, -1], datetime.fromtimestamp(ms / 1000, UTC)


@pytest.mark.parametrize(
    ("before", "after", "kept"),
    [
        ("2024-05-05T10:10:59.999", "2024-05-05T10:11:00", {"hour", "day", "month", "total"}),
        ("2024-05-05T10:59:59.999", "2024-05-05T11:00:00", {"day", "month", "total"}),
        ("2024-05-05T23:59:59.999", "2024-05-06T00:00:00", {"month", "total"}),
        ("2024-02-29T23:59:59.999", "2024-03-01T00:00:00", {"total"}),
        ("2023-12-31T23:59:59.999", "2024-01-01T00:00:00", {"total"}),
        ("2024-05-05T10:10:10", "2025-05-05T10:10:10", {"total"}),
        ("2024-05-05T10:10:10", "2024-05-06T10:10:10", {"month", "total"}),
        ("2024-05-05T10:10:10", "2024-05-05T11:10:10", {"day", "month", "total"}),
        ("2024-05-05T10:10:00", "2024-05-05T10:10:59.999", {"minute", "hour", "day", "month", "total"}),
    ],
)
async def test_only_the_windows_that_ended_begin_anew(rooms, before, after, kept):
    await rooms.declare()
    rooms.connection.now_ms = at(before)
    await rooms.admit("r1", usd=1)
    await rooms.settle("r1", usd=7, ms=8, characters=9)
    rooms.connection.now_ms = at(after)
    await rooms.admit("r2", usd=5)
    for scope in ("alice", "default", "one"):
        found = await rooms.numbers(scope)
        assert {window for window, used in found.used.items() if used == (7, 8, 9, 1)} == kept
        assert {window for window, used in found.used.items() if used == NONE} == set(found.used) - kept
        assert found.reserved == (5, 0, 0, 1)


@pytest.mark.parametrize("per", ["minute", "hour", "day", "month"])
async def test_a_full_window_lets_nobody_in_until_it_ends(rooms, per):
    await rooms.declare(team=[Limit("usd", per, 10)])
    start = rooms.connection.now_ms = at("2024-02-29T12:34:56.789")
    await rooms.admit("r1", usd=10)
    await rooms.settle("r1", usd=10)
    with pytest.raises(Refused) as refused:
        await rooms.admit("r2", usd=1)
    wait = round((refused.value.retry_after or 0) * 1000)
    rooms.connection.now_ms = start + wait - 1
    with pytest.raises(Refused):
        await rooms.admit("r2", usd=1)
    rooms.connection.now_ms = start + wait
    await rooms.admit("r2", usd=10)


async def test_a_total_never_begins_anew(rooms):
    await rooms.declare(key=[Limit("usd", "total", 10)])
    rooms.connection.now_ms = at("2024-01-01T00:00:00")
    await rooms.settle("r1", usd=10)
    rooms.connection.now_ms = at("2099-01-01T00:00:00")
    with pytest.raises(Refused) as refused:
        await rooms.admit("r2", usd=1)
    assert refused.value.retry_after is None


async def test_a_request_across_a_window_s_end_is_charged_to_the_new_one_and_holds_room_in_it(rooms):
    await rooms.declare(key=[Limit("usd", "day", 10)])
    rooms.connection.now_ms = at("2024-12-31T23:59:59.500")
    await rooms.settle("r0", usd=4)
    await rooms.admit("r1", usd=6)
    rooms.connection.now_ms = at("2025-01-01T00:00:00.500")
    with pytest.raises(Refused) as refused:
        await rooms.admit("r2", usd=5)
    assert refused.value.words["used"] == "0.000006", "yesterday's use is gone, what is reserved is not"
    await rooms.admit("r3", usd=4)
    await rooms.settle("r1", usd=6)
    found = await rooms.numbers("alice")
    assert (found.used["day"], found.used["month"]) == ((6, 0, 0, 1), (6, 0, 0, 1))
    assert (found.used["total"], found.reserved) == ((10, 0, 0, 2), (4, 0, 0, 1))


async def test_a_reservation_moved_across_a_window_s_end_keeps_its_size(rooms):
    await rooms.declare(team=[Limit("usd", "hour", 10)])
    rooms.connection.now_ms = at("2024-12-31T23:59:59.999")
    await rooms.admit("r1", "one", usd=10)
    rooms.connection.now_ms = at("2025-01-01T00:00:00")
    assert await rooms.switch("r1", "one", "two", usd=9) == "two"
    assert (await rooms.numbers("default")).reserved == (9, 0, 0, 1)
    await rooms.settle("r1", "two", usd=9)
    for scope in ("alice", "default", "one", "two"):
        found = await rooms.numbers(scope)
        assert (found.flying, found.reserved) == (0, NONE), scope
        assert found.used["hour"] == (NONE if scope == "one" else (9, 0, 0, 1))


async def test_a_clock_set_back_a_little_over_a_boundary_gives_no_budget_anew(rooms):
    await rooms.declare(key=[Limit("usd", "month", 10)])
    rooms.connection.now_ms = at("2025-02-01 00:00:00.200")
    await rooms.admit("r1", usd=10)
    await rooms.settle("r1", usd=10)
    rooms.connection.now_ms = at("2025-01-31 23:59:59.800")
    with pytest.raises(Refused):
        await rooms.admit("r2", usd=1)
    rooms.connection.now_ms = at("2025-02-01 00:00:00.300")
    with pytest.raises(Refused):
        await rooms.admit("r3", usd=1)


async def test_of_two_limits_in_the_way_the_one_that_lasts_longer_is_named(rooms):
    await rooms.declare(key=[Limit("requests", "minute", 1), Limit("requests", "total", 1)])
    await rooms.admit("r1")
    await rooms.settle("r1", requests=1)
    with pytest.raises(Refused) as caught:
        await rooms.admit("r2")
    assert (caught.value.name, caught.value.retry_after) == ("quota", None)
