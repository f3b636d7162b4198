"""Processes that race for a tight limit: it is never exceeded, nothing is charged twice, nothing is left behind.

Run as a module, this file is one of the processes.
"""

import asyncio
import json
import random
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from gateway.errors import Refused
from gateway.metrics import Metrics
from gateway.policy.keys import DRAW_BYTES, Caller, Presented, mint, parse
from gateway.policy.limits import Amounts, Limit
from gateway.store.connection import Connection
from gateway.store.keys import Keys
from gateway.store.limits import Limits, Offer
from gateway.store.usage import Settlement, Usage

PROCESSES, TASKS, ATTEMPTS = 4, 16, 32
USD, REQUESTS, AT_ONCE = 4_000_000, 150, 24
SCOPES = ("alice", "default", "one", "two", "three")


@dataclass(frozen=True)
class Racer:
    """One process: its rooms, its dice, and what it did."""

    limits: Limits
    usage: Usage
    caller: Caller
    presented: Presented
    draw: random.Random
    done: Counter[str]

    async def request(self, rid: str) -> None:
        """Admit, perhaps move on, settle for some part of what was reserved, sometimes three times at once."""
        draw, most = self.draw, self.draw.randrange(1, 40_000)
        await asyncio.sleep(draw.random() * 0.004)
        try:
            offers = [Offer("one", Amounts(usd=most, ms=7)), Offer("two", Amounts(usd=most // 2, ms=7))]
            upstream = (await self.limits.admit(rid, self.caller, self.presented, offers=offers)).upstream
        except Refused as refused:
            self.done[refused.name] += 1
            return
        price = most if upstream == "one" else most // 2
        await asyncio.sleep(draw.random() * 0.004)
        if draw.random() < 0.2:
            dearer = Offer("three", Amounts(usd=price + 5_000, ms=7))
            moved = await self.limits.switch(rid, self.caller, held=upstream, offers=[dearer])
            upstream, price = (moved, price + 5_000) if moved else (upstream, price)
        await self.settle(rid, upstream, draw.randrange(price + 1))

    async def settle(self, rid: str, upstream: str, used: int) -> None:
        """In three of ten cases it is said three times."""
        one = Settlement(
            rid,
            kid=self.caller.kid,
            team=self.caller.team,
            model="whisper-1",
            upstream=upstream,
            route="transcriptions",
            began=1_700_000_000.0,
            used=Amounts(usd=used, ms=5),
            cost=Amounts(usd=used, ms=5),
            sums={"requests": 1, "usd": used, "ms": 5},
            record=json.dumps(["id", rid, "cost_micro_usd", str(used)]),
        )
        times = 3 if self.draw.random() < 0.3 else 1
        told = await asyncio.gather(*(self.usage.settle(one) for _ in range(times)))
        self.done.update(admitted=1, tripled=times == 3, applied=sum(told))
        self.done.update({"usd": used, f"usd {upstream}": used})


async def race(url: str, seed: str) -> None:
    """One process's part."""
    connection = Connection(url, Metrics(models=(), teams=()))
    presented = parse(mint((1).to_bytes(DRAW_BYTES, "little")))
    caller = await Keys(connection, pepper=b"not needed to read").find(presented.kid)
    assert caller is not None
    racer = Racer(Limits(connection), Usage(connection), caller, presented, random.Random(seed), Counter())
    print("here", flush=True)
    await asyncio.to_thread(sys.stdin.readline)

    async def work(task: int) -> None:
        for number in range(ATTEMPTS):
            await racer.request(f"{seed}-{task}-{number}")

    await asyncio.gather(*(work(task) for task in range(TASKS)))
    await connection.close()
    print(json.dumps(racer.done), flush=True)


def racers(url: str) -> list["subprocess.Popen[str]"]:
    command = [sys.executable, "-m", "tests.store.test_store_race", url]
    root = Path(__file__).parents[2]
    return [
        subprocess.Popen([*command, str(seed)], cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for seed in range(PROCESSES)
    ]


async def sampled(rooms, done: asyncio.Event) -> int:
    """Look at the numbers again and again; how often it was done."""
    samples = 0
    while not done.is_set():
        alice, team, one = [await rooms.numbers(scope) for scope in ("alice", "default", "one")]
        assert team.used["total"][0] + team.reserved[0] <= USD
        assert one.used["total"][3] + one.reserved[3] <= REQUESTS
        assert alice.flying <= AT_ONCE
        assert min(*alice.reserved, *team.reserved, *one.reserved, alice.flying, team.flying, one.flying) >= 0
        samples += 1
    return samples


async def test_racing_processes_never_exceed_a_limit_and_their_sums_agree(rooms, url):
    await rooms.declare(
        key=[Limit("concurrency", "", AT_ONCE)],
        team=[Limit("usd", "total", USD)],
        upstream=[Limit("requests", "total", REQUESTS)],
    )
    children, over = racers(url), asyncio.Event()
    try:
        for child in children:
            assert child.stdout is not None
            assert await asyncio.to_thread(child.stdout.readline) == "here\n"
        looking = asyncio.ensure_future(sampled(rooms, over))
        found = await asyncio.gather(*(asyncio.to_thread(child.communicate, "go\n", 40) for child in children))
        over.set()
        assert await looking >= 20
    finally:
        for child in children:
            child.kill()
            child.communicate()
    done = sum((Counter(json.loads(out)) for out, _ in found), Counter[str]())
    assert done["admitted"] + done["rate_limit"] + done["quota"] == PROCESSES * TASKS * ATTEMPTS
    assert done["applied"] == done["admitted"] > 200
    assert min(done["tripled"], done["rate_limit"], done["quota"], done["usd three"]) > 0, "each of it has to happen"
    await agree(rooms, done)


async def agree(rooms, done: Counter[str]) -> None:
    """What the processes counted is what limits, sums and records say, and nothing is held any more."""
    numbers = {scope: await rooms.numbers(scope) for scope in SCOPES}
    for scope, found in numbers.items():
        assert (found.flying, found.reserved) == (0, (0, 0, 0, 0)), scope
    for scope in ("alice", "default"):
        assert numbers[scope].used["total"] == (done["usd"], 5 * done["admitted"], 0, done["admitted"])
    assert [numbers[name].used["total"][0] for name in SCOPES[2:]] == [done[f"usd {name}"] for name in SCOPES[2:]]
    assert await rooms.raw.exists("{ag}:held", "{ag}:leases") == 0
    entries = await rooms.raw.xrange("{ag}:usage")
    assert len({fields[b"id"] for _, fields in entries}) == len(entries) == done["admitted"]
    assert sum(int(fields[b"cost_micro_usd"]) for _, fields in entries) == done["usd"]
    for prefix in ("day:20231114", "hour:2023111422"):
        sums: Counter[bytes] = Counter()
        for name, amount in (await rooms.raw.hgetall(f"{{ag}}:{prefix}")).items():
            sums[name.rsplit(b"|", 1)[1]] += int(amount)
        assert sums == {b"usd": done["usd"], b"ms": 5 * done["admitted"], b"requests": done["admitted"]}


async def test_of_two_hundred_at_once_exactly_as_many_get_in_as_there_is_room_for(rooms, url, open_rooms):
    async def asked(one, rid: str) -> bool:
        try:
            await one.admit(rid, usd=100)
        except Refused:
            return False
        return True

    for scope in ("key", "team", "upstream"):
        await rooms.raw.flushall()
        caller = await rooms.declare(**{scope: [Limit("usd", "day", 1_099)]})
        async with open_rooms(url) as b, open_rooms(url) as c, open_rooms(url) as d:
            b.caller = c.caller = d.caller = caller
            four = (rooms, b, c, d)
            let_in = await asyncio.gather(*(asked(four[number % 4], f"r{number}") for number in range(200)))
        assert sum(let_in) == 10
        assert await rooms.raw.hlen("{ag}:held") == 10


async def test_of_a_crowd_with_room_for_some_exactly_so_many_go_at_once(rooms):
    await rooms.declare(key=[Limit("concurrency", "", 7)])
    flying, most, let_in = 0, 0, 0

    async def go(number: int) -> None:
        nonlocal flying, most, let_in
        try:
            await rooms.admit(f"r{number}")
        except Refused:
            return
        flying += 1
        let_in += 1
        most = max(most, flying)
        await asyncio.sleep(0)
        flying -= 1  # before it is settled: the store counts it until then
        await rooms.settle(f"r{number}")

    await asyncio.gather(*(go(number) for number in range(300)))
    assert most <= 7 <= let_in
    assert (await rooms.numbers("alice")).flying == 0
    held = [f"h{number}" for number in range(50)]
    told = await asyncio.gather(*(rooms.admit(rid) for rid in held), return_exceptions=True)
    assert sum(isinstance(one, Refused) for one in told) == 43


if __name__ == "__main__":
    asyncio.run(race(*sys.argv[1:]))
