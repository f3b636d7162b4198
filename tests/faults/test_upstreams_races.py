"""Two sides that act at the same moment: callers who hang up, connections that close, answers before the end."""

import asyncio
import os
import random
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from tests.faults.books import Books
from tests.faults.checker import served
from tests.faults.upstreams import BOTH_WAYS, Draw, fleet, in_turn, noted, statuses, upload
from tests.stub import Answer, failed

WORKERS = 30
LONG = float(os.environ.get("SOAK_SECONDS", "60"))
SOUND = random.Random(16).randbytes(1_500_000)


def later(dice: random.Random) -> Draw:
    """Answers after up to 20 ms, in any framing; one connection in ten is closed behind an answer."""

    def draw() -> Answer:
        answer = served()
        answer.chunked = dice.random() < 0.5
        answer.cut = dice.random() < 0.1 and not answer.chunked
        answer.hold = asyncio.Event()
        asyncio.get_running_loop().call_later(dice.random() * 0.02, answer.hold.set)
        return answer

    return draw


@pytest.mark.timeout(900)
@pytest.mark.parametrize("seconds", [0.5, pytest.param(LONG, marks=pytest.mark.soak)])
async def test_U_14_callers_that_come_and_go_leave_nothing_behind(store_url: str, data: Path, seconds: float) -> None:
    """Each of thirty hangs up within 30 ms, or stays; then a hundred who stay are served."""
    dice = random.Random(14)
    came = Counter[str]()
    loop = asyncio.get_running_loop()
    async with fleet(store_url, data, later(dice)) as one:
        over = loop.time() + seconds

        def enough() -> bool:
            return loop.time() > over and min(came["stayed"], came["went"]) > WORKERS

        async def worker() -> None:
            while not enough():
                asking = asyncio.ensure_future(one.ask(dice.choice(BOTH_WAYS)))
                await asyncio.wait([asking], timeout=dice.random() * 0.03 if dice.random() < 0.8 else None)
                asking.cancel()
                (told,) = await asyncio.gather(asking, return_exceptions=True)
                came["went" if isinstance(told, asyncio.CancelledError) else "stayed"] += 1

        await asyncio.gather(*(worker() for _ in range(WORKERS)))
        after = await one.crowd(100, *BOTH_WAYS, at_once=10)
        figures = await one.books()
        await one.gateway.asked(connections=0, requests=0)
        assert one.gateway.app.parts.client.under_way("a") == 0
    print(f"U-14 {seconds:.1f} s: {dict(came)}, then {statuses(after)}; {figures}")
    assert statuses(after) == {200: 100}


def closing(dice: random.Random) -> Draw:
    """Connections are closed as their next request comes: behind the answer, before it is read, or once it is."""

    def draw() -> Answer:
        answer, luck = served(), dice.random()
        if luck < 0.3:
            answer.cut = True
        elif luck < 0.7:
            answer.stale = "read" if luck < 0.5 else "unread"
        return answer

    return draw


@pytest.mark.timeout(900)
@pytest.mark.parametrize("count", [500, pytest.param(10_000, marks=pytest.mark.soak)])
async def test_U_15_a_kept_connection_that_is_closed_just_then_costs_nobody_anything(
    store_url: str, data: Path, count: int
) -> None:
    async with fleet(store_url, data, closing(random.Random(15))) as one:
        told = await one.crowd(count, *BOTH_WAYS)
        figures = await one.books()
        rows = (await Books.read(one.checker.client)).rows
    again = one.seen[0] - count
    print(f"U-15 {count} requests, {again} of them sent again; {figures}")
    assert statuses(told) == {200: count}
    assert all(each.whole for each in told)
    assert Counter(row["attempts"] for row in rows) == {"1": count}
    assert again > count / 20, "there was no race"


EARLY = {"413": (413, 413), "401": (401, 502)}


@pytest.mark.parametrize(("status", "told_status"), EARLY.values(), ids=EARLY)
@pytest.mark.parametrize("pace", ["slow", "fast"])
async def test_U_16_an_answer_that_comes_during_the_upload_is_delivered(
    store_url: str, data: Path, pace: str, status: int, told_status: int
) -> None:
    """The upstream reads no more of it, and hangs up on what is still under way."""
    job = upload(SOUND, "fields first")
    half = len(job.body) // 2
    answer = failed(status, "too much", code="enough")
    answer.early = True
    got = Counter[tuple[int, bool]]()
    async with fleet(store_url, data, lambda: replace(answer)) as one:

        async def once(number: int) -> None:
            mine = replace(job, body=job.body + b" " * number)  # an epilogue: no two are alike
            async with one.by_hand(mine) as (wire, told):
                if pace == "fast":
                    sending = asyncio.ensure_future(wire.send(mine.body))
                else:
                    sending = asyncio.ensure_future(wire.send(mine.body[:half]))
                await noted(wire, told, await wire.head())
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)
            got[told.status, told.whole] += 1

        for number in range(0, 40, 10):
            one.forget()
            await asyncio.gather(*(once(number + more) for more in range(10)))
        rows = await one.records(40)
        figures = await one.books()
    print("U-16", pace, status, dict(got), figures)
    assert got == {(told_status, True): 40}
    assert {row["cost_micro_usd"] for row in rows} == {"0"}
    assert not any(seen.whole for seen in one.oracles[0].stub.seen)


async def test_U_16_the_connection_of_an_early_answer_serves_nobody_else(store_url: str, data: Path) -> None:
    """What is left of the upload would be taken for the next request."""
    early = replace(failed(413, "too much"), early=True)
    async with fleet(store_url, data, in_turn(early, served())) as one:
        async with one.by_hand(upload(SOUND, "fields first")) as (wire, told):
            sending = asyncio.ensure_future(wire.send(told.job.body))
            await noted(wire, told, await wire.head())
            sending.cancel()
        assert (await one.ask()).status == 200
        first, second = one.oracles[0].stub.seen
        await asyncio.wait_for(first.closed.wait(), 5)
        assert second.whole
        print("U-16", await one.books())
    assert told.status == 413


async def test_U_16_a_caller_who_goes_on_sending_is_borne_with(store_url: str, data: Path) -> None:
    """What is left of his upload is not taken for a request; the connection ends, or the next one on it is served."""
    early = replace(failed(413, "too much"), early=True)
    job = upload(SOUND, "fields first")
    half = len(job.body) // 2
    async with fleet(store_url, data, in_turn(early, served())) as one:
        async with one.by_hand(job) as (wire, told):
            await wire.send(job.body[:half])
            await noted(wire, told, await wire.head())
            second = None
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                await wire.send(job.body[half:])
                await wire.begin("GET", "/v1/audio/voices")
                second = await wire.answer()
        await one.checker.at_rest(one.gateway)
    assert (told.status, told.whole) == (413, True)
    assert second is None or second.status == 200
    assert [seen.method for seen in one.oracles[0].stub.seen] == ["POST", "GET"][: 1 + (second is not None)]


async def test_U_16_an_early_answer_moves_a_slow_upload_to_the_next(store_url: str, data: Path) -> None:
    job = upload(SOUND, "fields first")
    half = len(job.body) // 2
    early = replace(failed(503), early=True)
    async with fleet(store_url, data, lambda: replace(early), served) as one:
        async with one.by_hand(job) as (wire, told):
            await wire.send(job.body[:half])
            seen = await one.oracles[1].stub.request()
            await seen.has(half // 2)
            await wire.send(job.body[half:])
            await noted(wire, told, await wire.head())
        figures = await one.books()
    print("U-16", figures)
    assert (told.status, one.seen) == (200, [1, 1])
