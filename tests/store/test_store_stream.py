"""The stream of records: read behind a cursor, committed, trimmed; nothing that is not exported ever goes."""

import logging
import random

import pytest

from gateway.config.model import Usage
from gateway.errors import Refused
from gateway.metrics import Metrics
from gateway.store.history import History
from gateway.store.stream import AT_ONCE, Stand, Stream

NOW = 1_750_000_000_000
HOUR = 3_600_000
STREAM, EXPORTED = "{ag}:usage", "{ag}:exported"


def stream(rooms, **usage) -> Stream:
    return Stream(rooms.connection, Usage(**usage))


async def filled(rooms, *cursors: str) -> None:
    """Records with these cursors; what a record holds is its cursor."""
    pipe = rooms.raw.pipeline()
    for cursor in cursors:
        pipe.xadd(STREAM, {"id": cursor}, id=cursor)
    await pipe.execute()


async def left(rooms) -> list[str]:
    return [cursor.decode() for cursor, _ in await rooms.raw.xrange(STREAM)]


async def read_all(one: Stream, after: str = "") -> list[str]:
    found: list[str] = []
    while some := await one.page(after):
        assert len(some) <= AT_ONCE
        assert all(record.fields == {"id": record.cursor} for record in some)
        found += [record.cursor for record in some]
        after = found[-1]
    return found


async def test_records_are_read_in_order_behind_any_cursor(rooms):
    one = stream(rooms)
    assert await one.page("") == []
    assert await one.cursor() == ""
    cursors = [f"{NOW + number // 3}-{number % 3}" for number in range(3 * AT_ONCE + 1)]
    await filled(rooms, *cursors)
    assert await read_all(one) == cursors
    for start in (0, 1, AT_ONCE, 3 * AT_ONCE):
        assert await read_all(one, cursors[start]) == cursors[start + 1 :]
    assert await read_all(one, "0-0") == cursors
    backwards: list[str] = []
    while some := await one.back(backwards[-1] if backwards else ""):
        backwards += [record.cursor for record in some]
    assert backwards == cursors[::-1]


async def test_a_cursor_moves_forward_alone_and_never_beyond_the_end(rooms):
    one = stream(rooms)
    assert await one.commit("5-0") == Stand("beyond", "0-0")
    assert await one.commit("0-0") == Stand("ok", "0-0")
    await filled(rooms, "5-0", "5-10", "90-1", "100-0")
    assert await one.commit("5-10") == Stand("ok", "5-10")
    assert await one.commit("5-10") == Stand("ok", "5-10"), "asked again, as after a lost answer"
    for behind in ("5-9", "5-2", "0-0", "4-999"):
        assert await one.commit(behind) == Stand("behind", "5-10")
    for beyond in ("100-1", "101-0", "900000000000000-0"):
        assert await one.commit(beyond) == Stand("beyond", "5-10")
    assert await one.commit("90-0") == Stand("ok", "90-0"), "between two records"
    assert await one.commit("100-0") == Stand("ok", "100-0")
    assert await one.cursor() == "100-0"


async def test_the_end_is_the_last_cursor_ever_given_even_when_nothing_is_left(rooms):
    one = stream(rooms)
    await filled(rooms, "5-0", "6-0")
    await rooms.raw.xtrim(STREAM, maxlen=0, approximate=False)
    assert await one.commit("6-0") == Stand("ok", "6-0")
    assert await one.commit("6-1") == Stand("beyond", "6-0")


@pytest.mark.parametrize("bad", ["", "x", "5", "5-x", "-1-0"])
async def test_what_is_no_cursor_commits_nothing(rooms, bad):
    await filled(rooms, "5-0")
    with pytest.raises(Refused):
        await stream(rooms).commit(bad)
    assert await stream(rooms).cursor() == ""


async def test_ids_rise_although_the_clock_is_set_back(rooms):
    """What exactly-once stands on: the server never gives an id below one that it gave."""
    ahead = int((await rooms.raw.time())[0]) * 1000 + HOUR
    await filled(rooms, f"{ahead}-7")
    given = [(await rooms.raw.xadd(STREAM, {"id": "x"})).decode() for _ in range(3)]
    assert given == [f"{ahead}-8", f"{ahead}-9", f"{ahead}-10"]
    await rooms.raw.xtrim(STREAM, maxlen=0, approximate=False)
    assert (await rooms.raw.xadd(STREAM, {"id": "x"})).decode() == f"{ahead}-11", "nor when it is empty"


async def test_without_keep_all_stays(rooms):
    rooms.connection.now_ms = NOW
    await filled(rooms, "1-0", "2-0")
    for trim in ("exported", "always"):
        found = await stream(rooms, trim=trim).trim()
        assert (found.records, found.unexported) == (2, 2)
    await stream(rooms).commit("1-0")
    found = await stream(rooms).trim()
    assert (found.records, found.unexported, await left(rooms)) == (2, 1, ["1-0", "2-0"])


async def test_what_is_old_goes_once_it_is_exported(rooms):
    rooms.connection.now_ms = NOW
    old, edge, young = f"{NOW - HOUR - 1}-0", f"{NOW - HOUR}-0", f"{NOW - 1}-0"
    await filled(rooms, "5-0", "5-1", old, edge, young)
    one = stream(rooms, keep=3600)
    assert (await one.trim()).records == 5, "nothing is exported"
    await one.commit("5-0")
    found = await one.trim()
    assert (found.records, found.unexported, await left(rooms)) == (4, 4, ["5-1", old, edge, young])
    await one.commit(young)
    found = await one.trim()
    assert (found.records, found.unexported, await left(rooms)) == (2, 0, [edge, young])
    rooms.connection.now_ms += 1
    await one.trim()
    assert await left(rooms) == [young]


async def test_with_always_age_alone_decides_and_a_reader_is_told_what_it_missed(rooms):
    rooms.connection.now_ms = NOW
    old, older, young = f"{NOW - HOUR - 1}-0", f"{NOW - 2 * HOUR}-0", f"{NOW}-0"
    await filled(rooms, "5-0", older, old, young)
    one = stream(rooms, keep=3600, trim="always")
    await one.commit("5-0")
    found = await one.trim()
    assert (found.records, found.unexported, await left(rooms)) == (1, 1, [young])
    for after in ("5-0", older):
        with pytest.raises(Refused, match=f"records behind {after} are gone: .* all up to {old}; go on from there"):
            await one.page(after)
    assert await read_all(one, old) == [young]
    assert await read_all(one) == [young], "from the beginning means what there is"
    assert [record.cursor for record in await one.page("5-0", whole=False)] == [young]


async def test_a_reader_that_has_everything_is_not_told_that_it_missed_something(rooms):
    rooms.connection.now_ms = NOW
    await filled(rooms, "5-0", "6-0")
    one = stream(rooms, keep=3600, trim="always")
    await one.trim()
    assert await left(rooms) == []
    assert await one.page("6-0") == []


async def test_large_numbers_are_counted_and_let_go_in_steps(rooms, monkeypatch):
    monkeypatch.setattr("gateway.store.stream.MOST_LET_GO", 1000)
    rooms.connection.now_ms = NOW
    cursors = [f"{number + 1}-0" for number in range(5000)]
    await filled(rooms, *cursors)
    one = stream(rooms, keep=3600)
    await one.commit("4321-0")
    found = await one.trim()
    assert (found.records, found.unexported) == (5000 - 4321, 5000 - 4321)
    assert await left(rooms) == cursors[4321:]
    monkeypatch.setattr("gateway.store.stream.MOST_STEPS", 1)
    await one.commit("5000-0")
    found = await one.trim()
    assert found.unexported == 679 - AT_ONCE, "one step counts so many"
    assert 679 - AT_ONCE <= found.records < 679, "and lets go of no more than that"


@pytest.mark.parametrize("seed", range(12))
async def test_trimming_never_passes_the_cursor(rooms, seed):
    """Any order of writing, exporting, committing, trimming and waiting against the sentence in the documents."""
    dice = random.Random(seed)
    keep = dice.choice([3600, 7200])
    one, trim = stream(rooms, keep=keep), stream(rooms, keep=keep).trim
    rooms.connection.now_ms = now = NOW
    written: list[tuple[int, int]] = []
    committed, gone = (0, 0), 0
    for _ in range(60):
        now += dice.choice([0, 1, 60_000, HOUR])
        rooms.connection.now_ms = now
        new = dice.choice([0, 1, 3, 150])
        for _ in range(new):
            last = written[-1] if written else (0, 0)
            written.append((last[0], last[1] + 1) if dice.random() < 0.3 else (max(now, last[0] + 1), 0))
        await filled(rooms, *("{}-{}".format(*at) for at in written[len(written) - new :]))
        if written and dice.random() < 0.4:
            cursor = dice.choice(written)
            result = (await one.commit("{}-{}".format(*cursor))).result
            assert result == ("ok" if cursor >= committed else "behind")
            committed = max(committed, cursor)
        found = await trim()
        there = [tuple(map(int, cursor.split("-"))) for cursor in await left(rooms)]
        kept = [at for at in written if at > committed or at[0] >= now - keep * 1000]
        assert there == kept
        assert (found.records, found.unexported) == (len(kept), sum(at > committed for at in kept))
        gone = max(gone, len(written) - len(kept))
    assert gone, "something was let go, else nothing was tested"


@pytest.mark.parametrize("seed", range(5))
async def test_by_age_alone_the_counts_stay_right(rooms, seed):
    dice = random.Random(seed)
    one = stream(rooms, keep=3600, trim="always")
    now, written, committed = NOW, list[int](), 0
    for _ in range(40):
        now += dice.choice([1, 60_000, HOUR // 2])
        rooms.connection.now_ms = now
        new = [max(now, written[-1] + 1 if written else 0) + number for number in range(dice.choice([0, 1, 150]))]
        await filled(rooms, *(f"{at}-0" for at in new))
        written += new
        if written and dice.random() < 0.4:
            committed = max(committed, dice.choice(written))
            await one.commit(f"{committed}-0")
        found = await one.trim()
        kept = [at for at in written if at >= now - HOUR]
        assert await left(rooms) == [f"{at}-0" for at in kept]
        assert (found.records, found.unexported) == (len(kept), sum(at > committed for at in kept))


async def test_a_warning_once_an_hour_from_the_alarm_on_whoever_looks(rooms, caplog):
    metrics = Metrics(models=(), teams=())
    every = [History(rooms.connection, Usage(alarm=3), metrics=metrics) for _ in range(2)]
    await filled(rooms, "1-0", "2-0")
    for one in every:
        await one.trim()
    assert caplog.messages == []
    await filled(rooms, "3-0")
    await stream(rooms).commit("1-0")
    with caplog.at_level(logging.WARNING):
        for one in every * 2:
            await one.trim()
    (message,) = caplog.messages
    assert "holds 3 usage records, 2 of them not exported (usage.alarm is 3)" in message
    assert await rooms.raw.ttl("{ag}:warned") == pytest.approx(3600, abs=5)
    await rooms.raw.delete("{ag}:warned")
    await every[1].trim()
    assert len(caplog.messages) == 2
    numbers = metrics.render().decode()
    assert "audiogate_usage_records 3.0" in numbers
    assert "audiogate_usage_unexported 2.0" in numbers


async def test_a_store_that_answers_with_an_error_is_refused_as_down(rooms):
    await rooms.raw.set(STREAM, "not a stream")
    one = stream(rooms)
    for work in (one.page(""), one.back(""), one.commit("1-0"), one.trim()):
        with pytest.raises(Refused) as refused:
            await work
        assert refused.value.name == "store_down"
