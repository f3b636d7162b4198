"""Single requests: found by their id, listed newest first."""

import pytest

from gateway.config.model import Usage
from gateway.errors import Refused
from gateway.metrics import Metrics
from gateway.policy.ids import request_id
from gateway.store.books import Books
from gateway.store.connection import Connection
from gateway.store.history import SKEW_SECONDS, History, kept
from gateway.store.leases import Leases
from gateway.store.limits import LEASE_MS
from gateway.store.roll import Roll
from gateway.store.stream import AT_ONCE
from gateway.store.totals import Totals

NOW = 1_750_000_000_000
ALL = lambda _: True  # noqa: E731


def rid_at(ms: int, number: int = 0) -> str:
    return request_id(ms, number.to_bytes(10, "big"))


def history(rooms, **usage) -> History:
    return History(rooms.connection, Usage(**usage), metrics=Metrics(models=(), teams=()))


async def write(rooms, *records: tuple[int, dict[str, str]]) -> None:
    """Records by when they were written."""
    pipe = rooms.raw.pipeline()
    for ms, fields in records:
        pipe.xadd("{ag}:usage", fields, id=f"{ms}-*")
    await pipe.execute()


async def test_a_request_is_found_by_its_id_wherever_it_stands(rooms):
    rids = [rid_at(NOW + number, number) for number in range(3 * AT_ONCE)]
    await write(rooms, *((NOW + 5000 + number, {"id": rid, "n": str(number)}) for number, rid in enumerate(rids)))
    one = history(rooms)
    for number in (0, 1, AT_ONCE, 2 * AT_ONCE + 7, 3 * AT_ONCE - 1):
        (found,) = await one.find(rids[number])
        assert (found.cursor, found.fields["n"]) == (f"{NOW + 5000 + number}-0", str(number))


@pytest.mark.parametrize(
    ("usage", "words"),
    [
        ({}, "Records are kept for ever."),
        ({"keep": 90 * 86_400}, "Records are kept for 90 days, and until they are exported."),
        ({"keep": 36 * 3600, "trim": "always"}, "Records are kept for 36 hours."),
    ],
)
async def test_one_that_is_not_there_is_told_with_how_long_records_are_kept(rooms, usage, words):
    await write(rooms, (NOW, {"id": rid_at(NOW)}))
    rid = rid_at(NOW, 1)
    with pytest.raises(Refused) as refused:
        await history(rooms, **usage).find(rid)
    assert refused.value.row.status == 404
    assert refused.value.message == (
        f"There is no record of '{rid}'. Requests that were let in leave one as they end. {words}"
    )
    assert kept(Usage(**usage)) == words


async def test_the_search_begins_where_the_request_did_and_has_a_bound(rooms):
    one, rid = history(rooms), rid_at(NOW)
    await write(rooms, *((NOW + number, {"id": "x"}) for number in range(2 * AT_ONCE)), (NOW + HOUR, {"id": rid}))
    with pytest.raises(Refused, match="There is no record"):
        await one.find(rid, most=AT_ONCE)
    assert len(await one.find(rid)) == 1
    early = rid_at(NOW + HOUR + SKEW_SECONDS * 1000)
    await write(rooms, (NOW + HOUR, {"id": early}))
    assert len(await one.find(early)) == 1, "its gateway's clock may be ahead of the store's"
    late = rid_at(NOW + HOUR + SKEW_SECONDS * 1000 + 1)
    await write(rooms, (NOW + HOUR, {"id": late}))
    with pytest.raises(Refused, match="There is no record"):
        await one.find(late)


HOUR = 3_600_000


@pytest.mark.parametrize("policy", ["charge", "refund", "mark"])
async def test_a_correction_comes_with_what_it_corrects_however_far_apart_they_are(rooms, policy):
    rid = rid_at(NOW)
    await rooms.declare()
    rooms.connection.now_ms = NOW
    await rooms.admit(rid, usd=300)
    rooms.connection.now_ms += LEASE_MS
    await Leases(rooms.connection).reap(policy)
    end = int((await rooms.raw.xinfo_stream("{ag}:usage"))["last-generated-id"].split(b"-")[0])
    await rooms.raw.xadd("{ag}:usage", {"id": "x"}, id=f"{end + 1}-0")
    assert [one.fields["error"] for one in await history(rooms).find(rid)] == [
        "unsettled" if policy == "mark" else "expired"
    ]
    await write(rooms, *((end + 2, {"id": "x"}) for _ in range(2 * AT_ONCE)))
    assert await rooms.settle(rid, usd=120, began=NOW / 1000)
    first, second = await history(rooms).find(rid)
    assert first.fields["cost_micro_usd"] == ("300" if policy == "charge" else "0")
    assert (second.fields["cost_micro_usd"], second.fields["takes_back"]) == ("120", first.fields["cost_micro_usd"])


async def test_the_last_ones_come_newest_first_page_by_page(rooms):
    total = 2 * AT_ONCE + 50
    await write(rooms, *((NOW + number // 2, {"id": str(number)}) for number in range(total)))
    one, found, before = history(rooms), list[str](), ""
    while True:
        some, before = await one.latest(60, ALL, before=before)
        found += [record.fields["id"] for record in some]
        if not before:
            break
        assert len(some) == 60
        assert some[-1].cursor == before
    assert found == [str(number) for number in reversed(range(total))]
    assert await history(rooms).latest(5, ALL, before="0-1") == ([], "")


async def test_a_list_looks_at_so_many_and_tells_where_it_stopped(rooms):
    await write(rooms, *((NOW + number, {"id": str(number)}) for number in range(1000)))

    def seldom(fields) -> bool:
        return fields["id"].endswith("00")

    one = history(rooms)
    some, before = await one.latest(5, seldom, most=250)
    assert ([record.fields["id"] for record in some], before) == (["900", "800"], f"{NOW + 750}-0")
    some, before = await one.latest(5, seldom, before=before)
    assert [record.fields["id"] for record in some] == ["700", "600", "500", "400", "300"]
    some, before = await one.latest(5, seldom, before=before)
    assert ([record.fields["id"] for record in some], before) == (["200", "100"], "")


async def test_books_list_by_key_team_and_failure_and_write_down_every_look(rooms):
    await rooms.declare()
    kid = rooms.presented.kid
    rows = [
        {"id": "1", "key": kid, "team": "default", "status": "200", "error": ""},
        {"id": "2", "key": kid, "team": "red", "status": "400", "error": ""},
        {"id": "3", "key": "0123456789", "team": "red", "error": "expired"},
        {"id": "4", "key": "0123456789", "team": "red", "status": "200", "error": ""},
    ]
    await write(rooms, *((NOW + number, row) for number, row in enumerate(rows)))
    roll = Roll(rooms.connection, door="cli")
    books = Books(Totals(rooms.connection), history(rooms), roll)

    async def listed(**told) -> str:
        return "".join(one.fields["id"] for one in (await books.requests(10, **told))[0])

    assert await listed() == "4321"
    assert await listed(key="alice") == await listed(key=kid) == "21"
    assert await listed(key="0123456789") == "43"
    assert await listed(team="red") == "432"
    assert await listed(errors=True) == "32"
    assert await listed(team="red", key="alice", errors=True) == "2"
    assert await listed(key="nobody") == ""
    with pytest.raises(Refused):
        await books.request(rid_at(NOW))
    deeds = [(deed.action, deed.what, deed.result) for deed in await roll.audit(2)]
    assert deeds == [("requests.show", rid_at(NOW), "none"), ("requests.list", "*", "ok")]


async def test_over_several_shards_requests_are_found_and_listed_by_time(url):
    metrics = Metrics(models=(), teams=())
    connection = Connection(url, metrics, shards=16)
    try:
        one = History(connection, Usage(keep=3600), metrics=metrics)
        for number in range(40):
            shard = connection.shards[number * 7 % 16]
            fields = {"id": rid_at(NOW + number, number), "n": str(number)}
            await shard.client.xadd(shard.name("usage"), fields, id=f"{NOW + number}-0")
        found, before = await one.latest(25, ALL)
        assert [record.fields["n"] for record in found] == [str(number) for number in range(39, 14, -1)]
        rest, before = await one.latest(25, ALL, before=before)
        assert ([record.fields["n"] for record in rest], before) == ([str(n) for n in range(14, -1, -1)], "")
        for number in (0, 17, 39):
            (record,) = await one.find(rid_at(NOW + number, number))
            assert record.fields["n"] == str(number)
        with pytest.raises(Refused, match="name one shard, 0 to 15: each has records of its own"):
            one.stream()
        for shard in (-1, 16):
            with pytest.raises(Refused, match="name one shard"):
                one.stream(shard)
        (first, *_) = await one.stream(7).page("")
        assert first.fields["n"] == "1"
        await one.stream(7).commit(first.cursor)
        await one.trim()
        text = metrics.render().decode()
        assert "audiogate_usage_records 39.0" in text
        assert "audiogate_usage_unexported 39.0" in text
    finally:
        await connection.close()


async def test_with_one_shard_none_need_be_named(rooms):
    one = history(rooms)
    assert one.stream() is one.stream(None) is one.stream(0)
    with pytest.raises(Refused, match="name one shard, 0 to 0"):
        one.stream(1)
