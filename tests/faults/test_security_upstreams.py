"""Upstreams: none that leads inside, and no key anywhere but where it belongs."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.balances import Balances
from gateway.config.load import ConfigError, load
from gateway.upstreams.balance import SILENT
from tests.aggregator import with_wallet
from tests.launched import config_of, room, run
from tests.running import configured, running, serving, upstream
from tests.stub import Answer, Stub, failed, said, stub

SPEECH = {"model": "tts-1", "input": "hello", "voice": "v"}
PRIVATE = (
    "http://127.0.0.1:8000/v1",
    "http://localhost/v1",
    "https://LOCALHOST./v1",
    "http://[::1]:8000/v1",
    "http://0x7f.1/v1",
    "http://2130706433/v1",
    "http://0177.0.0.1/v1",
    "http://10.0.0.1/v1",
    "http://192.168.1.1/v1",
    "http://172.16.0.1/v1",
    "http://100.64.0.1/v1",
    "http://[fd00::1]/v1",
    "http://[::ffff:127.0.0.1]/v1",
    "http://[64:ff9b::7f00:1]/v1",
    "http://[2002:7f00:1::]/v1",
)
NEVER = (
    "http://169.254.169.254/latest/meta-data",
    "http://0xa9fea9fe/",
    "http://2852039166/",
    "http://[::ffff:169.254.169.254]/",
    "http://[64:ff9b::a9fe:a9fe]/",
    "http://[fe80::1]/v1",
    "http://[fd00:ec2::254]/",
    "http://100.100.100.200/",
    "http://0.0.0.0/v1",
    "http://0/v1",
    "http://[::]/v1",
    "http://224.0.0.1/v1",
    "http://255.255.255.255/v1",
)
NO_ADDRESS = (
    "file:///etc/passwd",
    "gopher://127.0.0.1/v1",
    "http://me:pw@a.example/v1",
    "https://a.example/v1?x=1",
    "//a",
)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A room of its own."""
    with room() as one:
        yield one


def wrong(folder: Path, url: str, *, private: str) -> str:
    """The one thing that is wrong with a file of this upstream, "" if nothing is."""
    path = config_of(
        folder,
        "upstreams:",
        "  a:",
        "    kind: openai",
        "    models: [tts-1]",
        f"    base_url: '{url}'",
        f"    allow_private: {private}",
    )
    try:
        load(Path(path), {})
    except ConfigError as error:
        (problem,) = error.problems
        assert (problem.line, problem.path) == (5, "upstreams.a.base_url")
        return problem.message
    return ""


def test_S_6_addresses_that_lead_inside_are_refused_with_their_line(folder: Path) -> None:
    for url in PRIVATE:
        assert "write `allow_private: true`" in wrong(folder, url, private="false"), url
        assert wrong(folder, url, private="true") == ""
    for url in NEVER:
        for private in ("true", "false"):
            assert "no upstream may have it" in wrong(folder, url, private=private), url
    for url in NO_ADDRESS:
        assert wrong(folder, url, private="true").startswith("expected an address"), url
    for url in ("https://api.example.com/v1", "http://upstream/v1", "https://8.8.8.8/v1"):
        assert wrong(folder, url, private="false") == "", "a name is looked at when it is dialled"


@pytest.fixture
async def inside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every name that ends in .test leads to this machine."""
    loop = asyncio.get_running_loop()
    real = loop.getaddrinfo

    async def getaddrinfo(host: Any, *args: Any, **more: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else str(host)
        return await real("127.0.0.1" if name.endswith(".test") else host, *args, **more)

    monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo)


@pytest.mark.usefixtures("inside")
async def test_S_6_a_name_that_turns_out_to_lead_inside_gets_nothing(
    store_url: str, data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with stub() as one:
        url = f"http://rebound.test:{one.port}/v1"
        config = configured(data, upstream("a", url, allow_private=False, kind="newapi", balance=True))
        async with running(config, url=store_url) as gateway, gateway.client() as client:
            for _ in range(3):
                answer = await client.post("/audio/speech", json=SPEECH)
                assert (answer.status_code, answer.json()["error"]["code"]) == (503, "upstream_unreachable")
                assert "127.0.0.1" not in answer.text
            await gateway.idle()
            assert await gateway.app.balances.look("a") == SILENT
            assert one.seen == []
        lines = [record.getMessage() for record in caplog.records if "is not dialled" in record.getMessage()]
        assert 1 <= len(lines) <= 2, "one for requests, one for wallets"
        assert all("`allow_private: true`" in line for line in lines)
        allowed = configured(data, upstream("a", url))
        async with running(allowed, url=store_url) as gateway, gateway.client() as client:
            assert (await client.post("/audio/speech", json=SPEECH)).status_code == 200
        assert one.seen[-1].headers["host"] == f"rebound.test:{one.port}"


@pytest.mark.usefixtures("inside")
async def test_S_6_a_wallet_is_asked_where_its_upstream_may_be() -> None:
    async with stub() as one:
        with_wallet(one, usd=1)
        url = f"http://wallet.test:{one.port}/v1"
        for private, asked in ((False, 0), (True, 2)):
            row = upstream("a", url, kind="newapi", balance=True, allow_private=private)
            balances = Balances([row], tell=lambda *_: None, clock=time.monotonic, draw=lambda: 0.0)
            found = await balances.look("a")
            assert (found == SILENT, len(one.seen)) == (not private, asked)
        assert {seen.headers["host"] for seen in one.seen} == {f"wallet.test:{one.port}"}


def keys_at(*stubs: Stub) -> list[set[str]]:
    """Which credentials each of them saw, in whatever header or body."""
    everything = ("sk-secret-of-a", "sk-secret-of-b", "ag_")
    return [
        {key for key in everything for seen in one.seen if key in str(seen.headers) + seen.target + seen.body.decode()}
        for one in stubs
    ]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_S_7_a_key_goes_to_its_own_upstream_whatever_that_answers(
    store_url: str, data: Path, status: int
) -> None:
    async with stub() as a, stub() as b, stub() as elsewhere:
        config = configured(
            data,
            upstream("a", a.url, kind="newapi", balance=True, priority=0),
            upstream("b", b.url, kind="newapi", balance=True),
        )
        location = f"http://127.0.0.1:{elsewhere.port}/v1/audio/speech"
        moved = Answer(status=status, headers={"location": location, "set-cookie": "x=1"}, pieces=(b"{}",))
        async with running(config, url=store_url) as gateway, gateway.client() as client:
            bad = (moved, failed(500), Answer(refuse=True), Answer(cut=True, pieces=()), failed(429), failed(401))
            for answer in bad:
                a.answers = [answer]
                b.answers = [said()]
                await client.post("/audio/speech", json=SPEECH, headers={"cookie": "ag_session"})
            b.answers = [moved]
            await client.post("/audio/speech", json=SPEECH)
            await gateway.app.balances.look("a")
            await gateway.app.balances.look("b")
            await gateway.idle()
        assert len([seen for seen in a.seen if seen.method == "POST"]) >= 4
        assert len([seen for seen in b.seen if seen.method == "POST"]) >= 5
    assert keys_at(a, b, elsewhere) == [{"sk-secret-of-a"}, {"sk-secret-of-b"}, set()]
    assert elsewhere.seen == []


async def test_S_8_an_upstream_is_tried_by_its_name_in_the_file_alone(folder: Path) -> None:
    canary = "canary-of-S-8"
    async with stub() as one, stub() as other:
        for page in with_wallet(one, usd=1).pages.values():
            page.headers["x-canary"] = canary
        path = config_of(
            folder,
            f"upstreams: {{a: {{kind: newapi, base_url: '{one.url}', allow_private: true, key: sk-canary,",
            "  models: [m]}}",
            "prices: {m: free}",
        )
        done = await asyncio.to_thread(run, folder, "upstreams", "-c", path, "--json")
        assert done.returncode == 0, done.stderr
        assert one.seen
        for more in (other.url, f"--url={other.url}", f"--base-url={other.url}"):
            refused = await asyncio.to_thread(run, folder, "upstreams", "-c", path, more)
            assert refused.returncode == 2
        assert other.seen == []
    for text in (canary, "sk-canary", "total_available", "x-canary"):
        assert text not in done.stdout + done.stderr


async def test_S_8_there_is_no_route_that_tries_an_address(store_url: str, data: Path) -> None:
    async with serving(store_url, data) as (gateway, one), gateway.client() as client:
        document = (await client.get(f"{gateway.origin}/openapi.json")).text
        assert "base_url" not in document
        assert "upstream_url" not in document
        assert one.seen == []
