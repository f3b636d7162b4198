"""Upstreams that are taken out of use: kept once for all, written down, and the same however often it is asked."""

import time

import pytest

from gateway.errors import Refused
from gateway.store.drains import Drains
from gateway.store.roll import Roll

NAMES = ("one", "two")


async def deeds(rooms) -> list[tuple[str, str, str, str]]:
    found = await Roll(rooms.connection, door="test").audit(100)
    return [(one.door, one.action, one.what, one.result) for one in reversed(found)]


async def test_what_is_drained_stays_so_for_everybody_until_it_is_ended(rooms):
    told: list[dict[str, float]] = []
    drains, other = Drains(rooms.connection, door="cli", tell=told.append), Drains(rooms.connection, door="api")
    assert await drains.read() == {}
    before = time.time()
    await drains.begin("one", known=NAMES)
    found = await other.read()
    assert set(found) == {"one"}
    assert found["one"].door == "cli"
    assert before - 1 < found["one"].at < time.time() + 1
    await other.begin("one", known=NAMES)
    assert await drains.read() == found, "since when it is, and who began"
    await other.begin("two", known=NAMES)
    await other.end("one", known=NAMES)
    await drains.follow()
    assert [set(one) for one in told] == [{"one"}, {"two"}]
    await drains.end("two", known=NAMES)
    await drains.end("two", known=NAMES)
    assert await drains.read() == {}
    assert told[-1] == {}
    assert await deeds(rooms) == [
        ("cli", "upstreams.drain", "one", "ok"),
        ("api", "upstreams.drain", "one", "ok"),
        ("api", "upstreams.drain", "two", "ok"),
        ("api", "upstreams.undrain", "one", "ok"),
        ("cli", "upstreams.undrain", "two", "ok"),
        ("cli", "upstreams.undrain", "two", "ok"),
    ]


async def test_a_name_that_there_is_not_is_refused_and_written_down(rooms):
    drains = Drains(rooms.connection, door="cli")
    for work in (drains.begin("three", known=NAMES), drains.end("three", known=NAMES)):
        with pytest.raises(Refused) as caught:
            await work
        assert (caught.value.name, caught.value.message) == ("unknown_name", "There is no upstream called 'three'.")
    assert [row[1:] for row in await deeds(rooms)] == [
        ("upstreams.drain", "three", "none"),
        ("upstreams.undrain", "three", "none"),
    ]
    assert await drains.read() == {}


async def test_one_that_the_configuration_names_no_more_can_be_taken_off_the_list(rooms):
    drains = Drains(rooms.connection, door="cli")
    await drains.begin("one", known=NAMES)
    await drains.end("one", known=("two",))
    assert await drains.read() == {}


async def test_it_never_expires(rooms):
    await Drains(rooms.connection, door="cli").begin("one", known=NAMES)
    assert (await rooms.everything())[b"{ag}:drained"][1] == -1
