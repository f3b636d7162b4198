"""The sums that pages and commands read."""

from datetime import UTC, date, datetime, timedelta

import pytest

from gateway.errors import Refused

DAY = date(2024, 2, 28)


def moment(day: date, clock: str = "12:00:00") -> float:
    return datetime.fromisoformat(f"{day}T{clock}+00:00").astimezone(UTC).timestamp()


async def rows(rooms, first: date, last: date):
    return [row async for row in rooms.totals.days(first, last)]


async def test_each_day_has_its_own_sums_by_utc(rooms):
    await rooms.declare()
    for number, (day, clock) in enumerate(
        [(DAY, "00:00:00"), (DAY, "23:59:59"), (DAY + timedelta(1), "00:00:00"), (DAY + timedelta(2), "09:30:00")]
    ):
        await rooms.settle(f"r{number}", usd=10**number, began=moment(day, clock))
    found = await rows(rooms, DAY, DAY + timedelta(3))
    assert [(row.at, row.sums["usd"], row.sums["requests"]) for row in found] == [
        (datetime(2024, 2, 28, tzinfo=UTC), 11, 2),
        (datetime(2024, 2, 29, tzinfo=UTC), 100, 1),
        (datetime(2024, 3, 1, tzinfo=UTC), 1000, 1),
    ]
    assert await rows(rooms, DAY + timedelta(1), DAY + timedelta(1)) == found[1:2]


async def test_hours_add_up_to_the_day(rooms):
    await rooms.declare()
    for hour in range(24):
        await rooms.settle(f"r{hour}", usd=hour + 1, began=moment(DAY, f"{hour:02}:59:59"))
    total = 0
    for hour in range(24):
        total += sum(int(value) for value in await rooms.raw.hvals(f"{{ag}}:hour:20240228{hour:02}"))
    (row,) = await rows(rooms, DAY, DAY)
    assert total == sum(row.sums.values()) == 300 + 24


async def test_a_day_without_requests_has_no_rows(rooms):
    await rooms.declare()
    assert await rows(rooms, DAY, DAY) == []
    assert await rows(rooms, DAY, DAY - timedelta(1)) == []
    await rooms.settle("r1", began=moment(DAY), sums={"requests": 0})
    assert await rows(rooms, DAY, DAY) == []


async def test_a_row_for_each_combination(rooms):
    await rooms.declare()
    for number, told in enumerate(
        [{}, {"model": "tts-1"}, {"team": "other"}, {"kid": "0123456789"}, {"upstream": "two"}, {}]
    ):
        await rooms.settle(f"r{number}", usd=1, began=moment(DAY), **told)
    found = await rows(rooms, DAY, DAY)
    kid = rooms.presented.kid
    assert {(row.team, row.key, row.model, row.upstream, row.route): row.sums["usd"] for row in found} == {
        ("default", kid, "whisper-1", "one", "transcriptions"): 2,
        ("default", kid, "tts-1", "one", "transcriptions"): 1,
        ("other", kid, "whisper-1", "one", "transcriptions"): 1,
        ("default", "0123456789", "whisper-1", "one", "transcriptions"): 1,
        ("default", kid, "whisper-1", "two", "transcriptions"): 1,
    }


@pytest.mark.parametrize("model", ["a|b", "|", "a|b|c|d|e|f|usd", "||||||", "", "a:b{c}", "naïve 转写", "a\r\nb\0c"])
async def test_no_name_can_break_a_row(rooms, model):
    await rooms.declare()
    await rooms.settle("r1", usd=7, model=model, began=moment(DAY))
    await rooms.settle("r2", usd=1, began=moment(DAY))
    found = {row.model: row for row in await rows(rooms, DAY, DAY)}
    assert set(found) == {"whisper-1", model.replace("|", "_")}
    row = found[model.replace("|", "_")]
    assert (row.team, row.upstream, row.sums) == ("default", "one", {"requests": 1, "usd": 7})


async def test_names_of_keys_are_known_by_their_id(rooms):
    assert await rooms.totals.key_names() == {}
    await rooms.declare()
    assert await rooms.totals.key_names() == {rooms.presented.kid: "alice"}


async def test_a_store_that_answers_with_an_error_is_refused_as_down(rooms):
    await rooms.raw.set("{ag}:day:20240228", "not a hash")
    await rooms.raw.set("{ag}:names", "not a hash")
    with pytest.raises(Refused) as refused:
        await rows(rooms, DAY, DAY)
    assert refused.value.name == "store_down"
    with pytest.raises(Refused) as refused:
        await rooms.totals.key_names()
    assert refused.value.name == "store_down"
