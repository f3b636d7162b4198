"""The store dies and comes back, gateways die and come back: nothing is lost, nothing is charged twice."""

import asyncio
import os
import signal
import sqlite3
from pathlib import Path

import httpx2
import pytest

from gateway.config.model import Team
from gateway.errors import SetupError
from gateway.policy.limits import Limit
from tests.faults.stores import mortal, with_mode
from tests.running import Running, configured, running, until, upstream
from tests.stub import said, stub

SPEECH = {"model": "tts-1", "voice": "alloy", "input": "hello"}  # five characters: 75 micro-USD


async def speak(client: httpx2.AsyncClient) -> httpx2.Response:
    return await client.post("/audio/speech", json=SPEECH)


async def total(gateway: Running) -> int:
    """What key, team and upstream were charged in all: the same for each."""
    client = gateway.app.connection.client
    scopes = [key async for key in client.scan_iter("{ag}:[ktu]:*")]
    text = "local s = redis.call('HGET', KEYS[1], 's') return s and cmsgpack.unpack(s)[27] or 0"
    found = {scope: int(await client.eval(text, 1, scope)) for scope in scopes}
    assert len(set(found.values())) == 1, found
    return next(iter(found.values()))


async def settled(gateway: Running, count: int) -> None:
    """Wait until so many requests stand in the store, and nothing is owed."""

    async def owed() -> tuple[int, int]:
        if not await gateway.app.connection.alive():
            return -1, -1
        return await gateway.app.journal.count(), int(await gateway.app.connection.client.xlen("{ag}:usage"))

    await until(owed, lambda found: found == (0, count), seconds=20)


async def test_R_2_known_keys_go_on_while_the_store_is_away_and_everything_is_charged_once(data: Path) -> None:
    async with stub() as one, mortal(data) as store:
        config = with_mode(configured(data, upstream("a", one.url)), "grace")
        async with running(config, url=store.url) as gateway, gateway.client() as client:
            assert (await speak(client)).status_code == 200
            await settled(gateway, 1)
            await store.kill()
            answers = [await speak(client) for _ in range(10)]
            assert [answer.status_code for answer in answers] == [200] * 10
            assert (await client.get(gateway.origin + "/readyz")).status_code == 200
            assert await gateway.app.journal.count() == 10
            await store.start()
            await settled(gateway, 11)
            await gateway.idle()
            assert await total(gateway) == 11 * 75


async def test_R_2_the_grace_of_a_team_ends_at_the_stated_amount(data: Path) -> None:
    async with stub() as one, mortal(data) as store:
        config = with_mode(configured(data, upstream("a", one.url)), "grace", usd="0.00025")  # three times 75 micro-USD
        async with running(config, url=store.url) as gateway, gateway.client() as client:
            assert (await speak(client)).status_code == 200
            await store.kill()
            codes = [(await speak(client)).status_code for _ in range(6)]
            assert codes == [200, 200, 200, 503, 503, 503]
            await store.start()
            await settled(gateway, 4)
            assert await total(gateway) == 4 * 75


async def test_R_2_closed_lets_nothing_through_and_says_when_to_come_again(data: Path) -> None:
    async with stub() as one, mortal(data) as store:
        config = with_mode(configured(data, upstream("a", one.url)), "closed")
        async with running(config, url=store.url) as gateway, gateway.client() as client:
            assert (await speak(client)).status_code == 200
            await settled(gateway, 1)
            await store.kill()
            answer = await speak(client)
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "store_unavailable")
            assert "retry-after" in answer.headers
            assert (await client.get(gateway.origin + "/readyz")).status_code == 503
            assert (await client.get(gateway.origin + "/livez")).status_code == 200
            await store.start()

            async def again() -> int:
                return (await speak(client)).status_code

            await until(again, lambda status: status == 200)
        assert len(one.seen) == 2, "what was refused never left"


async def test_R_2_a_key_that_was_never_let_in_here_does_not_go_on_without_the_store(data: Path) -> None:
    async with stub() as one, mortal(data) as store:
        config = with_mode(configured(data, upstream("a", one.url)), "open")
        async with running(config, url=store.url) as gateway, gateway.client() as client:
            await store.kill()
            assert (await speak(client)).status_code == 503
            await store.start()
        assert one.seen == []


@pytest.mark.parametrize("mode", ["grace", "closed"])
async def test_R_2_a_store_killed_under_load_loses_no_charge_and_makes_none_twice(data: Path, mode: str) -> None:
    async with stub() as one, mortal(data) as store:
        one.answers = [said()]
        config = configured(
            data, upstream("a", one.url), teams={"default": Team("default", limits=(Limit("usd", "total", 10**12),))}
        )
        async with running(with_mode(config, mode), url=store.url) as gateway, gateway.client() as client:
            served = 0
            stop = asyncio.Event()

            async def ask() -> None:
                nonlocal served
                while not stop.is_set():
                    good = (await speak(client)).status_code == 200
                    served += good  # not `+= await`: that would read the count before the answer is here

            crowd = [asyncio.ensure_future(ask()) for _ in range(16)]
            await until(lambda: count_of(lambda: served), lambda number: number >= 50)
            await store.kill()
            before = served
            if mode == "grace":
                await until(lambda: count_of(lambda: served), lambda number: number >= before + 50)
            await store.start()
            await until(lambda: count_of(lambda: served), lambda number: number >= before + 100)
            stop.set()
            await asyncio.gather(*crowd)
            client_ = gateway.app.connection.client

            async def at_rest() -> tuple[int, int]:
                return await gateway.app.journal.count(), int(await client_.hlen("{ag}:held"))

            await until(at_rest, lambda found: found == (0, 0), seconds=20)
            rows = [fields for _, fields in await client_.xrange("{ag}:usage")]
            charged = [row for row in rows if row["cost_micro_usd"] == "75"]
            assert len({row["id"] for row in rows}) == len(rows), "a record twice"
            assert len(charged) == served == len(one.seen)
            assert await total(gateway) == 75 * served


async def count_of(look) -> int:  # type: ignore[no-untyped-def]
    return look()


async def test_Q_7_what_a_gateway_that_was_killed_owed_is_paid_by_the_next_one(data: Path) -> None:
    async with stub() as one, mortal(data) as store:
        config = with_mode(configured(data, upstream("a", one.url)), "grace")
        async with running(config, url=store.url) as gateway, gateway.client() as client:
            assert (await speak(client)).status_code == 200
            await settled(gateway, 1)
            await store.kill()
            assert [(await speak(client)).status_code for _ in range(5)] == [200] * 5
            await until(gateway.app.journal.count, lambda owed: owed == 5)
            # As after SIGKILL: the lock goes with the process, the file stays.
            os.close(gateway.app.journal._lock)
            gateway.app.journal._lock = os.open(os.devnull, os.O_RDONLY)
            gateway.app.parts.ledger.replay = never  # type: ignore[method-assign]
            await store.start()
            async with running(config, url=store.url) as heir:
                await settled(heir, 6)
                assert await total(heir) == 6 * 75


async def never() -> None:
    """A dead gateway replays nothing."""


async def test_R_5_a_store_that_stalls_charges_nothing_for_what_was_refused_meanwhile(data: Path) -> None:
    """It has the question in its socket and reserves once it goes on; the gateway has long said no."""
    async with stub() as one, mortal(data) as store:
        config = with_mode(configured(data, upstream("a", one.url)), "closed")
        async with running(config, url=store.url) as gateway, gateway.client() as client:
            assert (await speak(client)).status_code == 200
            pid = await store.pid()
            os.kill(pid, signal.SIGSTOP)
            try:
                assert (await speak(client)).status_code == 503
            finally:
                os.kill(pid, signal.SIGCONT)
            await settled(gateway, 2)
            await gateway.idle()
            assert await total(gateway) == 75
            rows = [fields for _, fields in await gateway.app.connection.client.xrange("{ag}:usage")]
    assert sorted(row["cost_micro_usd"] for row in rows) == ["0", "75"]
    assert len(one.seen) == 1


async def test_background_work_that_fails_is_done_again(data: Path) -> None:
    """A full disk once, and nothing would ever be replayed again."""
    async with (
        stub() as one,
        mortal(data) as store,
        running(configured(data, upstream("a", one.url)), url=store.url) as gateway,
    ):
        done = asyncio.Event()
        failures = [sqlite3.OperationalError("database or disk is full"), SetupError("no engine")]

        async def work() -> None:
            if failures:
                raise failures.pop()
            done.set()

        task = gateway.app.tasks.repeat(0, work, name="watch this")
        async with asyncio.timeout(10):
            await done.wait()
        task.cancel()
