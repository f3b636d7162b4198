"""Upstreams that are busy, or fail for a while: who is asked instead, how often, and what the caller is told."""

import asyncio
import logging
import random
import socket
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path

import pytest

from tests.faults.checker import served
from tests.faults.upstreams import BOTH_WAYS, Clock, Draw, Fleet, clocked, fleet, in_turn, noted, statuses
from tests.running import configured, running, until, upstream
from tests.stub import Answer, failed

MIDNIGHT = 1_800_000_000.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The gateway's; it stands still."""
    return clocked(monkeypatch)


def busy(**headers: str) -> Draw:
    """Wants to be left alone."""
    return lambda: failed(429, "slow down", **headers)


def dated(seconds: float) -> dict[str, str]:
    """A moment instead of a number."""
    return {"date": formatdate(MIDNIGHT, usegmt=True), "retry-after": formatdate(MIDNIGHT + seconds, usegmt=True)}


# -- U-8, U-9: busy

WAITS: dict[str, tuple[dict[str, str], float]] = {
    "in seconds": ({"retry-after": "7"}, 7),
    "as a date": (dated(7), 7),
    "absurdly long": ({"retry-after": "1000000000"}, 300),
    "longer than any number": ({"retry-after": "9" * 200}, 300),
    "as a date in a hundred years": (dated(3_000_000_000), 300),
}


@pytest.mark.parametrize(("headers", "wait"), WAITS.values(), ids=WAITS)
async def test_U_8_who_asks_to_be_left_alone_is(
    store_url: str, data: Path, clock: Clock, headers: dict[str, str], wait: float
) -> None:
    """Not a single request meanwhile, and from then on requests again; the other one serves."""
    async with fleet(store_url, data, in_turn(busy(**headers)(), served()), served) as one:
        told = [await one.ask()]
        assert one.seen == [1, 1]
        for _ in range(3):
            clock.move(wait / 3 - 0.01)
            told += await one.crowd(9, *BOTH_WAYS)
        assert one.seen == [1, 28]
        clock.move(0.1)
        told.append(await one.ask())
        assert one.seen == [2, 28], "it is back"
        figures = await one.books()
    print("U-8", figures)
    assert statuses(told) == {200: 29}


NO_WAITS = {"nothing": {}, "a word": {"retry-after": "soon"}, "less than nothing": {"retry-after": "-5"}}


@pytest.mark.parametrize("headers", NO_WAITS.values(), ids=NO_WAITS)
async def test_U_8_who_does_not_say_for_how_long_goes_last_for_a_while(
    store_url: str, data: Path, clock: Clock, headers: dict[str, str]
) -> None:
    async with fleet(store_url, data, in_turn(busy(**headers)(), served()), served) as one:
        told = await one.crowd(1) + await one.crowd(9, *BOTH_WAYS)
        assert one.seen == [1, 10]
        clock.move(6)
        told.append(await one.ask())
        assert one.seen == [2, 10]
        print("U-8", await one.books())
    assert statuses(told) == {200: 11}


async def test_U_8_a_failure_that_names_its_time_is_left_alone_for_it(store_url: str, data: Path, clock: Clock) -> None:
    """Such as 503 for maintenance."""
    away = failed(503, "back soon", **{"retry-after": "120"})
    async with fleet(store_url, data, in_turn(away, served()), served) as one:
        told = [await one.ask()]
        clock.move(119)
        told += await one.crowd(9, *BOTH_WAYS)
        assert one.seen == [1, 10]
        clock.move(1.1)
        told.append(await one.ask())
        assert one.seen == [2, 10]
        print("U-8", await one.books())
    assert statuses(told) == {200: 11}


async def test_U_8_being_busy_is_no_failure(store_url: str, data: Path, clock: Clock) -> None:
    """However often: it is not ejected for it, and is asked as soon as it wants to be."""
    turns = in_turn(*[busy(**{"retry-after": "1"})() for _ in range(30)], served())
    async with fleet(store_url, data, turns, served) as one:
        for _ in range(30):
            assert (await one.ask()).status == 200
            clock.move(1.1)
        assert (await one.ask()).status == 200
        print("U-8", await one.books())
    assert one.seen == [31, 30]


async def test_U_9_when_all_are_busy_the_shortest_wait_is_told(store_url: str, data: Path, clock: Clock) -> None:
    """And while they are, nobody is asked; what is left of it is told."""
    places = [busy(**{"retry-after": wait}) for wait in ("40", "7", "20")]
    async with fleet(store_url, data, *places) as one:
        waits = []
        for step in (0.0, 3.0, 3.5):
            clock.move(step)
            async with one.by_hand() as (wire, told):
                await wire.send(told.job.body)
                head = await wire.head()
                await noted(wire, told, head)
                assert (told.status, told.whole) == (429, True)
                waits.append(float(head.headers["retry-after"]))
        assert one.seen == [1, 1, 1]
        clock.move(0.6)
        one.oracles[1].answers.draw = served
        assert (await one.ask()).status == 200
        print("U-9", waits, await one.books())
    assert one.seen == [1, 2, 1]
    for wait, left in zip(waits, (7, 4, 1), strict=True):
        assert abs(wait - left) <= 1


async def test_U_9_a_wait_beyond_all_measure_is_told_as_five_minutes(store_url: str, data: Path, clock: Clock) -> None:
    async with fleet(store_url, data, busy(**{"retry-after": "86400"})) as one:
        async with one.by_hand() as (wire, told):
            await wire.send(told.job.body)
            head = await wire.head()
            await noted(wire, told, head)
        print("U-9", await one.books())
    assert (told.status, float(head.headers["retry-after"])) == (429, 300)


# -- U-10, U-11: one failure


@pytest.mark.parametrize("status", [500, 502, 503, 504])
async def test_U_10_a_failure_is_made_up_for_by_the_next(store_url: str, data: Path, status: int) -> None:
    async with fleet(store_url, data, lambda: failed(status), served) as one:
        for kind in BOTH_WAYS:
            one.forget()
            assert (await one.ask(kind)).status == 200
        rows = await one.records(3)
        figures = await one.books()
    print("U-10", status, figures)
    assert {(row["upstream"], row["attempts"], row["failed"]) for row in rows} == {("b", "2", "a:failed:0")}
    assert one.seen == [3, 3]


@pytest.mark.parametrize("status", [500, 502, 503, 504])
async def test_U_10_where_there_is_no_other_the_same_one_is_asked_again_once(
    store_url: str, data: Path, status: int
) -> None:
    async with fleet(store_url, data, in_turn(*[failed(status), served()] * 3)) as one:
        one.no_pause()
        told = [await one.ask(kind) for kind in BOTH_WAYS]
        rows = await one.records(3)
        figures = await one.books()
    print("U-10", status, figures)
    assert statuses(told) == {200: 3}
    assert {(row["attempts"], row["failed"]) for row in rows} == {("2", "a:failed:0")}
    assert one.seen == [6]


@pytest.mark.parametrize("count", [1, 2, 3])
async def test_U_10_two_failures_are_enough(store_url: str, data: Path, count: int) -> None:
    async with fleet(store_url, data, *[lambda: failed(500)] * count) as one:
        one.no_pause()
        assert (await one.ask()).status == 502
        (row,) = await one.records()
        print("U-10", await one.books())
    assert (row["attempts"], row["cost_micro_usd"]) == ("2", "0")
    assert sum(one.seen) == 2


async def test_U_10_a_reset_by_the_only_one_is_not_followed_by_another_try(store_url: str, data: Path) -> None:
    async with fleet(store_url, data, in_turn(Answer(refuse=True), served())) as one:
        one.no_pause()
        assert (await one.ask()).status == 503, "it was given the request and may have done it"
        print("U-10", await one.books())


async def test_U_10_the_only_one_that_is_away_for_a_moment_is_tried_again(store_url: str, data: Path) -> None:
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))  # and nobody listens
        config = configured(data, upstream("a", f"http://127.0.0.1:{place.getsockname()[1]}/v1"))
        async with running(config, url=store_url) as gateway, gateway.client() as client, AsyncExitStack() as stack:
            gateway.app.parts.draw = lambda: 1.0  # the longest pause there may be
            asking = asyncio.ensure_future(
                client.post("/audio/speech", json={"model": "tts-1", "input": "x", "voice": "x"})
            )

            async def tried() -> float:
                registry = gateway.app.metrics.registry
                labels = {"upstream": "a", "outcome": "unreachable"}
                return registry.get_sample_value("audiogate_upstream_request_duration_seconds_count", labels) or 0.0

            await until(tried, bool)
            await stack.enter_async_context(await asyncio.start_server(_well, sock=place))
            assert (await asking).status_code == 200
            (record,) = await gateway.records()
    assert int(record["attempts"]) in (2, 3)


async def _well(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok")
    writer.close()


@pytest.mark.parametrize("status", [400, 404, 409, 413, 415, 422])
async def test_U_11_what_the_caller_did_wrong_is_told_and_not_tried_again(
    store_url: str, data: Path, status: int
) -> None:
    answer = failed(status, "not like that", code="wrong", type="invalid_request_error")
    async with fleet(store_url, data, lambda: replace(answer), served) as one:
        told = [await one.ask(kind) for kind in BOTH_WAYS * 4]
        rows = await one.records(12)
        assert one.seen == [12, 0], "and it is asked on: it did nothing wrong"
        print("U-11", await one.books())
    assert statuses(told) == {status: 12}
    assert all(b"not like that" in each.body for each in told)
    assert {(row["attempts"], row["cost_micro_usd"]) for row in rows} == {("1", "0")}


@pytest.mark.parametrize("status", [401, 403])
async def test_U_11_a_key_of_ours_that_is_bad_is_no_fault_of_the_caller(
    store_url: str, data: Path, clock: Clock, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    answer = failed(status, "Incorrect API key provided: sk-secret-of-a", code="invalid_api_key")
    async with fleet(store_url, data, lambda: replace(answer)) as one:
        with caplog.at_level(logging.WARNING, "audiogate"):
            told = [await one.ask(kind) for kind in BOTH_WAYS * 4]
        rows = await one.records(12)
        print("U-11", await one.books())
        assert one.gateway.app.parts.health.unhealthy() == {"a"}
    assert statuses(told) == {502: 12}
    assert not any(
        b"key provided" in each.body or b"sk-" in each.body or b"invalid_api_key" in each.body for each in told
    )
    assert {(row["attempts"], row["cost_micro_usd"]) for row in rows} == {("1", "0")}
    alerts = [record for record in caplog.records if "does not accept our key" in record.getMessage()]
    assert len(alerts) == 1, "told once, not with every request"
    assert alerts[0].levelno == logging.ERROR
    assert "sk-secret" not in caplog.text


@pytest.mark.parametrize("status", [401, 403])
async def test_U_11_beside_it_the_next_upstream_serves(store_url: str, data: Path, clock: Clock, status: int) -> None:
    async with fleet(store_url, data, lambda: failed(status), served) as one:
        told = await one.crowd(1) + await one.crowd(20, *BOTH_WAYS)
        assert one.seen == [1, 21], "it is not asked again"
        print("U-11", await one.books())
    assert statuses(told) == {200: 21}


# -- U-12, U-13, U-26: for longer


async def rush(one: Fleet, clock: Clock, seconds: float, *, rate: float) -> Counter[int]:
    """Requests at this rate for so long, by the moved clock; the statuses that were told."""
    came, began = Counter[int](), clock.now
    for number in range(1, int(seconds * rate) + 1):
        came[(await one.ask()).status] += 1
        clock.now = began + number / rate
    return came


@pytest.mark.timeout(900)
@pytest.mark.parametrize("upstreams", [1, 3])
@pytest.mark.parametrize(("seconds", "rate"), [(10, 20), pytest.param(60, 50, marks=pytest.mark.soak)])
async def test_U_12_what_is_tried_again_never_doubles_the_load(
    store_url: str, data: Path, clock: Clock, seconds: int, rate: int, upstreams: int
) -> None:
    async with fleet(store_url, data, *[lambda: failed(500)] * upstreams) as one:
        one.no_pause()
        came = await rush(one, clock, seconds, rate=rate)
        figures = await one.books()
    asked, seen = rate * seconds, sum(one.seen)
    print(f"U-12 {upstreams} upstreams, {seconds} s: {asked} requests, {seen} attempts ({seen / asked:.2f}); {figures}")
    assert came == {502: asked}
    assert asked * 1.2 < seen <= 1.2 * asked + 10 * seconds


async def test_U_13_one_that_fails_half_the_time_is_ejected_and_comes_back(
    store_url: str, data: Path, clock: Clock
) -> None:
    """It is asked first, five times a second: ejected within ten seconds, left alone for thirty, then it serves."""
    dice = random.Random(13)
    sick = [True]

    def half() -> Answer:
        return failed(500) if sick[0] and dice.random() < 0.5 else served()

    async with fleet(store_url, data, half, served, served, priority=(1, 2, 2)) as one:
        a = one.oracles[0].stub
        before = await rush(one, clock, 10, rate=5)
        assert one.gateway.app.parts.health.unhealthy() == {"a"}
        seen = len(a.seen)
        out = await rush(one, clock, 19, rate=5)
        rested = len(a.seen) - seen
        sick[0] = False
        after = await rush(one, clock, 30, rate=5)
        back = len(a.seen) - seen - rested
        figures = await one.books()
    print(f"U-13 {dict(before)}, out: {dict(out)} and {rested} there, back: {dict(after)} and {back} there; {figures}")
    assert (rested, out, after) == (0, {200: 95}, {200: 150})
    assert back > 75


async def test_U_13_among_equals_one_that_fails_half_the_time_is_avoided(
    store_url: str, data: Path, clock: Clock
) -> None:
    """A failure counts as five seconds: the quick ones go first at once, and for as long as that is remembered."""
    dice = random.Random(13)
    sick = [True]

    def half() -> Answer:
        return failed(500) if sick[0] and dice.random() < 0.5 else served()

    async with fleet(store_url, data, half, served, served, priority=1) as one:
        one.gateway.app.parts.draw = dice.random
        a = one.oracles[0].stub
        before = await rush(one, clock, 10, rate=10)
        seen = len(a.seen)
        out = await rush(one, clock, 20, rate=10)
        avoided = len(a.seen) - seen
        sick[0] = False
        waited = 0
        while len(a.seen) - seen - avoided < 5:
            assert await rush(one, clock, 10, rate=2) == {200: 20}
            waited += 10
            assert waited <= 200, "it never comes back"
        figures = await one.books()
    print(f"U-13 {dict(before)} and {seen} there, then {avoided} of 200, back within {waited} s; {figures}")
    assert statuses_good(before + out) > 0.99
    assert avoided <= 10


def statuses_good(came: Counter[int]) -> float:
    """The share of those that were served."""
    return came[200] / came.total()


async def test_U_13_each_ejection_is_longer_than_the_last(store_url: str, data: Path, clock: Clock) -> None:
    """30 s, 60 s and so on up to five minutes, and a tenth of that at most; one request tries it in between."""
    async with fleet(store_url, data, lambda: failed(500), served) as one:
        for _ in range(5):
            assert (await one.ask()).status == 200
        for count in range(1, 14):
            rest = min(30.0 * count, 300.0)
            clock.move(rest - 0.1)
            assert (await one.ask()).status == 200
            assert one.seen[0] == 4 + count, "it rests"
            clock.move(0.1 * rest + 0.2)
            assert (await one.ask()).status == 200
            assert one.seen[0] == 5 + count, "it is tried"
        print("U-13", await one.books())


async def test_U_13_after_its_rest_one_request_tries_it_and_not_a_crowd(
    store_url: str, data: Path, clock: Clock
) -> None:
    async with fleet(store_url, data, lambda: failed(500), served) as one:
        for _ in range(5):
            assert (await one.ask()).status == 200
        for tries in range(1, 6):
            clock.move(400)
            assert statuses(await one.crowd(30, at_once=30)) == {200: 30}
            assert one.seen[0] == 5 + tries
        print("U-13", await one.books())


async def test_U_13_a_model_that_fails_takes_nothing_from_the_others(store_url: str, data: Path, clock: Clock) -> None:
    """Speech fails there, transcriptions do not: the ejection is that of the one model."""

    def draw() -> Answer:
        last = one.oracles[0].stub.seen[-1]
        return failed(500) if last.target.endswith("speech") else served()

    async with fleet(store_url, data, draw, served) as one:
        for _ in range(10):
            assert (await one.ask("speech")).status == 200
        assert one.seen == [5, 10]
        for _ in range(10):
            assert (await one.ask("fields first")).status == 200
        assert one.seen == [15, 10]
        print("U-13", await one.books())


@pytest.mark.parametrize("upstreams", [1, 2, 3])
async def test_U_26_when_all_are_ejected_all_are_asked(
    store_url: str, data: Path, clock: Clock, upstreams: int
) -> None:
    """Nobody is refused for what was seen before: as soon as one of them serves, so does the gateway."""
    sick = [True]
    draws = [lambda: failed(500) if sick[0] else served()] * upstreams
    async with fleet(store_url, data, *draws) as one:
        one.no_pause()
        assert statuses(await one.crowd(30, at_once=1)) == {502: 30}
        assert one.gateway.app.parts.health.unhealthy() == set("abc"[:upstreams])
        before = sum(one.seen)
        assert statuses(await one.crowd(10, *BOTH_WAYS)) == {502: 10}
        assert sum(one.seen) >= before + 10
        sick[0] = False
        assert statuses(await one.crowd(30, *BOTH_WAYS)) == {200: 30}
        print("U-26", await one.books())
