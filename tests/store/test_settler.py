"""From the journal to the store: what is refused for good, and what must not be sent again."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from gateway.errors import Refused
from gateway.metrics import Metrics
from gateway.policy.ids import request_id
from gateway.policy.limits import Amounts
from gateway.settler import AT_ONCE, Settler
from gateway.store.connection import Connection
from gateway.store.journal import KNOWN, Journal
from gateway.store.usage import Settlement, hour_and_day
from tests.running import until
from tests.servers import EACH_ENGINE, listening
from tests.store.conftest import rooms_on
from tests.wires import Wire, wired

START = 1_750_000_000.0
NUMBERS = iter(range(10**9))


@dataclass
class Gateway:
    """One gateway's way to the store. `now` is what its journal's clock shows."""

    settler: Settler
    journal: Journal
    wire: Wire
    now: float = START

    async def replayed(self) -> list[str]:
        """What the store took, once it could be asked."""

        async def asked() -> list[str] | None:
            try:
                return await self.settler.replay()
            except Refused:
                return None

        found: list[str] = await until(asked, lambda took: took is not None)
        return found


@asynccontextmanager
async def gateway_on(url: str, folder: Path) -> AsyncIterator[Gateway]:
    async with wired(url) as wire:
        metrics = Metrics(models=(), teams=())
        connection = Connection(wire.url, metrics)
        journal = Journal(folder, clock=lambda: found.now)
        found = Gateway(Settler(connection, journal, metrics=metrics), journal, wire)
        journal.open()
        try:
            yield found
        finally:
            await journal.close()
            await connection.close()


@pytest.fixture
async def gateway(rooms, url, tmp_path) -> AsyncIterator[Gateway]:
    await rooms.declare()
    async with gateway_on(url, tmp_path) as found:
        yield found


def bill(rooms, usd: int, *, at: float = START) -> Settlement:
    rid = request_id(int(at * 1000), next(NUMBERS).to_bytes(10))
    return rooms.settlement(rid, usd=usd, began=at)


async def spent(rooms) -> int:
    return (await rooms.numbers("alice")).used["total"][0]


async def lost(gateway: Gateway, one: Settlement) -> None:
    """The store takes it, and no answer comes back."""
    gateway.wire.eats = lambda data: b"settled" in data or b"again" in data
    assert not await gateway.settler.settle(one)
    gateway.wire.eats = lambda _: False


def warnings(caplog: pytest.LogCaptureFixture) -> Iterator[str]:
    return (record.getMessage() for record in caplog.records if "are not sent again" in record.getMessage())


async def test_what_the_store_never_takes_does_not_keep_the_rest_waiting(rooms, gateway, caplog):
    """More of it, and older, than one round sends."""
    for _ in range(AT_ONCE + 10):
        one = bill(rooms, 1)
        await gateway.journal.keep(replace(one, used=Amounts(usd=-1)))
    good = [bill(rooms, 5) for _ in range(20)]
    for one in good:
        await gateway.journal.keep(one)
    took: list[str] = []
    for _ in range(3):
        took += await gateway.replayed()
    assert sorted(took) == [one.rid for one in good]
    assert await spent(rooms) == 100
    assert await gateway.journal.count() == AT_ONCE + 10, "it stays, for somebody to look at"
    assert "the store does not take request" in caplog.text


@pytest.mark.parametrize("bad", [-1, 2**53, 10**30])
async def test_what_the_store_does_not_take_is_written_nowhere(rooms, gateway, bad):
    one = bill(rooms, 5)
    before = await rooms.everything()
    assert not await gateway.settler.settle(replace(one, used=Amounts(usd=bad)))
    assert not await gateway.settler.settle(replace(bill(rooms, 5), cost=Amounts(usd=bad)))
    assert not await gateway.settler.settle(replace(bill(rooms, 5), sums={"usd": bad}))
    assert await rooms.everything() == before
    assert await gateway.settler.settle(bill(rooms, 5)), "the next one is"
    assert await spent(rooms) == 5


async def test_Q_20_an_answer_that_was_lost_is_asked_for_until_the_store_may_have_forgotten(rooms, gateway, caplog):
    one, other = bill(rooms, 70), bill(rooms, 7)
    await lost(gateway, one)
    await lost(gateway, other)
    assert await spent(rooms) == 77, "it was taken"
    gateway.now = START + KNOWN - 1
    assert sorted(await gateway.replayed()) == sorted([one.rid, other.rid])
    assert await spent(rooms) == 77, "once"
    assert await gateway.journal.count() == 0
    assert list(warnings(caplog)) == []


async def test_Q_20_what_was_sent_too_long_ago_is_told_and_never_sent_again(rooms, gateway, caplog):
    one = bill(rooms, 70)
    await lost(gateway, one)
    gateway.now = START + KNOWN
    hour, _ = hour_and_day(one.began)
    assert await rooms.raw.delete(f"{{ag}}:done:{hour}") == 1  # as the server does in time
    caplog.set_level(logging.ERROR, "audiogate")
    for _ in range(5):
        assert await gateway.replayed() == []
    assert await spent(rooms) == 70, "it would be charged twice"
    (told,) = warnings(caplog)
    assert told.startswith("1 settlements in the journal were sent over a day ago")
    assert "audiogate requests show" in told
    await lost(gateway, bill(rooms, 7))
    assert len(list(warnings(caplog))) == 1
    gateway.now += KNOWN
    await gateway.replayed()
    assert len(list(warnings(caplog))) == 2, "told again when there are more"
    assert await gateway.journal.count() == 2


async def test_Q_20_what_was_never_sent_is_sent_however_late(rooms, gateway, caplog):
    gateway.wire.refuses = True
    gateway.wire.cut()
    bills = [bill(rooms, 10**number) for number in range(8)]
    for one in bills:
        assert not await gateway.settler.settle(one)
    assert len(await gateway.journal.owed(AT_ONCE)) == 8
    gateway.now = START + 10 * KNOWN
    late = await gateway.journal.owed(AT_ONCE)
    assert 0 < len(late) < 8, "the first ones were tried, and then the breaker opened"
    gateway.wire.refuses = False
    assert sorted(await gateway.replayed()) == sorted(one.rid for one in late)
    assert await spent(rooms) == sum(one.used.usd for one in late)
    assert await gateway.journal.stuck() == 8 - len(late)


async def test_what_a_dead_process_had_settled_is_sent_again_by_its_heir(rooms, url, tmp_path):
    """Both ended together, and the store came back from an old copy: only the journal knows of it."""
    await rooms.declare()
    async with gateway_on(url, tmp_path) as dead:
        assert await dead.settler.settle(bill(rooms, 70))
    assert await spent(rooms) == 70
    await rooms.raw.flushall()
    await rooms.declare()
    async with gateway_on(url, tmp_path) as heir:
        heir.now = START + KNOWN - 1
        for _ in range(3):
            await heir.replayed()
        assert await heir.journal.count() == 0
    assert await spent(rooms) == 70, "sent again, and charged once"
    assert await rooms.raw.xlen("{ag}:usage") == 1


async def test_what_the_store_still_knows_is_charged_once_though_an_heir_sends_it_again(rooms, url, tmp_path):
    await rooms.declare()
    one = bill(rooms, 70)
    async with gateway_on(url, tmp_path) as dead:
        assert await dead.settler.settle(one)
    async with gateway_on(url, tmp_path) as heir:
        assert [*await heir.replayed(), *await heir.replayed(), *await heir.replayed()] == [one.rid]
    assert await spent(rooms) == 70


async def test_an_heir_does_not_send_what_the_store_may_have_forgotten(rooms, url, tmp_path):
    await rooms.declare()
    async with gateway_on(url, tmp_path) as dead:
        assert await dead.settler.settle(bill(rooms, 70))
    hour, _ = hour_and_day(START)
    assert await rooms.raw.delete(f"{{ag}}:done:{hour}") == 1  # as the server does in time
    async with gateway_on(url, tmp_path) as heir:
        heir.now = START + KNOWN
        for _ in range(3):
            assert await heir.replayed() == []
    assert await spent(rooms) == 70, "it would be charged twice"


@pytest.mark.parametrize("engine", EACH_ENGINE)
async def test_a_server_that_is_replaced_before_the_first_replay_gets_what_its_predecessor_took(engine, tmp_path):
    first, second = ExitStack(), ExitStack()
    with first, second:
        server = first.enter_context(listening(engine))
        await server.answering()
        async with gateway_on(server.url, tmp_path) as gateway:
            async with rooms_on(server.url) as rooms:
                await rooms.declare()
                assert await gateway.settler.settle(bill(rooms, 70))
            first.close()
            await second.enter_context(listening(engine, ports=(server.port, server.bus))).answering()
            async with rooms_on(server.url) as rooms:
                await rooms.declare()
                assert await spent(rooms) == 0
                assert len(await gateway.replayed()) == 1
                assert await spent(rooms) == 70


async def test_it_is_written_down_before_a_store_is_asked_that_says_nothing(rooms, gateway):
    """From the first settlement of a process on: a kill while the store hangs must not lose it."""
    gateway.wire.silent = True
    one = bill(rooms, 70)
    settling = asyncio.ensure_future(gateway.settler.settle(one))
    try:
        await until(gateway.journal.count, bool, seconds=1)
    finally:
        gateway.wire.silent = False
        assert await settling
    assert await spent(rooms) == 70
