"""Wallets looked at over real sockets: what goes out, what may come back, and how often."""

import asyncio
import gc
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from decimal import Decimal

import pytest

from gateway.balances import BYTES, Balances
from gateway.health import Health
from gateway.metrics import Metrics
from gateway.policy.cooling import RESTS
from gateway.upstreams.balance import KEPT, SILENT, UNTOLD, Balance
from gateway.upstreams.base import Outcome, Upstream, Verdict
from tests.aggregator import STATUS, SUBSCRIPTION, TOKEN, USAGE, fill, looks, page, with_wallet
from tests.running import until, upstream
from tests.stub import Answer, Stub, stub

ONE = Balance(Decimal(1), source="token")
DRY = Balance(Decimal(0), source="token", dry=True)


class Clock:
    """Seconds that pass when told to."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


class Told(list[tuple[str, Balance]]):
    """What the wallets were said to be."""

    def __call__(self, name: str, balance: Balance) -> None:
        self.append((name, balance))


def asked(name: str, url: str, **more: object) -> Upstream:
    return upstream(name, url, kind="newapi", balance=True, **more)


def wallets(*upstreams: Upstream, tell: Told | None = None, clock: Clock | None = None) -> Balances:
    return Balances(upstreams, tell=tell if tell is not None else Told(), clock=clock or Clock(), draw=lambda: 0.0)


@asynccontextmanager
async def watched(balances: Balances) -> AsyncIterator[None]:
    """The watches run, and are stopped as the gateway stops them."""
    tasks = [asyncio.ensure_future(work) for work in balances.watches()]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(one, asyncio.CancelledError) for one in ended), ended
    gc.collect()  # a socket or a generator that is left over makes a warning, which is an error


async def test_the_key_goes_to_its_own_upstream_alone_and_not_to_the_public_page() -> None:
    async with stub() as one, stub() as two:
        with_wallet(one, usd=1)
        with_wallet(two).pages |= {SUBSCRIPTION: page({"hard_limit_usd": 3}), USAGE: page({"total_usage": 100})}
        balances = wallets(asked("a", one.url), asked("b", two.url))
        assert await balances.look("a") == ONE
        assert await balances.look("b") == Balance(Decimal(2), source="billing")
    keys = [(seen.target, seen.headers.get("authorization")) for seen in one.seen]
    assert keys == [(TOKEN, "Bearer sk-secret-of-a"), (STATUS, None)]
    key = "Bearer sk-secret-of-b"
    assert [(seen.target, seen.headers.get("authorization")) for seen in two.seen] == [
        (TOKEN, key),
        (SUBSCRIPTION, key),
        (USAGE, key),
        (STATUS, None),
    ]
    assert {(seen.method, seen.headers["user-agent"]) for seen in one.seen + two.seen} == {("GET", "audiogate")}
    assert {seen.headers["accept-encoding"] for seen in one.seen + two.seen} == {"identity"}


async def test_only_upstreams_that_want_it_and_have_a_key_are_asked() -> None:
    url = "http://127.0.0.1:9/v1"
    balances = wallets(upstream("off", url, kind="newapi"), asked("keyless", url, key=None), asked("a", url))
    assert balances.names == ("a",)
    balances.hurry("off")


async def test_a_redirect_is_not_followed_with_the_key() -> None:
    async with stub() as one, stub() as two:
        moved = Answer(status=302, headers={"location": f"http://127.0.0.1:{two.port}{TOKEN}"}, pieces=())
        with_wallet(two, usd=1)
        with_wallet(one).pages |= {TOKEN: moved, SUBSCRIPTION: moved}
        assert await wallets(asked("a", one.url)).look("a") == UNTOLD
    assert two.seen == []
    assert len(one.seen) == 2


PADDING = b" " * BYTES
BROKEN = {
    "a reset": (Answer(refuse=True), SILENT),
    "a cut": (Answer(pieces=(b'{"code":',), headers={"content-length": "99"}, cut=True), SILENT),
    "no HTTP": (Answer(headers={"content-length": "x"}), SILENT),
    "an unfinished head": (Answer(headers={"a": "b" * 200_000}), SILENT),
    "too long": (Answer(pieces=(b'{"data":{"total_available":1,"unlimited_quota":true}}', PADDING)), UNTOLD),
    "compressed": (Answer(headers={"content-encoding": "gzip"}, pieces=(b"\x1f\x8b\x08" + bytes(99),)), UNTOLD),
    "HTML": (Answer(content_type="text/html", pieces=(b"<html></html>",)), UNTOLD),
}


@pytest.mark.parametrize(("answer", "expected"), BROKEN.values(), ids=BROKEN)
async def test_a_broken_answer_makes_the_balance_unknown(answer: Answer, expected: Balance) -> None:
    async with stub() as one:
        with_wallet(one).pages[TOKEN] = answer
        assert await wallets(asked("a", one.url)).look("a") == expected
    gc.collect()


async def test_an_answer_of_just_the_bound_is_read() -> None:
    async with stub() as one:
        text = b'{"data":{"total_available":500000}}'
        with_wallet(one).pages[TOKEN] = Answer(pieces=(text, PADDING[len(text) :]))
        assert await wallets(asked("a", one.url)).look("a") == ONE


async def test_an_upstream_that_never_ends_its_answer_is_given_up_and_hinders_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gateway.dialling.SECONDS", 0.2)
    never = asyncio.Event()
    async with stub() as one, stub() as two, stub() as three:
        with_wallet(one).pages[TOKEN] = Answer(hold=never)
        with_wallet(two).pages[TOKEN] = Answer(pieces=(b'{"a":', b"1}"), gate=never)
        with_wallet(three, usd=1)
        told = Told()
        balances = wallets(asked("a", one.url), asked("b", two.url), asked("c", three.url), tell=told)
        async with watched(balances):
            await until(lambda: _now(len(told)), lambda count: count == 3)
    assert told[0] == ("c", ONE)
    assert sorted(told[1:], key=str) == [("a", SILENT), ("b", SILENT)]


async def test_an_answer_that_trickles_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.dialling.SECONDS", 0.2)
    gone = asyncio.Event()

    async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 60000\r\n\r\n")
        with suppress(ConnectionError):  # it may leave bytes unread, which resets the connection
            while not reader.at_eof():
                writer.write(b" ")
                with suppress(TimeoutError):
                    async with asyncio.timeout(0.02):
                        await reader.read()
        writer.close()
        gone.set()

    server = await asyncio.start_server(trickle, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, asyncio.timeout(5):
        assert await wallets(asked("a", f"http://127.0.0.1:{port}/v1")).look("a") == SILENT
        await gone.wait()


async def test_an_upstream_that_cannot_be_reached_is_unknown() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        gone = wallets(asked("a", f"http://127.0.0.1:{taken.getsockname()[1]}/v1"))
        assert await gone.look("a") == SILENT
    assert await wallets(asked("a", "http://127.0.0.1:9/v1", key="schlüssel")).look("a") == SILENT


async def test_the_last_known_balance_is_kept_with_its_age_for_a_while() -> None:
    clock, told = Clock(), Told()
    async with stub() as one:
        answers = with_wallet(one, usd=0)
        balances = wallets(asked("a", one.url), tell=told, clock=clock)
        assert balances.seen("a") is None
        assert await balances.look("a") == DRY
        answers.pages.clear()
        clock.now += KEPT
        assert await balances.look("a") == UNTOLD
        seen = balances.seen("a")
        assert seen is not None
        assert (seen.balance, clock.now - seen.at) == (DRY, KEPT)
        clock.now += 1
        await balances.look("a")
        fill(answers, 1)
        await balances.look("a")
    assert told == [("a", DRY), ("a", DRY), ("a", UNTOLD), ("a", ONE)]


async def _now(value: int) -> int:
    return value


async def _counted(one: Stub, count: int) -> None:
    await until(lambda: _now(len(looks(one))), lambda found: found >= count)


async def test_a_watch_looks_again_and_again_until_it_is_stopped() -> None:
    async with stub() as one:
        with_wallet(one, usd=1)
        balances = Balances([asked("a", one.url)], tell=Told(), clock=Clock(), draw=lambda: 0.0, pace=1e-4)
        async with watched(balances):
            await _counted(one, 4)


async def test_it_can_be_hurried_and_looks_once_for_many_such_wishes() -> None:
    async with stub() as one:
        with_wallet(one, usd=1)
        lazy = Balances([asked("a", one.url)], tell=Told(), clock=Clock(), draw=lambda: 1e9, pace=1e-4)
        async with watched(lazy):
            for count in (1, 2, 3):
                await _counted(one, count)
                for _ in range(5):
                    lazy.hurry("a")
            await _counted(one, 4)
            assert len(looks(one)) == 4


async def test_no_hurry_makes_it_look_before_its_time() -> None:
    told = Told()
    async with stub() as one, stub() as two:
        with_wallet(one, usd=1)
        with_wallet(two, usd=1)
        slow, quick = (
            Balances([asked(name, each.url)], tell=told, clock=Clock(), draw=lambda: 0.0, pace=pace)
            for name, each, pace in (("slow", one, 1.0), ("quick", two, 1e-4))
        )
        async with watched(slow), watched(quick):
            await _counted(one, 1)
            for count in range(1, 6):
                slow.hurry("slow")
                await _counted(two, len(looks(two)) + count)
        assert len(looks(one)) == 1


async def test_looks_at_one_wallet_take_turns() -> None:
    hold = asyncio.Event()
    async with stub() as one:
        answers = with_wallet(one, usd=0)
        answers.pages[TOKEN].hold = hold
        balances = wallets(asked("a", one.url))
        first = asyncio.ensure_future(balances.look("a"))
        await one.request()
        fill(answers, 1)
        second = asyncio.ensure_future(balances.look("a"))
        other = wallets(asked("a", one.url))
        for _ in range(3):
            assert await other.look("a") == ONE
        assert not second.done()
        hold.set()
        assert (await first, await second) == (DRY, ONE)
        seen = balances.seen("a")
    assert seen is not None
    assert seen.balance == ONE


def test_a_dry_wallet_goes_last_and_an_empty_pocket_is_looked_into(caplog: pytest.LogCaptureFixture) -> None:
    clock, exhausted = Clock(), list[str]()
    metrics = Metrics(models=(), teams=())
    health = Health(["a", "b"], clock=clock, metrics=metrics)
    health.note("b", "m", Outcome(Verdict.EXHAUSTED))  # nobody is told
    health.exhausted = exhausted.append
    clock.now += RESTS[Verdict.EXHAUSTED]
    assert health.unhealthy() == frozenset()
    health.wallet("a", Balance(dry=True))
    health.wallet("a", Balance(dry=True))
    assert health.unhealthy() == {"a"}
    text = metrics.render().decode()
    assert 'audiogate_upstream_up{upstream="a"} 0.0' in text
    assert 'audiogate_upstream_ejected{upstream="a"} 0.0' in text
    assert 'audiogate_upstream_up{upstream="b"} 1.0' in text
    for verdict in Verdict:
        health.note("b", "m", Outcome(verdict))
    assert health.unhealthy() == {"a", "b"}
    assert exhausted == ["b"]
    health.wallet("a", Balance(dry=False))
    health.wallet("a", Balance(dry=False))
    assert health.unhealthy() == {"b"}
    assert [record.getMessage() for record in caplog.records] == [
        "our wallet at upstream a is dry: it goes last",
        "upstream b does not accept our key: ",
        "our wallet at upstream a is dry no more",
    ]
