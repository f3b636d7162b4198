"""Minutes of everything going wrong at once, and figures that a busy machine would spoil: `make soak`."""

import asyncio
import os
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import quantiles

import httpx2
import pytest

from gateway.config.model import Config, Key, Team
from gateway.metrics import Metrics
from gateway.policy.keys import parse
from gateway.policy.limits import Amounts, Limit
from gateway.store.connection import Connection
from gateway.store.keys import Keys
from gateway.store.limits import Limits, Offer
from tests.faults.checker import Checker, checking, oracle, served
from tests.faults.crowds import KINDS, zipf
from tests.faults.stores import Mortal, mortal, with_mode
from tests.launched import Launched, launched, room
from tests.running import PEPPER, Running, configured, key_text, running, upstream
from tests.stub import Answer, failed, stub
from tests.wires import Wire, wired

pytestmark = [pytest.mark.soak, pytest.mark.timeout(900)]

SECONDS = float(os.environ.get("SOAK_SECONDS", "60"))
CALLERS, PACE = 16, 0.03
TIGHT = {"closed": 500_000, "grace": 2_000}  # micro-USD: a team that runs dry on the way, or before the first outage
GRACE = 4_000  # micro-USD that each of the two gateways may let go to a team without the store


def flaky(dice: random.Random) -> Callable[[], Answer]:
    """An upstream of which one answer in four goes wrong, in one way or the other, and some take their time."""

    def draw() -> Answer:
        luck = dice.random()
        if luck < 0.08:
            return failed(500)
        if luck < 0.12:
            return failed(429, **{"retry-after": "1"})
        if luck < 0.17:
            return Answer(pieces=(), cut=True)  # it took all of it, and the connection is reset
        if luck < 0.22:
            return Answer(pieces=(b'{"text":',), headers={"content-length": "100"}, cut=True)
        answer = served()
        if luck < 0.5:
            answer.hold = asyncio.Event()
            asyncio.get_running_loop().call_later(dice.random() * 0.2, answer.hold.set)
        return answer

    return draw


def two_teams(data: Path, mode: str, *urls: str) -> Config:
    """A team that runs dry and one that does not; of the upstreams the first may hide errors, the last is away."""
    kinds = zip("abc", (*urls, "http://127.0.0.1:9/v1"), ("newapi", "openai", "openai"), strict=True)
    ups = [upstream(name, url, kind=kind) for name, url, kind in kinds]
    teams = {
        "tight": Team("tight", limits=(Limit("usd", "total", TIGHT[mode]),)),
        "wide": Team("wide", limits=(Limit("concurrency", "", 12),)),
    }
    keys = {name: Key(name, name, key_text(number)) for number, name in enumerate(teams, start=1)}
    return with_mode(configured(data, *ups, keys=keys, teams=teams), mode, usd=f"{GRACE / 1_000_000}")


async def caller(checker: Checker, places: list[Running], dice: random.Random, until: float) -> None:
    """Asks for anything anywhere, and sometimes hangs up."""
    while time.monotonic() < until:
        asking = asyncio.ensure_future(
            checker.ask(dice.choice(places), dice.choice(KINDS), key=key_text(dice.choice([1, 2])))
        )
        await asyncio.wait([asking], timeout=dice.random() * 0.2 if dice.random() < 0.15 else None)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        await asyncio.sleep(PACE * dice.random())


async def trouble(store: Mortal, wires: list[Wire], dice: random.Random, until: float) -> int:
    """Cuts, silences, lost replies and kills, one after the other; how many there were."""
    count = 0
    while time.monotonic() < until - 6:
        await asyncio.sleep(2 + 2 * dice.random())
        wire, count = dice.choice(wires), count + 1
        match dice.choice(["cut", "silent", "eaten", "killed"]):
            case "cut":
                wire.refuses = True
                wire.cut()
            case "silent":
                wire.silent = True
            case "eaten":
                wire.eats = lambda reply: dice.random() < 0.3
            case "killed":
                await store.kill()
        await asyncio.sleep(1 + dice.random())
        wire.refuses = wire.silent = False
        wire.eats = lambda reply: False
        await store.start()
    return count


@pytest.mark.parametrize("mode", ["closed", "grace"])
async def test_Q_17_after_a_time_of_everything_going_wrong_all_accounts_agree(data: Path, mode: str) -> None:
    dice = random.Random(17)
    async with (
        oracle("a", flaky(dice)) as a,
        oracle("b", flaky(dice)) as b,
        mortal(data, "everysec") as store,
        checking(store.url, a, b, pause=0.02) as checker,
        wired(store.url) as one,
        wired(store.url) as other,
    ):
        config = two_teams(data, mode, a.url, b.url)
        async with running(config, url=one.url) as first, running(config, url=other.url) as second:
            end = time.monotonic() + SECONDS
            work = [caller(checker, [first, second], dice, end) for _ in range(CALLERS)]
            outages = asyncio.ensure_future(trouble(store, [one, other], dice, end))
            await asyncio.gather(*work)
            count = await outages
            await checker.at_rest(first, second, seconds=120)
            texts = [gateway.app.metrics.render().decode() for gateway in (first, second)]
            figures = await checker.check(*texts, over=mode == "grace")
    print(f"Q-17 {mode}, {SECONDS:.0f} s, {count} outages: {figures}")
    assert figures.served > SECONDS
    assert figures.overspent <= (0 if mode == "closed" else 2 * GRACE)


def p99(times: list[float]) -> float:
    """Milliseconds."""
    return quantiles(times, n=100)[98] * 1000


NOISE = """
import asyncio, sys, httpx2

async def main(origin, key, rate, seconds):
    loop, refused = asyncio.get_running_loop(), 0
    headers = {"authorization": "Bearer " + key}
    async with httpx2.AsyncClient(base_url=origin, headers=headers, trust_env=False) as client:
        began, asked = loop.time(), []
        async def one():
            body = {"model": "tts-1", "voice": "alloy", "input": "hello"}
            return (await client.post("/v1/audio/speech", json=body)).status_code == 429
        for number in range(int(rate * seconds)):
            await asyncio.sleep(max(0, began + number / rate - loop.time()))
            asked.append(asyncio.ensure_future(one()))
        print(sum(await asyncio.gather(*asked)), flush=True)

asyncio.run(main(sys.argv[1], sys.argv[2], float(sys.argv[3]), float(sys.argv[4])))
"""


async def test_Q_19_the_quiet_team_next_to_a_noisy_one(store_url: str) -> None:
    """Gateway and noise are processes of their own; quiet and noisy times take turns, on the same machine."""
    config = (
        f"store: {{url: '{store_url}', data: data, pepper: 0123456789abcdef}}",
        "upstreams: {a: {kind: openai, base_url: 'URL', allow_private: true, key: sk-secret-of-a, models: [tts-1]}}",
        "prices: {tts-1: {per_1m_characters: 15}}",
        "teams: {noisy: {limits: [{measure: requests, per: minute, amount: 300, burst: 5}]}, quiet: {}}",
        f"keys: {{noisy: {{team: noisy, key: {key_text(1)}}}, quiet: {{team: quiet, key: {key_text(2)}}}}}",
    )
    async with stub() as one:
        with room() as folder:
            (folder / "gateway.yaml").write_text("\n".join(config).replace("URL", one.url) + "\n")
            async with launched(folder, "-c", str(folder / "gateway.yaml")) as gateway:
                alone, beside, refused = list[float](), list[float](), 0
                for _ in range(6):
                    alone += await asked_for(gateway, 4.0)
                    command = [sys.executable, "-c", NOISE, gateway.origin, key_text(1), "50", "6"]
                    noise = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
                    await asyncio.sleep(1.0)
                    beside += await asked_for(gateway, 4.0)
                    refused += int((await noise.communicate())[0])
    print(
        f"Q-19 {len(alone)} requests alone: p50 {p50(alone):.1f}, p99 {p99(alone):.1f} ms; {len(beside)} beside a team "
        f"at ten times its limit, refused {refused} times: p50 {p50(beside):.1f}, p99 {p99(beside):.1f} ms"
    )
    assert refused > 1000


async def asked_for(gateway: Launched, seconds: float) -> list[float]:
    """Seconds that requests of the quiet team take, 40 of them a second."""
    loop, times = asyncio.get_running_loop(), list[float]()
    headers = {"authorization": f"Bearer {key_text(2)}"}
    async with httpx2.AsyncClient(base_url=gateway.origin, headers=headers, trust_env=False) as client:
        for number in range(int(seconds * 40)):
            began = loop.time()
            body = {"model": "tts-1", "voice": "alloy", "input": f"hello {number}"}
            assert (await client.post("/v1/audio/speech", json=body)).status_code == 200
            times.append(loop.time() - began)
            await asyncio.sleep(max(0.0, 0.025 - times[-1]))
    return times


def p50(times: list[float]) -> float:
    """Milliseconds."""
    return quantiles(times, n=2)[0] * 1000


async def test_Q_16_admission_among_ten_thousand_keys(store_url: str, data: Path) -> None:
    few, many = await admissions(store_url, data, 10, 5), await admissions(store_url, data, 10_000, 1_000)
    print(f"Q-16 p99 of admit: {few:.2f} ms with 10 keys, {many:.2f} ms with 10,000: {many / few:.2f} times")
    assert many / few < 3


async def admissions(store_url: str, data: Path, keys: int, teams: int) -> float:
    """p99 in milliseconds of admitting requests of so many keys, some of them far more often than the others."""
    dice = random.Random(16)
    limits = (Limit("usd", "month", 10**12), Limit("requests", "day", 10**9))
    config = configured(
        data,
        teams={f"t{one}": Team(f"t{one}", limits=limits) for one in range(teams)},
        keys={f"k{one}": Key(f"k{one}", f"t{one % teams}", key_text(one + 1)) for one in range(keys)},
        upstream_limits={"a": ()},
    )
    connection = Connection(store_url, Metrics(models=(), teams=()))
    room, asked, times = Keys(connection, pepper=PEPPER), Limits(connection), list[float]()
    began = time.monotonic()
    await room.declare(config)
    print(f"Q-16 {keys} keys declared in {time.monotonic() - began:.1f} s")
    for number in range(5_000):
        presented = parse(key_text(zipf(dice, keys) + 1))
        found = await room.find(presented.kid)
        assert found is not None
        began = time.perf_counter()
        await asked.admit(f"r{keys}-{number}", found, presented, offers=[Offer("a", Amounts(usd=1))])
        times.append(time.perf_counter() - began)
    await connection.close()
    return p99(times)
