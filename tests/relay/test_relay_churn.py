"""A crowd that comes and goes at random: each is served or called off, and nothing is left of it."""

import asyncio
import os
import random
import ssl
import time
from collections import Counter

import pytest

from gateway.client import Client
from tests.corpus.replies import CHUNKED, GOOD, head, reply
from tests.relay.certificates import Authority
from tests.relay.line import Line
from tests.relay.machine import until
from tests.relay.origin import Origin, Script, origin
from tests.relay.relaying import Bodies, ask, relaying

PIECE = b"a" * 64 * 1024
ENOUGH = 50  # of either: a busy machine takes longer for them


def flaky(dice: random.Random) -> Script:
    """Answers after 0 to 20 ms, in one of many ways; a line in ten is closed after an answer."""

    async def script(line: Line) -> None:
        while True:
            await line.request()
            await asyncio.sleep(dice.random() * 0.02)
            for piece in dice.choice(
                [
                    (GOOD,),
                    (head(CHUNKED), b"2\r\ngo\r\n", b"2\r\nod\r\n", b"0\r\n\r\n"),
                    (GOOD[:-2], GOOD[-2:]),
                    (b"HTTP/1.1 100 Continue\r\n\r\n", GOOD),
                    (reply(b"good", b"Connection: close"),),
                ]
            ):
                await line.say(piece)
                await asyncio.sleep(dice.choice([0, 0, 0.003]))
            if dice.random() < 0.1:
                line.finish()

    return script


async def churn(
    seconds: float, seed: int, *, server: ssl.SSLContext | None = None, trusting: ssl.SSLContext | None = None
) -> Counter[str]:
    """Workers ask and most are called off at random after 0 to 30 ms. What came of it; then all must be well."""
    workers = 6 if server else 30  # two processors of a small machine greet some hundred strangers a second
    dice = random.Random(seed)
    came: Counter[str] = Counter()
    over = time.monotonic() + seconds

    def enough() -> bool:
        return time.monotonic() > over and min(came["cancelled"], came["answered"]) > ENOUGH

    async def work(client: Client, one: Origin) -> None:
        while not enough():
            bodies = Bodies(*[PIECE] * dice.randint(1, 4)) if dice.random() < 0.6 else None
            asked = asyncio.ensure_future(ask(client, one.url, body=bodies))
            await asyncio.wait([asked], timeout=dice.random() * dice.choice([0.03, 0.03, 0.03, 0.3]))
            asked.cancel()
            (found,) = await asyncio.gather(asked, return_exceptions=True)
            if isinstance(found, asyncio.CancelledError):
                came["cancelled"] += 1
            else:
                came["answered" if getattr(found, "body", b"") == b"good" else repr(found)] += 1

    async with origin(flaky(dice), tls=server) as one, relaying(trusting) as client:
        await asyncio.gather(*(work(client, one) for _ in range(workers)))
        assert came.keys() == {"cancelled", "answered"}
        for _ in range(20):
            answers = await asyncio.gather(*(ask(client, one.url) for _ in range(5)))
            assert {answer.body for answer in answers} == {b"good"}
        await until(lambda: len(one.open) <= workers)
        came.update(lines=len(one.lines), open=len(one.open))
    return came


async def test_churn() -> None:
    came = await churn(0.4, seed=14)
    print(f"churn: {dict(came)}, then 100 of 100")


async def test_encrypted_churn(authority: Authority, trusting: ssl.SSLContext) -> None:
    came = await churn(0.4, seed=15, server=authority.server(), trusting=trusting)
    print(f"encrypted churn: {dict(came)}, then 100 of 100")


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("encrypted", [False, True])
async def test_long_churn(encrypted: bool, authority: Authority, trusting: ssl.SSLContext) -> None:
    seconds = float(os.environ.get("SOAK_SECONDS", "60")) / 4  # of four tests
    came = await churn(seconds, seed=16, server=authority.server() if encrypted else None, trusting=trusting)
    print(f"{'encrypted ' * encrypted}churn: {dict(came)}, then 100 of 100")
