"""Crowds: callers who hang up, one team in another one's way, thousands of keys."""

import asyncio
import random
from pathlib import Path

import pytest

from gateway.config.model import Key
from gateway.metrics import Metrics
from gateway.policy.keys import parse
from gateway.store.connection import Connection
from gateway.store.keys import Keys
from tests.faults.crowds import cancelled, neighbours, zipf
from tests.running import PEPPER, configured, key_text
from tests.wires import wired


@pytest.mark.parametrize("kind", ["openai", "newapi"])
async def test_Q_18_callers_who_go_away_at_random_leave_nothing_held(store_url: str, data: Path, kind: str) -> None:
    await cancelled(store_url, data, 500, kind=kind)


@pytest.mark.soak
@pytest.mark.timeout(600)
async def test_Q_18_ten_thousand_callers_who_go_away_at_random(store_url: str, data: Path) -> None:
    await cancelled(store_url, data, 10_000)


async def test_Q_19_a_team_at_ten_times_its_limit_gets_no_other_team_refused(store_url: str, data: Path) -> None:
    _, _, refused = await neighbours(store_url, data, 20)
    assert refused >= 9 * 20 - 20, "the noisy one was told so itself"


def test_Q_16_thousands_of_teams_make_no_more_than_five_thousand_series() -> None:
    dice = random.Random(16)
    metrics = Metrics(models=("whisper-1", "tts-1", "gpt-4o-transcribe"), teams=[f"team-{one}" for one in range(1000)])
    for _ in range(20_000):
        route, model = dice.choice(
            [("transcription", "whisper-1"), ("speech", "tts-1"), ("transcription", "mine"), ("other", "")]
        )
        team, up = f"team-{zipf(dice, 1000)}", dice.choice(["one", "two", "three"])
        labels = {"route": route, "model": model, "upstream": up, "team": team}
        metrics.began()
        metrics.admitted(team, seconds=0.001, window="month", remaining=0.5)
        metrics.attempted(up, "served", 0.1)
        metrics.ended(labels, status=dice.choice([200, 200, 200, 429, 502]), seconds=0.1, first_byte=0.05)
        metrics.used(labels, seconds=1, characters=0, micro_usd=10, source="packets")
    series = [line for line in metrics.render().decode().splitlines() if not line.startswith("#")]
    print("Q-16", len(series), "series")
    assert 500 < len(series) <= 5_000


async def test_R_7_cancelled_calls_through_a_slow_wire_cross_no_replies(store_url: str, data: Path) -> None:
    """Fifty keys are read through a wire of 50 ms, and most readers go away: each of the others gets its own."""
    dice = random.Random(7)
    kids = {parse(key_text(number)).kid: f"key-{number}" for number in range(1, 51)}
    config = configured(
        data, keys={name: Key(name, "default", key_text(number)) for number, name in enumerate(kids.values(), start=1)}
    )
    wrong, right = 0, 0
    async with wired(store_url) as wire:
        connection = Connection(wire.url, Metrics(models=(), teams=()))
        keys = Keys(connection, pepper=PEPPER)
        await keys.declare(config)
        wire.delay = 0.05

        async def read() -> None:
            nonlocal wrong, right
            kid = dice.choice(list(kids))
            found = await keys.find(kid, fresh=True)
            good = found is not None and (found.kid, found.name) == (kid, kids[kid])
            right, wrong = right + good, wrong + (not good)

        async def read_or_not() -> None:
            reading = asyncio.ensure_future(read())
            await asyncio.wait([reading], timeout=dice.choice([dice.random() * 0.4, None]))
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

        for _ in range(20):
            await asyncio.gather(*(read_or_not() for _ in range(50)))
        await connection.close()
    print("R-7", right, "right,", wrong, "wrong of 1000")
    assert wrong == 0
    assert right > 200
