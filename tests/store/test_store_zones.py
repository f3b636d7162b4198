"""Days and months of a team's time zone: the calendar in scope.lua against Python's, and budgets where they end."""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from gateway.config.model import Key, Team
from gateway.errors import Refused
from gateway.policy.limits import Limit
from gateway.policy.zones import FIRST, LAST, offsets
from gateway.store.connection import shared_text
from gateway.store.records import team_facts
from tests.running import configured, key_text
from tests.store.conftest import CLOCK

EPOCH = date(1970, 1, 1).toordinal()
ZONES = [
    *(
        "UTC",
        "Asia/Shanghai",
        "Asia/Kolkata",
        "Asia/Kathmandu",
        "Europe/Berlin",
        "America/New_York",
        "America/Santiago",
    ),
    *("Australia/Lord_Howe", "Africa/Cairo", "Asia/Beirut", "Pacific/Apia", "Atlantic/Azores", "America/Havana"),
]
CALENDAR = f"""
{shared_text().replace(CLOCK, "{0, 0}")}
local found = {{}}
for i = 1, #ARGV do
  now, calendars = tonumber(ARGV[i]), {{}}
  now_ms = now * 1000 + 1
  UTC = calendar({{0}})
  local days = calendar_of(KEYS[1])
  found[i] = {{unpack(days.ids, 1, 4)}}
  for window = 1, 5 do found[i][4 + window] = wait_for(days, window) end
end
return found
"""


def at(text: str, zone: str = "UTC") -> int:
    """Milliseconds since 1970 of a moment in the local time of a zone."""
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp() * 1000)


def local(zone: str, moment: float) -> datetime:
    return datetime.fromtimestamp(moment, UTC).astimezone(ZoneInfo(zone))


def moments_of(zone: str) -> list[int]:
    """Moments at random, and those around which clocks change or days end."""
    draw = random.Random(zone)
    first, last = int(FIRST.timestamp()), int(LAST.timestamp()) - 32 * 86_400
    moments = [draw.randrange(first, last) for _ in range(300)]
    for change in offsets(zone)[1::2]:
        moments += [change + step for step in (-86_401, -7200, -3601, -1800, -1, 0, 1, 1799, 3600, 5400, 86_399)]
        moments += [change + draw.randrange(-90_000, 90_000) for _ in range(3)]
    return [one for one in moments if one < last]


async def calendar(rooms, zone: str, moments: Sequence[int]) -> list[list[int]]:
    """By the scripts: ids of minute, hour, day and month, and the milliseconds to the ends of all windows."""
    await rooms.raw.hset("{ag}:t:zone", mapping={"z": team_facts(Team("zone", timezone=zone))["z"]})
    return await rooms.raw.eval(CALENDAR, 1, "{ag}:t:zone", *moments)


@pytest.mark.parametrize("zone", ZONES)
async def test_ids_roll_and_waits_end_exactly_when_the_local_date_changes(rooms, zone):
    moments = moments_of(zone)
    found = await calendar(rooms, zone, moments)
    ends = [
        [(moment * 1000 + 1 + wait) / 1000 for wait in row[4:8]] for moment, row in zip(moments, found, strict=True)
    ]
    assert all(end == int(end) for row in ends for end in row)
    before = await calendar(rooms, zone, [int(end) - 1 for row in ends for end in row])
    after = await calendar(rooms, zone, [int(end) for row in ends for end in row])
    changes = set(offsets(zone)[1::2])
    for number, (moment, row) in enumerate(zip(moments, found, strict=True)):
        here = local(zone, moment)
        assert row[2] == here.date().toordinal() - EPOCH, here
        assert row[3] == here.year * 12 + here.month - 1, here
        assert row[8] == -1
        for window in range(4):
            last, first = before[4 * number + window][window], after[4 * number + window][window]
            assert last == row[window] < first, (here, window)
        minute, hour, day, month = (local(zone, end) for end in ends[number])
        assert minute.second == 0
        assert hour.minute == 0 or int(ends[number][1]) in changes
        assert (day.date() - here.date(), day.day) == (timedelta(1), (here + timedelta(1)).day)
        assert (month.day, month.month) == (1, here.month % 12 + 1)


@pytest.mark.parametrize("zone", ["Asia/Shanghai", "Asia/Kolkata", "America/New_York", "Africa/Cairo", "Pacific/Apia"])
@pytest.mark.parametrize("per", ["day", "month"])
async def test_a_budget_begins_anew_at_local_midnight_and_an_upstream_s_at_that_of_utc(rooms, zone, per):
    end = at("2025-07-01 00:00:00", zone)
    rooms.connection.now_ms = end - 1
    await rooms.declare(key=[Limit("usd", per, 10)], team=[Limit("usd", per, 11)], timezone=zone)
    await rooms.admit("r1", usd=10)
    await rooms.settle("r1", usd=10)
    used = (await rooms.numbers("one")).used[per][0]
    with pytest.raises(Refused) as refused:
        await rooms.admit("r2", usd=1)
    assert (refused.value.words["scope"], refused.value.retry_after) == ("key alice", 0.001)
    rooms.connection.now_ms = end
    await rooms.admit("r2", usd=10)
    await rooms.settle("r2", usd=10)
    assert [(await rooms.numbers(scope)).used[per][0] for scope in ("alice", "default", "one")] == [10, 10, 2 * used]
    with pytest.raises(Refused):
        await rooms.admit("r3", usd=1)


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("Europe/Berlin", "2025-03-30", 23),
        ("Europe/Berlin", "2025-10-26", 25),
        ("America/New_York", "2025-03-09", 23),
        ("America/New_York", "2025-11-02", 25),
        ("Africa/Cairo", "2025-04-25", 23),  # it begins at one
        ("Africa/Cairo", "2025-10-30", 25),  # its last hour comes twice
        ("America/Havana", "2025-03-09", 23),  # it begins at one
        ("America/Havana", "2025-11-02", 25),  # its first hour comes twice
        ("Australia/Lord_Howe", "2025-04-06", 24.5),
        ("Asia/Shanghai", "2025-10-26", 24),
    ],
)
async def test_a_day_on_which_clocks_change_is_one_budget(rooms, zone, day, hours):
    midday = at(f"{day} 12:00:00", zone)
    await rooms.declare(key=[Limit("requests", "day", 1)], timezone=zone)
    found = await calendar(rooms, zone, [midday // 1000 - 86_400, midday // 1000])
    begin, end = midday - 86_400_000 + 1 + found[0][6], midday + 1 + found[1][6]
    assert [local(zone, moment / 1000).date() for moment in (begin, end - 1)] == [date.fromisoformat(day)] * 2
    assert end - begin == hours * 3_600_000
    for number, (moment, fits) in enumerate([(begin - 1, True), (begin, True), (end - 1, False), (end, True)]):
        rooms.connection.now_ms = int(moment)
        if fits:
            await rooms.admit(f"r{number}")
            await rooms.settle(f"r{number}")
        with pytest.raises(Refused) as refused:
            await rooms.admit("one more")
        if moment < end:
            assert refused.value.retry_after == ((end if moment >= begin else begin) - moment) / 1000


async def test_hours_begin_with_those_of_the_zone(rooms):
    await rooms.declare(key=[Limit("usd", "hour", 10)], upstream=[Limit("usd", "hour", 15)], timezone="Asia/Kolkata")
    rooms.connection.now_ms = at("2025-06-15 10:29:59.999")  # 15:59:59.999 there
    await rooms.admit("r1", usd=10)
    await rooms.settle("r1", usd=10)
    with pytest.raises(Refused) as refused:
        await rooms.admit("r2", usd=1)
    assert refused.value.retry_after == 0.001
    rooms.connection.now_ms += 1
    with pytest.raises(Refused) as refused:
        await rooms.admit("r2", usd=6)
    assert (refused.value.words["scope"], refused.value.retry_after) == ("upstream one", 1800.0)
    await rooms.admit("r2", usd=5)


async def test_a_key_follows_the_zone_of_its_team(rooms):
    teams = {name: Team(name, timezone=zone) for name, zone in [("default", "UTC"), ("far", "Pacific/Apia")]}
    key = Key("alice", "default", key_text(), limits=(Limit("usd", "day", 10),))
    rooms.connection.now_ms = at("2025-06-15 10:00:00")  # 23:00 in Apia
    for team in teams:
        await rooms.keys.declare(configured(Path("unused"), keys={"alice": replace(key, team=team)}, teams=teams))
        await rooms.reread()
        await rooms.admit(f"r {team}", usd=10 if team == "default" else 0)
        await rooms.settle(f"r {team}", team=team, usd=10 if team == "default" else 0)
        with pytest.raises(Refused) as refused:
            await rooms.admit("r2", usd=1)
        assert refused.value.retry_after == {"default": 14 * 3600.0, "far": 3600.0}[team]


async def test_another_zone_gives_no_budget_anew_where_it_sets_the_date_back(rooms):
    rooms.connection.now_ms = at("2025-06-15 20:00:00")
    for zone, fits in [("Asia/Shanghai", True), ("UTC", False), ("America/New_York", False), ("Asia/Shanghai", False)]:
        await rooms.declare(key=[Limit("usd", "day", 10)], timezone=zone)
        if fits:
            await rooms.admit("r1", usd=10)
            await rooms.settle("r1", usd=10)
        with pytest.raises(Refused):
            await rooms.admit("r2", usd=1)
    rooms.connection.now_ms = at("2025-06-17 00:00:00", "Asia/Shanghai")
    await rooms.admit("r2", usd=10)


@pytest.mark.parametrize(
    ("zone", "midnight"),
    [
        ("Asia/Shanghai", "2025-06-01"),
        ("UTC", "2026-01-01"),
        ("Europe/Berlin", "2025-11-01"),
        ("Africa/Cairo", "2025-10-31"),
    ],
)
async def test_Q_9_a_thousand_requests_across_midnight_are_each_charged_in_one_period(rooms, zone, midnight):
    draw, end = random.Random(zone), at(midnight, zone)
    await rooms.declare(key=[Limit("usd", "day", 10**9)], team=[Limit("usd", "month", 10**9)], timezone=zone)
    events = []
    for number in range(1000):
        start = end + draw.randrange(-60_000, 60_000)
        events += [(start, number, "admit"), (start + draw.randrange(30_000), number, "settle")]
    sums, expected = [], Counter()
    events.append((end - 1, 1000, "look"))
    for moment, number, what in sorted(events):
        rooms.connection.now_ms = moment
        usd = number + 1
        if what == "admit":
            await rooms.admit(f"r{number}", usd=2 * usd, ms=usd)
        elif what == "settle":
            await rooms.settle(f"r{number}", usd=usd, ms=usd, began=moment / 1000)
            expected["before" if moment < end else "after"] += usd
        else:
            sums = [(await rooms.numbers(scope)).used["day"][0] for scope in ("alice", "default")]
    whole = 1000 * 1001 // 2
    assert sums == [expected["before"]] * 2
    assert min(expected.values()) > whole // 5, "many on either side"
    new_month = midnight.endswith("-01")
    for scope in ("alice", "default"):
        found = await rooms.numbers(scope)
        assert (found.used["day"][0], found.used["total"][0]) == (expected["after"], whole)
        assert found.used["month"][0] == (expected["after"] if new_month else whole)
        assert (found.flying, found.reserved) == (0, (0, 0, 0, 0))
    cube = Counter()
    for name in [name async for name in rooms.raw.scan_iter("{ag}:hour:*")]:
        for field, amount in (await rooms.raw.hgetall(name)).items():
            cube[field.rsplit(b"|", 1)[1]] += int(amount)
    assert (cube[b"usd"], cube[b"requests"]) == (whole, 1000)
    assert await rooms.raw.xlen("{ag}:usage") == 1000
