"""Queries of the sums: any columns, any values, over hours, days and months, in few round trips."""

import random
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest

from gateway.config.model import Usage
from gateway.errors import Refused
from gateway.policy.ids import began, request_id
from gateway.policy.periods import Period, read_period
from gateway.store.leases import Leases
from gateway.store.limits import LEASE_MS
from gateway.store.stream import Stream
from gateway.store.totals import AT_ONCE, COLUMNS, KEPT
from gateway.store.usage import hour_and_day

NOW = datetime(2026, 3, 1, 0, 30, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
Sums = dict[tuple[str, ...], Mapping[str, int]]


def period(since: str, until: str = "", *, hourly: bool = False) -> Period:
    return read_period(since, until, now=NOW.timestamp(), hourly=hourly, kept=KEPT)


async def used(rooms, *rows: tuple[timedelta, dict[str, object]]) -> None:
    """Requests that began so long ago, and what they used."""
    for number, (ago, told) in enumerate(rows):
        await rooms.settle(f"r{number}", began=(NOW - ago).timestamp(), **told)


async def summed(rooms, span: Period, *by: str, **only: str) -> Sums:
    lines = await rooms.totals.summed(span, by, only)
    found = {line.by: line.sums for line in lines}
    assert len(found) == len(lines)
    assert list(found) == sorted(found)
    return found


async def usd(rooms, span: Period, *by: str, **only: str) -> dict[str, int]:
    """US dollars by one column."""
    return {"/".join(values): sums.get("usd", 0) for values, sums in (await summed(rooms, span, *by, **only)).items()}


async def test_hours_days_and_months_each_have_their_own_sums(rooms):
    await rooms.declare()
    await used(
        rooms,
        (0 * MINUTE, {"usd": 1}),
        (30 * MINUTE, {"usd": 10}),  # the first moment of the day and the month
        (31 * MINUTE, {"usd": 100}),
        (23 * HOUR + 30 * MINUTE, {"usd": 1000}),
        (24 * HOUR, {"usd": 10_000}),
        (40 * DAY, {"usd": 100_000}),
    )
    assert await usd(rooms, period("24h"), "hour") == {
        "2026-02-28T01:00Z": 1000,
        "2026-02-28T23:00Z": 100,
        "2026-03-01T00:00Z": 11,
    }
    assert await usd(rooms, period("2d"), "day") == {"2026-02-28": 11_100, "2026-03-01": 11}
    assert await usd(rooms, period("24h"), "day") == {"2026-02-28": 1100, "2026-03-01": 11}
    every_month = {"2026-01": 100_000, "2026-02": 11_100, "2026-03": 11}
    assert await usd(rooms, period("2026-01"), "month") == every_month
    assert await usd(rooms, period("2026-01", hourly=True), "month") == every_month
    assert await usd(rooms, period("2026-02", "2026-02"), "month") == {"2026-02": 11_100}
    assert await usd(rooms, period("2026-02-28T23", "2026-02-28T23"), "hour", "day", "month") == {
        "2026-02-28T23:00Z/2026-02-28/2026-02": 100
    }
    assert (await summed(rooms, period("2026-01")))[()] == {"usd": 111_111, "requests": 6}


async def test_sums_go_by_any_columns_and_count_what_has_the_values_asked_for(rooms):
    await rooms.declare()
    await used(
        rooms,
        (0 * DAY, {"usd": 1}),
        (0 * DAY, {"usd": 10, "team": "red"}),
        (1 * DAY, {"usd": 100, "team": "red", "model": "tts-1"}),
        (2 * DAY, {"usd": 1000, "kid": "0123456789", "upstream": "two"}),
        (3 * DAY, {"usd": 10_000, "team": "red", "upstream": "two", "model": "a|b"}),
    )
    span = period("7d")
    assert await usd(rooms, span, "team") == {"default": 1001, "red": 10_110}
    assert await usd(rooms, span, "key") == {"alice": 10_111, "0123456789": 1000}
    assert await usd(rooms, span, "upstream", "team") == {
        "one/default": 1,
        "one/red": 110,
        "two/default": 1000,
        "two/red": 10_000,
    }
    assert await usd(rooms, span, "route") == {"transcriptions": 11_111}
    assert await usd(rooms, span, team="red") == {"": 10_110}
    assert await usd(rooms, span, "model", team="red") == {"tts-1": 100, "whisper-1": 10, "a_b": 10_000}
    assert await usd(rooms, span, team="red", upstream="one") == {"": 110}
    assert await usd(rooms, span, model="a|b") == {"": 10_000}
    for name in ("alice", rooms.presented.kid):
        assert await usd(rooms, span, "day", key=name, upstream="one") == {
            "2026-02-28": 100,
            "2026-03-01": 11,
        }
    assert await usd(rooms, span, key="0123456789") == {"": 1000}
    assert await usd(rooms, span, team="blue") == {}


async def test_a_key_that_never_was_is_told(rooms):
    await rooms.declare()
    await used(rooms, (0 * DAY, {"usd": 1}))
    with pytest.raises(Refused, match="There is no key called 'alcie'") as refused:
        await summed(rooms, period("1d"), key="alcie")
    assert refused.value.row.status == 404
    assert await summed(rooms, period("2026-02", "2026-02"), key="alice") == {}


async def test_names_of_metrics_that_nobody_knows_are_not_shown_and_break_nothing(rooms):
    await rooms.declare()
    await used(rooms, (0 * DAY, {"sums": {"requests": 1, "cost": 7, "karma": 5}}))
    await rooms.raw.hset("{ag}:day:20260301", "default|k|m|one|speech|sentiment", "rather good")
    assert await summed(rooms, period("1d"), "model") == {("whisper-1",): {"requests": 1, "cost": 7}}


async def test_what_a_failed_attempt_cost_stands_at_its_upstream(rooms):
    await rooms.declare()
    await rooms.raw.hset("{ag}:day:20260301", "default|k|m|two|speech|cost", 3)
    assert await summed(rooms, period("1d"), "upstream") == {("two",): {"cost": 3}}


async def test_hours_are_there_for_90_days_and_days_for_400(rooms):
    await rooms.declare()
    await used(rooms, (0 * DAY, {"usd": 1}))
    hour, day = hour_and_day(NOW.timestamp())
    assert await rooms.raw.ttl(f"{{ag}}:hour:{hour}") == pytest.approx(KEPT["hour"], abs=5)
    assert await rooms.raw.ttl(f"{{ag}}:day:{day}") == pytest.approx(KEPT["day"], abs=5)
    first_hour, first_day = period("2160h").start, period("400d").start
    await rooms.settle("first hour", usd=10, began=first_hour.timestamp())
    await rooms.settle("first day", usd=100, began=first_day.timestamp())
    assert sum((await usd(rooms, period("2160h"), "hour")).values()) == 11
    assert sum((await usd(rooms, period("400d"), "day")).values()) == 111


@pytest.mark.parametrize(("since", "units"), [("1d", 1), ("365d", 365), ("2160h", 2160)])
async def test_a_year_of_days_is_few_round_trips(rooms, since, units):
    await rooms.declare()
    await rooms.raw.config_resetstat()
    trips, execute = 0, type(rooms.connection.client.pipeline()).execute

    async def counted(pipe, *args, **told):
        nonlocal trips
        trips += 1
        return await execute(pipe, *args, **told)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(rooms.connection.client.pipeline()), "execute", counted)
        await summed(rooms, period(since), "month")
    assert trips == -(-units // AT_ONCE) <= 50
    calls = (await rooms.raw.info("commandstats"))["cmdstat_hgetall"]["calls"]
    assert calls == units + 1, "and the names of the keys"


async def test_every_column_can_be_asked_for_at_once(rooms):
    await rooms.declare()
    await used(rooms, (0 * DAY, {"usd": 1}))
    assert await usd(rooms, period("1h"), *COLUMNS) == {
        "2026-03-01T00:00Z/2026-03-01/2026-03/default/alice/whisper-1/one/transcriptions": 1
    }


async def test_a_store_that_is_away_is_refused(rooms):
    await rooms.raw.set("{ag}:day:20260301", "not a hash")
    with pytest.raises(Refused) as refused:
        await summed(rooms, period("1d"))
    assert refused.value.name == "store_down"


@pytest.mark.parametrize("seed", range(3))
async def test_records_add_up_to_the_sums_corrections_included(rooms, seed):
    """The rule of docs/usage.md for who adds up records: of those with one id the last one counts."""
    dice, start = random.Random(seed), int(NOW.timestamp() * 1000)
    await rooms.declare()
    for number in range(30):
        rooms.connection.now_ms = start + 1000 * number
        rid = request_id(rooms.connection.now_ms, number.to_bytes(10, "big"))
        await rooms.admit(rid, usd=300, ms=5000)
        late = dice.random() < 0.5
        if late:
            rooms.connection.now_ms += LEASE_MS
            await Leases(rooms.connection).reap(dice.choice(["charge", "refund", "mark"]))
        if not late or dice.random() < 0.5:
            usd, ms, status = dice.randrange(300), dice.randrange(5000), dice.choice([200, 500])
            record = {"id": rid, "cost_micro_usd": str(usd), "audio_ms": str(ms), "status": str(status)}
            sums = {"requests": 1, "errors": int(status >= 400), "usd": usd, "ms": ms}
            await rooms.settle(rid, began=began(rid), usd=usd, ms=ms, sums=sums, record=record)
    records = await Stream(rooms.connection, Usage()).page("")
    last = {record.fields["id"]: record.fields for record in records}
    assert len(last) == 30 < len(records)
    counted = (await summed(rooms, period("1d")))[()]
    assert {name: counted[name] for name in ("requests", "errors", "usd", "ms")} == {
        "requests": 30,
        "errors": sum(bool(one.get("error")) or int(one["status"]) >= 400 for one in last.values()),
        "usd": sum(int(one["cost_micro_usd"]) for one in last.values()),
        "ms": sum(int(one["audio_ms"]) for one in last.values()),
    }
    charged = sum(int(one.fields["cost_micro_usd"]) - int(one.fields.get("takes_back", 0)) for one in records)
    assert charged == sum(int(one["cost_micro_usd"]) for one in last.values())
