"""Names with several addresses of which some are dead; and more requests than there may be connections."""

import asyncio
import functools
from collections.abc import Callable
from typing import Any

import pytest

import gateway.client
from gateway.client import Unreachable
from gateway.relay.pool import Pool
from tests.corpus.replies import GOOD
from tests.relay.line import Line
from tests.relay.machine import black_hole
from tests.relay.origin import origin, serves
from tests.relay.relaying import Bodies, Resolve, ask, opened, read, relaying


@pytest.mark.parametrize("dead", [["127.0.0.2"], ["::1"], ["127.0.0.2", "::1", "127.0.0.3"]])
async def test_an_address_that_refuses_is_passed_over(dead: list[str], resolve: Resolve) -> None:
    async with origin(serves()) as one, relaying() as client:
        resolve(*((host, one.port) for host in dead), ("127.0.0.1", one.port))
        bodies = Bodies(b"piece")
        assert (await ask(client, f"http://upstream.test:{one.port}", body=bodies, connect=1.0)).body == b"good"
        assert one.whole[0].all("host") == [f"upstream.test:{one.port}"]
        assert (len(bodies.made), len(one.lines)) == (1, 1)


async def test_an_address_that_does_not_answer_is_passed_over_in_time(resolve: Resolve) -> None:
    async with origin(serves()) as one, relaying() as client:
        with black_hole("127.0.0.2", one.port):
            resolve(("127.0.0.2", one.port), ("127.0.0.1", one.port))
            assert (await ask(client, f"http://upstream.test:{one.port}", connect=1.0)).body == b"good"
            assert len(one.lines) == 1


async def test_when_all_are_dead_it_is_unreachable(resolve: Resolve) -> None:
    async with origin(serves()) as one, relaying() as client:
        with black_hole("127.0.0.2", one.port):
            resolve(("127.0.0.2", one.port), ("127.0.0.3", one.port))
            with pytest.raises(Unreachable):
                await ask(client, f"http://upstream.test:{one.port}", connect=0.3)
        resolve(("127.0.0.2", one.port), ("127.0.0.3", one.port))
        with pytest.raises(Unreachable):
            await ask(client, f"http://upstream.test:{one.port}", connect=1.0)
        resolve()
        with pytest.raises(Unreachable):
            await ask(client, f"http://other.test:{one.port}")
        assert not one.lines


async def test_a_resolver_that_hangs_has_the_time_of_a_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*_: object, **__: object) -> list[Any]:
        await asyncio.Event().wait()
        return []

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", never)
    async with relaying() as client:
        async with asyncio.timeout(2):
            with pytest.raises(Unreachable):
                await ask(client, "http://upstream.test:1", connect=0.1)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "10.0.0.1", "169.254.169.254", "::ffff:127.0.0.1", "0.0.0.0"])
async def test_S_6_a_name_that_leads_inside_is_not_dialled(
    address: str, resolve: Resolve, caplog: pytest.LogCaptureFixture
) -> None:
    async with origin(serves()) as one, relaying() as client:
        resolve((address, one.port), (address, one.port))
        for _ in range(5):
            with pytest.raises(Unreachable, match="may not be dialled"):
                await ask(client, f"http://upstream.test:{one.port}", private=False)
        assert not one.lines
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith(f"the upstream's host upstream.test is not dialled: its address {address} is ")


async def test_S_6_what_no_upstream_may_have_is_not_dialled_whatever_the_file_says(resolve: Resolve) -> None:
    async with origin(serves()) as one, relaying() as client:
        for address in ("169.254.169.254", "fe80::1", "fd00:ec2::254", "0.0.0.0", "::", "224.0.0.1", "100.100.100.200"):
            resolve((address, one.port))
            with pytest.raises(Unreachable, match="may not be dialled"):
                await ask(client, f"http://upstream.test:{one.port}", private=True)
        assert not one.lines


async def test_S_6_of_several_addresses_only_good_ones_are_dialled(
    resolve: Resolve, caplog: pytest.LogCaptureFixture
) -> None:
    async with origin(serves()) as one, relaying() as client:
        resolve(("169.254.169.254", one.port), ("0.0.0.0", one.port), ("127.0.0.1", one.port))
        assert (await ask(client, f"http://upstream.test:{one.port}")).body == b"good"
        assert len(one.lines) == 1
    assert not caplog.records


async def test_S_6_each_new_connection_asks_what_the_name_means_now(resolve: Resolve) -> None:
    async with origin(serves()) as one, relaying() as client:
        url = f"http://upstream.test:{one.port}"
        resolve(("127.0.0.1", one.port))
        first, second = await opened(client, url), await opened(client, url)
        assert len(one.lines) == 2
        resolve(("0.0.0.0", one.port))  # this machine, too, by the name that no upstream may have
        with pytest.raises(Unreachable, match="may not be dialled"):
            await opened(client, url)
        assert len(one.lines) == 2
        assert [(await read(one)).body for one in (first, second)] == [b"good", b"good"]


async def test_S_6_an_upstream_that_must_not_has_no_use_of_anothers_connection(resolve: Resolve) -> None:
    async with origin(serves()) as one, relaying() as client:
        url = f"http://upstream.test:{one.port}"
        resolve(("127.0.0.1", one.port))
        assert (await ask(client, url)).body == b"good"
        with pytest.raises(Unreachable, match="may not be dialled"):
            await ask(client, url, private=False)
        assert (await ask(client, url)).body == b"good"
        assert len(one.lines) == 1


@pytest.fixture
def three(monkeypatch: pytest.MonkeyPatch) -> None:
    """There may be three connections to an upstream."""
    monkeypatch.setattr(gateway.client, "Pool", functools.partial(Pool, limit=3))


def slow(gate: asyncio.Event) -> Callable[[Line], Any]:
    """Answers once the gate is open."""

    async def script(line: Line) -> None:
        while True:
            await line.request()
            await gate.wait()
            await line.say(GOOD)

    return script


@pytest.mark.usefixtures("three")
async def test_more_requests_than_connections_wait_their_turn() -> None:
    gate = asyncio.Event()
    async with origin(slow(gate)) as one, relaying() as client:
        asked = [asyncio.ensure_future(ask(client, one.url, body=Bodies(b"piece"))) for _ in range(50)]
        await one.sees(lambda: len(one.whole) == 3)
        for _ in range(20):
            await asyncio.sleep(0)
        assert len(one.lines) == 3
        gate.set()
        assert {answer.body for answer in await asyncio.gather(*asked)} == {b"good"}
        assert (len(one.lines), len(one.whole)) == (3, 50)


@pytest.mark.usefixtures("three")
async def test_who_waits_for_a_connection_may_go_away() -> None:
    gate = asyncio.Event()
    async with origin(slow(gate)) as one, relaying() as client:
        asked = [asyncio.ensure_future(ask(client, one.url)) for _ in range(30)]
        await one.sees(lambda: len(one.whole) == 3)
        for task in asked[1::2]:
            task.cancel()
        gate.set()
        found = await asyncio.gather(*asked, return_exceptions=True)
        assert [getattr(answer, "body", None) for answer in found[::2]] == [b"good"] * 15
        assert all(isinstance(error, asyncio.CancelledError) for error in found[1::2])
        for _ in range(10):
            assert (await ask(client, one.url)).body == b"good"
        assert len(one.open) <= 3


@pytest.mark.usefixtures("three")
async def test_who_goes_away_just_when_it_is_his_turn_leaves_it_to_the_next() -> None:
    async with origin(serves()) as one, relaying() as client:
        held = [await opened(client, one.url) for _ in range(3)]
        asked = [asyncio.ensure_future(ask(client, one.url)) for _ in range(6)]
        for _ in range(5):
            await asyncio.sleep(0)
        assert [await exchange.start(100) for exchange in held] == [b"good"] * 3
        for exchange in held:
            exchange.close()  # it is the turn of who has waited longest
            asked.pop(0).cancel()
        assert {answer.body for answer in await asyncio.gather(*asked)} == {b"good"}


@pytest.mark.usefixtures("three")
async def test_who_waits_for_a_connection_too_long_is_told_so() -> None:
    gate = asyncio.Event()
    async with origin(slow(gate)) as one, relaying() as client:
        asked = [asyncio.ensure_future(ask(client, one.url)) for _ in range(3)]
        await one.sees(lambda: len(one.whole) == 3)
        with pytest.raises(Unreachable):
            await ask(client, one.url, connect=0.05)
        gate.set()
        await asyncio.gather(*asked)
        assert (await ask(client, one.url)).body == b"good"


@pytest.mark.usefixtures("three")
async def test_connections_that_die_make_room() -> None:
    async def script(line: Line) -> None:
        await line.request()
        if line.number % 2:
            line.reset()
        await line.say(GOOD)
        line.finish()

    async with origin(script) as one, relaying() as client:
        found = await asyncio.gather(*(ask(client, one.url) for _ in range(40)), return_exceptions=True)
        assert all(isinstance(one, Unreachable) or getattr(one, "body", b"") == b"good" for one in found)
        assert len(found) == len(one.seen) == 40
