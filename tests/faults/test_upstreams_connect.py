"""Upstreams to which there is no way: they refuse, do not answer, prove nothing, or have addresses that are dead."""

import asyncio
import json
import socket
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import pytest

from tests.corpus.replies import reply
from tests.faults.checker import served
from tests.faults.upstreams import BOTH_WAYS, Clock, Draw, Fleet, clocked, fleet, refusing, statuses
from tests.relay.certificates import Authority
from tests.relay.line import Line
from tests.relay.machine import black_hole
from tests.relay.origin import Origin, origin, serves
from tests.stub import Answer


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The gateway's."""
    return clocked(monkeypatch)


async def percentiles(one: Fleet, clock: Clock, count: int) -> tuple[float, float]:
    """p50 and p99 in ms; each request finds the first upstream with its rest behind it, and tries it."""
    times = []
    for _ in range(count):
        clock.move(400)
        began = time.perf_counter()
        assert (await one.ask()).status == 200
        times.append(time.perf_counter() - began)
    found = quantiles(times, n=100)
    return found[49] * 1000, found[98] * 1000


@pytest.mark.parametrize("count", [200, pytest.param(1000, marks=pytest.mark.soak)])
async def test_U_1_a_primary_that_refuses_is_passed_over(store_url: str, data: Path, count: int) -> None:
    with refusing() as nobody:
        async with fleet(store_url, data, nobody, served) as one:
            told = await one.crowd(count, *BOTH_WAYS)
            figures = await one.books()
    print("U-1", figures)
    assert statuses(told) == {200: count}
    assert one.seen == [count]


async def test_U_1_each_request_that_is_refused_costs_an_attempt_and_nothing_else(
    store_url: str, data: Path, clock: Clock
) -> None:
    with refusing() as nobody:
        async with fleet(store_url, data, nobody, served) as one:
            for kind in BOTH_WAYS * 5:
                clock.move(400)  # however long it was to rest
                assert (await one.ask(kind)).status == 200
            rows = await one.records(15)
            print("U-1", await one.books())
    assert {(row["upstream"], row["attempts"], row["failed"]) for row in rows} == {("b", "2", "a:unreachable:0")}


@pytest.mark.soak
async def test_U_1_what_a_refusal_adds(store_url: str, data: Path, clock: Clock) -> None:
    """Times with and without take turns, on the same machine."""
    without, with_it = list[tuple[float, float]](), list[tuple[float, float]]()
    with refusing() as nobody:
        async with (
            fleet(store_url, data / "good", served, served) as good,
            fleet(store_url, data / "bad", nobody, served) as bad,
        ):
            await percentiles(good, clock, 50)
            await percentiles(bad, clock, 50)
            for _ in range(5):
                without.append(await percentiles(good, clock, 200))
                with_it.append(await percentiles(bad, clock, 200))
    (p50, p99), (p50_with, p99_with) = ((median(one) for one in zip(*some, strict=True)) for some in (without, with_it))
    print(
        f"U-1 5 times 200 requests: p50 {p50:.1f}, p99 {p99:.1f} ms; "
        f"behind a refusal each: p50 {p50_with:.1f}, p99 {p99_with:.1f} ms"
    )
    assert p99_with - p99 <= 20


async def test_U_2_an_upstream_that_swallows_connections_is_passed_over(store_url: str, data: Path) -> None:
    with black_hole() as port:
        async with fleet(store_url, data, f"http://127.0.0.1:{port}/v1", served, connect_timeout=0.2) as one:
            told = await one.crowd(30, *BOTH_WAYS, at_once=30)
            figures = await one.books()
            rows = await one.records(30)
    print("U-2", figures)
    assert statuses(told) == {200: 30}
    assert {row["upstream"] for row in rows} == {"b"}
    assert "a:unreachable:0" in {row["failed"] for row in rows}


@pytest.mark.soak
async def test_U_2_in_the_time_that_a_connection_has(store_url: str, data: Path) -> None:
    with black_hole() as port:
        async with fleet(store_url, data, f"http://127.0.0.1:{port}/v1", served) as one:
            began = time.monotonic()
            told = await one.crowd(20, *BOTH_WAYS, at_once=20)
            took = time.monotonic() - began
            figures = await one.books()
    print(f"U-2 20 of 20 requests within {took:.2f} s; {figures}")
    assert statuses(told) == {200: 20}
    assert took <= 5.5


def closing() -> Answer:
    """Each request needs a connection of its own."""
    answer = served()
    answer.headers = {"connection": "close"}
    return answer


class Names:
    """What a resolver says of `upstream.test`; nothing: it does not answer. `asked`: how often."""

    def __init__(self, port: int, patch: pytest.MonkeyPatch) -> None:
        self.addresses: list[str] = []
        self.asked = 0
        loop = asyncio.get_running_loop()
        real = loop.getaddrinfo

        async def getaddrinfo(host: str, *args: Any, **more: Any) -> list[Any]:
            if host != NAME:
                return list(await real(host, *args, **more))
            self.asked += 1
            if not self.addresses:
                raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
            stream = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "")
            return [(*stream, (one, port)) for one in self.addresses]

        patch.setattr(loop, "getaddrinfo", getaddrinfo)


NAME = "upstream.test"
DEAD = ("127.0.0.2", "127.0.0.1")


async def test_U_25_an_address_that_refuses_is_no_attempt(
    store_url: str, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with fleet(store_url, data, closing, host=NAME) as one:
        Names(one.oracles[0].stub.port, monkeypatch).addresses = list(DEAD)
        told = await one.crowd(50, *BOTH_WAYS)
        rows = await one.records(50)
        print("U-25", await one.books())
    assert statuses(told) == {200: 50}
    assert {row["attempts"] for row in rows} == {"1"}


async def test_U_25_an_address_that_swallows_connections_is_no_attempt_either(
    store_url: str, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with fleet(store_url, data, closing, host=NAME) as one:
        port = one.oracles[0].stub.port
        Names(port, monkeypatch).addresses = list(DEAD)
        with black_hole("127.0.0.2", port):
            told = await one.crowd(30, *BOTH_WAYS, at_once=30)
        rows = await one.records(30)
        print("U-25", await one.books())
    assert statuses(told) == {200: 30}
    assert {row["attempts"] for row in rows} == {"1"}


async def test_U_25_names_come_and_go(store_url: str, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the resolver said last serves while it says nothing, and no longer once it says something else."""
    said = (["127.0.0.1"], [], ["127.0.0.2"], [], ["127.0.0.2", "127.0.0.1"], [], ["127.0.0.1"])
    async with fleet(store_url, data, closing, host=NAME) as one:
        names = Names(one.oracles[0].stub.port, monkeypatch)
        assert (await one.ask()).status == 503, "nothing was ever known of it"
        told = []
        for names.addresses in said:
            told.append((await one.ask("file first")).status)
        print("U-25", await one.books())
    assert names.asked >= len(said) + 1
    assert told == [200, 200, 503, 503, 200, 200, 200]


# -- TLS


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Who signs the certificates here."""
    return Authority(tmp_path_factory.mktemp("tls"))


def imposter(authority: Authority, how: str) -> ssl.SSLContext | None:
    """What the server shows; None: it speaks no TLS."""
    match how:
        case "expired":
            return authority.server(ends="210101000000Z")
        case "of another name":
            return authority.server("DNS:elsewhere.example")
        case "signed by itself":
            return authority.server(own=True)
    return None


async def puzzled(line: Line) -> None:
    """What a server that speaks no TLS says to it."""
    await line.has(1)
    await line.say(reply(b"no", b"Connection: close", status=b"HTTP/1.1 400 Bad Request"))
    line.finish()


@asynccontextmanager
async def encrypted(
    store_url: str, data: Path, patch: pytest.MonkeyPatch, authority: Authority, tls: ssl.SSLContext | None, *more: Draw
) -> AsyncIterator[tuple[Fleet, Origin]]:
    """A gateway that trusts this authority, and whose first upstream has such a certificate."""
    patch.setenv("SSL_CERT_FILE", str(authority.certificate))
    good = serves(reply(b'{"text":"hello"}', b"Content-Type: application/json"))
    async with (
        origin(good if tls else puzzled, tls=tls) as other,
        fleet(store_url, data, f"https://127.0.0.1:{other.port}/v1", *more) as one,
    ):
        yield one, other


IMPOSTERS = ("expired", "of another name", "signed by itself", "not encrypted")


async def test_U_27_an_upstream_that_proves_who_it_is_serves(
    store_url: str, data: Path, monkeypatch: pytest.MonkeyPatch, authority: Authority
) -> None:
    async with encrypted(store_url, data, monkeypatch, authority, authority.server()) as (one, other):
        assert {(await one.ask(kind)).status for kind in BOTH_WAYS} == {200}
        await one.records(3)
    assert len(other.whole) == 3


@pytest.mark.parametrize("how", IMPOSTERS)
async def test_U_27_an_imposter_gets_nothing(
    store_url: str, data: Path, monkeypatch: pytest.MonkeyPatch, authority: Authority, how: str
) -> None:
    async with encrypted(store_url, data, monkeypatch, authority, imposter(authority, how)) as (one, other):
        told = [await one.ask(kind) for kind in BOTH_WAYS]
        print("U-27", how, await one.books())
    assert [(each.status, each.whole) for each in told] == [(502, True)] * 3
    assert {json.loads(each.body)["error"]["code"] for each in told} == {"tls"}
    heard = b"".join(bytes(line.raw) for line in other.lines)
    assert b"sk-secret" not in heard
    assert b"POST" not in heard
    assert other.seen == []


@pytest.mark.parametrize("how", IMPOSTERS)
async def test_U_27_beside_an_imposter_the_next_upstream_serves(
    store_url: str, data: Path, monkeypatch: pytest.MonkeyPatch, authority: Authority, how: str
) -> None:
    tls = imposter(authority, how)
    async with encrypted(store_url, data, monkeypatch, authority, tls, served) as (one, other):
        told = await one.crowd(30, *BOTH_WAYS)
        print("U-27", how, await one.books())
    assert statuses(told) == {200: 30}
    assert other.seen == []


async def test_U_27_a_server_that_speaks_tls_gets_no_plain_answer_believed(
    store_url: str, data: Path, authority: Authority
) -> None:
    """The other way round: the configuration says http, and the server greets."""
    async with (
        origin(serves(), tls=authority.server()) as other,
        fleet(store_url, data, f"http://127.0.0.1:{other.port}/v1") as one,
    ):
        assert (await one.ask()).status in (502, 503)
        print("U-27", await one.books())
    assert other.seen == []
