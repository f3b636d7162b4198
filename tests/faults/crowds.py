"""Crowds of callers: who hang up at any moment, who are in each other's way, who are thousands."""

import asyncio
import random
from pathlib import Path

from gateway.config.model import Key, Team
from gateway.policy.limits import Limit
from tests.faults.checker import Checker, checking, oracle, served
from tests.running import Running, configured, key_text, running, upstream
from tests.stub import Answer

KINDS = ("fields first", "file first", "translation", "speech", "other")


async def fickle(checker: Checker, gateway: Running, dice: random.Random) -> None:
    """A caller who goes away at any moment, or stays."""
    asking = asyncio.ensure_future(checker.ask(gateway, dice.choice(KINDS)))
    await asyncio.wait([asking], timeout=dice.choice([dice.random() * 0.3, dice.random() * 0.02, None]))
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)


async def cancelled(store_url: str, data: Path, count: int, *, kind: str = "openai") -> None:
    """So many callers, forty at a time; an upstream that thinks for a moment."""
    dice = random.Random(18)
    places = asyncio.Semaphore(40)

    def draw() -> Answer:
        answer = served()
        answer.hold = asyncio.Event()
        asyncio.get_running_loop().call_later(dice.random() * 0.05, answer.hold.set)
        return answer

    async with (
        oracle("a", draw) as a,
        checking(store_url, a, pause=0.02) as checker,
        running(configured(data, upstream("a", a.url, kind=kind)), url=store_url) as gateway,
    ):

        async def one() -> None:
            async with places:
                await fickle(checker, gateway, dice)

        await asyncio.gather(*(one() for _ in range(count)))
        await checker.at_rest(gateway)
        figures = await checker.check(gateway.app.metrics.render().decode())
        spooled = gateway.app.metrics.registry.get_sample_value("audiogate_spool_bytes")
    print("Q-18", figures)
    assert count / 10 < figures.served < count * 9 / 10, "some stay, some go"
    assert spooled == 0


async def neighbours(store_url: str, data: Path, quiet: int) -> tuple[list[float], list[float], int]:
    """Seconds that a quiet team's requests take alone, and beside one at ten times its limit; refusals of that one."""
    loop = asyncio.get_running_loop()
    limits = {"noisy": (Limit("requests", "minute", quiet),), "quiet": ()}
    keys = {name: Key(name, name, key_text(number)) for number, name in enumerate(limits, start=1)}
    teams = {name: Team(name, limits=rows) for name, rows in limits.items()}
    async with (
        oracle("a") as a,
        checking(store_url, a, pause=0.05) as checker,
        running(configured(data, upstream("a", a.url), keys=keys, teams=teams), url=store_url) as gateway,
    ):

        async def seconds(times: list[float]) -> None:
            for _ in range(quiet):
                began = loop.time()
                assert (await checker.ask(gateway, "speech", key=key_text(2))).status == 200
                times.append(loop.time() - began)

        alone, beside = list[float](), list[float]()
        await seconds(alone)
        noise = [asyncio.ensure_future(_loud(checker, gateway, quiet)) for _ in range(10)]
        await seconds(beside)
        refused = sum(await asyncio.gather(*noise))
        await checker.at_rest(gateway)
        print("Q-19", await checker.check(gateway.app.metrics.render().decode()))
    return alone, beside, refused


async def _loud(checker: Checker, gateway: Running, count: int) -> int:
    return sum([(await checker.ask(gateway, "speech", key=key_text(1))).status == 429 for _ in range(count)])


def zipf(dice: random.Random, count: int) -> int:
    """A number below `count`; the first ones are drawn far more often than the last."""
    return min(count - 1, int(count ** dice.random()) - 1)
