"""Three accounts of the same traffic: the export, the counters, and what the upstreams did."""

import asyncio
import csv
import io
import json
import random
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2
import pytest

from gateway.config.model import Config, Key, Server, Team
from tests.launched import config_of, room, run
from tests.running import Running, configured, key_text, running, upstream
from tests.stub import Answer, Stub, failed, said, stub

REQUESTS = 120
BY = ("team", "key", "model", "upstream", "route")
TOKEN = "a token of operators"


class Given(list[Answer]):
    """Answers to give in this order, which notes those that were given."""

    def __init__(self, answers: list[Answer]) -> None:
        super().__init__([*answers, failed(500)])
        self.given: list[Answer] = []

    def pop(self, index: Any = -1) -> Answer:
        """The next one."""
        self.given.append(super().pop(index))
        return self.given[-1]


def answer(dice: random.Random) -> Answer:
    """Most are served; some fail there, some are the caller's own fault."""
    luck = dice.random()
    if luck < 0.05:
        return failed(400, "no such language")
    if luck < 0.1:
        return failed(503, "busy")
    return said(usage={"type": "duration", "seconds": dice.randrange(1, 9000) / 100})


def served(upstreams: list[Stub]) -> Counter[str]:
    """What the upstreams did, by their own account."""
    found = Counter[str]()
    for one in upstreams:
        assert isinstance(one.answers, Given)
        for seen, given in zip(one.seen, one.answers.given, strict=True):
            found["attempts"] += 1
            if given.status == 200 and seen.target.endswith("/speech"):
                found["characters"] += len(seen.json["input"])
            elif given.status == 200:
                found["ms"] += round(json.loads(given.pieces[0])["usage"]["seconds"] * 1000)
    return found


async def traffic(gateway: Running, dice: random.Random) -> None:
    """Transcriptions and speech by two keys, eight at a time."""
    places = asyncio.Semaphore(8)

    async def one(number: int) -> int:
        async with places, gateway.client(key_text(1 + number % 2)) as client:
            if number % 5 == 0:
                body = {"model": "tts-1", "input": "x" * (1 + number), "voice": "alloy"}
                return (await client.post("/audio/speech", json=body)).status_code
            form = {"model": dice.choice(["whisper-1", "gpt-4o-transcribe"])}
            files = {"file": ("x.wav", b"RIFF" + bytes(1000))}
            return (await client.post("/audio/transcriptions", data=form, files=files)).status_code

    statuses = Counter(await asyncio.gather(*(one(number) for number in range(REQUESTS))))
    assert statuses[200] > REQUESTS / 2, statuses
    assert len(statuses) > 1, "some failed"
    await gateway.idle()


async def sums_of(gateway: Running) -> list[dict[str, Any]]:
    """What the counters say."""
    async with httpx2.AsyncClient(headers={"authorization": f"Bearer {TOKEN}"}) as admin:
        found = await admin.get(f"{gateway.origin}/admin/usage", params={"by": ",".join(BY), "since": "2d"})
    return list(found.json()["data"])


def micro(usd: str) -> int:
    return int(Decimal(usd) * 1_000_000)


def of_sums(row: Mapping[str, Any]) -> Counter[str]:
    same = {name: row[name] for name in ("requests", "errors", "characters")}
    return Counter(**same, ms=round(row["audio_seconds"] * 1000), micro=micro(row["cost_usd"]))


def of_record(row: Mapping[str, Any]) -> Counter[str]:
    errors = int(int(row["status"]) >= 400)
    amounts = {"characters": "characters", "ms": "audio_ms", "micro": "cost_micro_usd"}
    return Counter(requests=1, errors=errors, **{name: int(row[field]) for name, field in amounts.items()})


def exported(folder: Path, url: str, form: str) -> list[dict[str, Any]]:
    """The records that the command exports."""
    config = config_of(
        folder,
        f"store: {{url: '{url}', data: data}}",
        "upstreams: {a: {kind: openai, base_url: 'http://127.0.0.1:9/v1', allow_private: true, models: [m]}}",
        "prices: {m: free}",
    )
    done = run(folder, "export", "-c", config, "--to", "usage", "--format", form)
    assert done.returncode == 0, done.stderr
    text = (folder / "usage").read_text()
    if form == "csv":
        return list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
    return [json.loads(line) for line in text.splitlines()]


def two_teams(data: Path, one: Stub, two: Stub) -> Config:
    """Two keys in two teams, and two upstreams, of which the second takes over."""
    keys = {"alice": Key("alice", "default", key_text()), "bob": Key("bob", "red", key_text(2))}
    teams = {"default": Team("default"), "red": Team("red")}
    upstreams = (upstream("a", one.url), upstream("b", two.url, priority=2))
    return replace(configured(data, *upstreams, keys=keys, teams=teams), server=Server(admin_token=TOKEN))


@pytest.fixture
def folder() -> Iterator[Path]:
    """A room of its own."""
    with room() as one:
        yield one


@pytest.mark.parametrize("form", ["jsonl", "csv"])
async def test_q_17_the_export_the_counters_and_the_upstreams_agree(
    folder: Path, data: Path, store_url: str, form: str
) -> None:
    dice = random.Random(17)
    async with stub() as one, stub() as two:
        for each in (one, two):
            each.answers = Given([answer(dice) for _ in range(3 * REQUESTS)])
        async with running(two_teams(data, one, two), url=store_url) as gateway:
            await traffic(gateway, dice)
            sums = await sums_of(gateway)
        truth = served([one, two])
    rows = await asyncio.to_thread(exported, folder, store_url, form)
    assert len({row["id"] for row in rows}) == len(rows) == REQUESTS
    records: dict[tuple[str, ...], Counter[str]] = {}
    for row in rows:
        place = tuple(row["key_name" if column == "key" else column] for column in BY)
        records.setdefault(place, Counter()).update(of_record(row))
    counters = {tuple(row[column] for column in BY): of_sums(row) for row in sums}
    assert records == {place: row for place, row in counters.items() if row.total()}
    assert len(records) > 6
    total = sum(records.values(), Counter[str]())
    assert total["requests"] == REQUESTS
    assert (total["ms"], total["characters"]) == (truth["ms"], truth["characters"])
    assert total["micro"] == truth["ms"] // 10 + truth["characters"] * 15
    assert sum(int(row["attempts"]) for row in rows) == truth["attempts"]
    paid = sum(int(row["upstream_micro_usd"]) for row in rows)
    assert paid == sum(micro(row["upstream_cost_usd"]) for row in sums)
