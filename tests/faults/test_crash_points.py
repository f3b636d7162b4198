"""Every call that a request makes to the world outside fails in turn, in every way: the books are right each time."""

import sqlite3
from contextlib import closing, suppress
from pathlib import Path

import pytest

from tests.faults.checker import Checker, checking, oracle
from tests.faults.crash import Crash, How, fresh
from tests.faults.nursery import Doomed, nursery, two_upstreams
from tests.running import Running, running, until
from tests.wire import Wire

ROUTES = ["fields first", "file first", "translation", "speech", "other", "exact"]
MOST = 60  # more calls than any request here makes
WAYS = [(How.BEFORE, 1), (How.BEFORE, 2), (How.AFTER, 1), (How.AFTER, 2), (How.GONE_BEFORE, 1), (How.GONE_AFTER, 1)]


async def each_call(url: str, data: Path, patch: pytest.MonkeyPatch, *, route: str, how: How, times: int) -> None:
    """The same request again and again: once call 1 fails, then call 2, until none is left to fail."""
    kind = "fields first" if route == "exact" else route
    async with oracle("a") as a, oracle("b") as b, checking(url, a, b) as checker:
        config = two_upstreams(data, ("a", a.url), ("b", b.url), exact=route == "exact")
        async with running(config, url=url) as gateway:
            crash = Crash().on(gateway.app, patch)
            for at in range(1, MOST):
                fresh(gateway.app)
                wires: list[Wire] = []
                crash.arm(how, at, times=times, hang_up=lambda wires=wires: wires[0].hang_up())
                told = await checker.ask(gateway, kind, connected=wires.append)
                await checker.at_rest(gateway)
                hit, trail = crash.hit, crash.trail
                crash.arm(how, 0)
                print(f"{at:3} {told.status:3} {' '.join(hit):30} of {' '.join(trail)}")
                figures = await checker.check(gateway.app.metrics.render().decode())
                if not hit:
                    break
            assert not hit
            assert told.status == 200
    print("Q-4", route, how, times, figures)


@pytest.mark.parametrize(("how", "times"), WAYS, ids=[f"{how} {times}" for how, times in WAYS])
@pytest.mark.parametrize("route", ROUTES)
async def test_Q_4_a_call_that_fails(
    store_url: str, data: Path, monkeypatch: pytest.MonkeyPatch, route: str, how: How, times: int
) -> None:
    """`times` 2: a call to the store and its repetition."""
    await each_call(store_url, data, monkeypatch, route=route, how=how, times=times)


@pytest.mark.parametrize("route", ROUTES[:-1])
async def test_Q_4_an_upstream_that_fails_while_the_store_cannot_be_told(
    store_url: str, data: Path, monkeypatch: pytest.MonkeyPatch, route: str
) -> None:
    """The request goes on elsewhere in grace, and the store learns of it when it is settled."""
    await each_call(store_url, data, monkeypatch, route=route, how=How.BEFORE, times=3)


@pytest.mark.parametrize("first", ["journal", "lease"])
@pytest.mark.parametrize("how", [How.KILLED_BEFORE, How.KILLED_AFTER])
@pytest.mark.parametrize(
    "route", [pytest.param(one, marks=[] if one == ROUTES[0] else pytest.mark.soak) for one in ROUTES]
)
async def test_Q_4_a_gateway_that_is_killed(store_url: str, data: Path, route: str, how: How, first: str) -> None:
    """`first`: what happens first to what it leaves behind, its journal is adopted or its lease ends."""
    kind, exact = ("fields first", True) if route == "exact" else (route, False)
    async with oracle("a") as a, oracle("b") as b, checking(store_url, a, b) as checker, nursery() as cradle:
        places = ("a", a.url), ("b", b.url)
        async with running(two_upstreams(data, *places, exact=exact), url=store_url) as heir:
            for at in range(1, MOST):
                asked = {"data": str(data), "url": store_url, "places": places, "exact": exact}
                doomed = await cradle.gateway(**asked, how=how, at=at)
                told = await checker.ask(doomed, kind)
                hit = await killed(checker, doomed, data)
                await inherit(heir, first)
                await checker.at_rest(heir)
                print(f"{at:3} {told.status:3} {'hit' if hit else ''}")
                await checker.check()
                if not hit:
                    break
            assert not hit
            assert told.status == 200
            print(await checker.check())


def owed(data: Path) -> int:
    """How many settlements the journals in a folder still owe to the store."""
    found = 0
    for path in (data / "journal").glob("*.db"):
        with suppress(sqlite3.OperationalError), closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as base:
            found += base.execute("SELECT count(*) FROM settlements WHERE taken IS NULL").fetchone()[0]
    return found


async def killed(checker: Checker, doomed: Doomed, data: Path) -> bool:
    """Whether the request killed it; if not, it is killed once all is settled."""
    told = checker.told[-1]
    if not told.whole:
        await doomed.gone()
        return True

    async def over() -> bool:
        return not doomed.alive or (not await checker.client.hlen("{ag}:held") and not owed(data))

    await until(over, bool)
    if not doomed.alive:
        return True
    doomed.kill()
    await doomed.gone()
    return False


async def inherit(heir: Running, first: str) -> None:
    """What the dead gateway left: its journal is adopted, and its leases end now instead of in a minute."""
    store = heir.app.connection.client
    ledger = heir.app.parts.ledger
    if first == "journal":
        await ledger.replay()
    for rid in await store.zrange("{ag}:leases", 0, -1):
        await store.zadd("{ag}:leases", {rid: 1}, xx=True)
    await ledger.reap()
    await ledger.replay()
