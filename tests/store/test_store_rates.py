"""Requests per minute and per hour: how many get in, and to the millisecond when the next one does."""

import asyncio
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import pytest

from gateway.errors import Refused
from gateway.policy.limits import Limit
from gateway.store.connection import shared_text
from gateway.store.roll import standings
from tests.store.conftest import CLOCK

START = 1_750_000_000_000  # 2025-06-15 15:06:40 UTC, in ms
MINUTE, HOUR = 60_000_000, 3_600_000_000  # in microseconds
PERIODS = {"minute": MINUTE, "hour": HOUR}
WHOLE = [1, 2, 3, 5, 60, 64, 600, 6_000]  # a minute has as many equal parts of whole microseconds
ODD = [7, 9, 11, 13, 19, 61, 997, 7_001]


@dataclass
class Bucket:
    """The exact model: `full` is when the bucket is full again, in microseconds."""

    limit: Limit
    full: Fraction = Fraction(0)

    @property
    def every(self) -> Fraction:
        return Fraction(PERIODS[self.limit.per], self.limit.amount)

    @property
    def burst(self) -> int:
        return self.limit.burst or self.limit.amount

    def wait(self, now: int) -> Fraction:
        """Microseconds until one more fits; negative: so long already. A clock set back empties it at most."""
        self.full = min(max(self.full, Fraction(now)), now + self.burst * self.every)
        return self.full + (1 - self.burst) * self.every - now

    def take(self) -> None:
        self.full += self.every


def rate(amount: int, burst: int = 0, per: str = "minute") -> Limit:
    return Limit("requests", per, amount, burst)


async def refused(asked) -> int | None:
    """The milliseconds to wait that a refusal tells; None if there was none."""
    try:
        await asked
    except Refused as caught:
        refusal = caught
    else:
        return None
    assert refusal.name == "rate_limit"
    assert refusal.retry_after is not None
    return round(refusal.retry_after * 1000)


async def let_in(rooms, names: Iterator[str], *, most: int) -> int:
    """How many of up to `most` requests get in at one moment."""
    for number in range(most):
        if await refused(rooms.admit(next(names), "one")) is not None:
            return number
    return most


@pytest.fixture
def names() -> Iterator[str]:
    return (f"r{number}" for number in range(10**9))


@pytest.mark.parametrize("amount", [*WHOLE[:-2], *ODD[:-2]])
async def test_a_full_bucket_lets_in_its_burst_at_once_and_counts_down_by_one(rooms, names, amount):
    rooms.connection.now_ms = START
    await rooms.declare(key=[rate(amount)])
    for left in reversed(range(amount)):
        admitted = await rooms.admit(next(names))
        assert (admitted.limit, admitted.remaining) == (amount, left)
        assert admitted.reset_ms == math.ceil((amount - left) * math.ceil(Fraction(MINUTE, amount)) / 1000)
    assert await refused(rooms.admit(next(names))) == math.ceil(Fraction(MINUTE, amount) / 1000)


@pytest.mark.parametrize("scope", ["key", "team", "upstream"])
@pytest.mark.parametrize(("amount", "burst", "per"), [(60, 1, "minute"), (60, 7, "minute"), (100, 3, "hour")])
async def test_a_burst_may_be_smaller_than_the_amount(rooms, names, scope, amount, burst, per):
    rooms.connection.now_ms = START
    await rooms.declare(**{scope: [rate(amount, burst, per)]})
    every = PERIODS[per] // amount // 1000
    assert await let_in(rooms, names, most=burst + 1) == burst
    for parts in (1, 2, burst):
        rooms.connection.now_ms += parts * every
        assert await let_in(rooms, names, most=burst + 1) == min(parts, burst)
    rooms.connection.now_ms += 100 * every * burst
    assert await let_in(rooms, names, most=2 * burst) == burst, "it never holds more"


@pytest.mark.parametrize("amounts", [WHOLE, ODD], ids=["whole", "odd"])
@pytest.mark.parametrize("seed", range(3))
async def test_any_arrivals_are_answered_as_by_the_exact_model(rooms, names, amounts, seed):
    """With clock steps back and changes of the limits. `late`: microseconds that parts rounded up may add up to."""
    draw = random.Random(f"{amounts} {seed}")
    rooms.connection.now_ms, late = START, 0
    buckets = [Bucket(rate(60, 4)), Bucket(rate(500, 90, "hour"))]
    await rooms.declare(key=[one.limit for one in buckets])
    seen = [0, 0]
    for _ in range(250):
        if draw.random() < 0.02:
            for bucket in buckets:
                amount = draw.choice(amounts)
                bucket.limit = replace(bucket.limit, amount=amount, burst=draw.randint(1, min(amount, 20)))
            await rooms.declare(key=[one.limit for one in buckets])
        rooms.connection.now_ms += draw.choice([0, 1, 999, 1_000, 5_000, 60_000, -3, -2_000])
        rooms.connection.now_ms += draw.randrange(400)
        waits = [one.wait(rooms.connection.now_ms * 1000) for one in buckets]
        asked = rooms.connection.now_ms
        told = await refused(rooms.admit(next(names)))
        seen[told is None] += 1
        late = late if amounts is WHOLE else late + 2
        if told is None:
            assert max(waits) <= 0
            for bucket in buckets:
                bucket.take()
        else:
            assert math.ceil(max(waits) / 1000) <= told <= math.ceil((max(waits) + late) / 1000)
            rooms.connection.now_ms = asked + told - 1
            assert await refused(rooms.admit("peek", peek=True)) == 1
            rooms.connection.now_ms = asked + told
            assert await refused(rooms.admit("peek", peek=True)) is None
            rooms.connection.now_ms = asked
    assert min(seen) > 20, "both answers have to be common"


async def test_a_clock_set_back_empties_a_bucket_at_most(rooms, names):
    rooms.connection.now_ms = START
    await rooms.declare(key=[rate(60, 5)])
    assert await let_in(rooms, names, most=9) == 5
    rooms.connection.now_ms -= 3_600_000
    assert await refused(rooms.admit(next(names))) == 1000, "not an hour and a second"
    rooms.connection.now_ms += 1000
    assert await let_in(rooms, names, most=9) == 1


async def test_a_new_limit_holds_at_once(rooms, names):
    rooms.connection.now_ms = START
    await rooms.declare(key=[rate(60)])
    assert await let_in(rooms, names, most=99) == 60
    await rooms.declare(key=[rate(120, 10)])
    assert await refused(rooms.admit(next(names))) == 500, "an empty bucket of the new size, not a minute's debt"
    rooms.connection.now_ms += 500
    assert await let_in(rooms, names, most=99) == 1
    await rooms.declare(key=[rate(6)])
    assert await refused(rooms.admit(next(names))) is None, "5 s of its 60 s are missing"
    await rooms.declare()
    assert await let_in(rooms, names, most=99) == 99


async def test_what_is_not_let_in_takes_nothing(rooms):
    rooms.connection.now_ms = START
    await rooms.declare(key=[rate(60, 2), Limit("usd", "day", 10)], team=[rate(60, 1)])
    before = await rooms.everything()
    assert (await rooms.admit("r1", peek=True)).remaining == 1
    with pytest.raises(Refused):
        await rooms.admit("r1", usd=11)
    assert await rooms.everything() == before
    await rooms.admit("r1")
    before = await rooms.everything()
    await rooms.admit("r1")
    assert await refused(rooms.admit("r2")) == 1000, "by the team; the key still has one"
    assert await rooms.everything() == before
    rooms.connection.now_ms += 1000
    assert (await rooms.admit("r2")).remaining == 0


async def test_who_moves_on_has_passed_the_rates_of_key_and_team_and_passes_the_new_upstream_s(rooms):
    rooms.connection.now_ms = START
    limits = {"one": (rate(60, 2),), "two": (rate(60, 1),), "three": ()}
    config = rooms.config(key=[rate(60, 2)], team=[rate(60, 2)])
    await rooms.keys.declare(replace(config, upstream_limits=limits))
    await rooms.reread()
    await rooms.admit("r1", "one")
    await rooms.admit("r2", "one")
    assert await rooms.switch("r1", "one", "two") == "two", "key and team have nothing left"
    assert await rooms.switch("r2", "one", "two") is None
    assert await rooms.switch("r2", "one", "two", "three") == "three"
    rooms.connection.now_ms += 1000
    assert await rooms.switch("r2", "three", "two") == "two"
    assert await rooms.switch("r1", "two", "one") == "one"
    await rooms.admit("r3", "three")
    assert await refused(rooms.admit("r4", "three")) == 1000, "moving took nothing from the key, and gave nothing back"


async def test_standings_tell_what_is_missing_in_a_bucket(rooms):
    rooms.connection.now_ms = START
    caller = await rooms.declare(key=[rate(60, 5), rate(7, 0, "hour")])
    for number in range(3):
        await rooms.admit(f"r{number}")
    await rooms.settle("r0", requests=0)
    rooms.connection.now_ms += 1
    before = await rooms.everything()
    _, (minute, hour) = await standings(rooms.connection, "default", kid=caller.kid)
    assert (minute.limit, hour.limit) == (rate(60, 5), rate(7, 0, "hour"))
    assert (minute.used, minute.reserved, minute.resets) == (3, 0, START / 1000 + 3)
    assert (hour.used, hour.reserved) == (3, 0)
    assert hour.resets == (START + math.ceil(3 * math.ceil(Fraction(HOUR, 7)) / 1000)) / 1000
    assert await rooms.everything() == before


async def test_of_two_hundred_at_once_by_the_server_s_own_clock_the_burst_gets_in(rooms, names):
    await rooms.declare(team=[rate(60, 10, "hour")])
    told = await asyncio.gather(*(refused(rooms.admit(next(names))) for _ in range(200)))
    assert told.count(None) == 10
    assert all(55_000 < wait <= 60_000 for wait in told if wait is not None)


# -- a million calls, asked inside the server

SIMULATION = f"""
{shared_text().replace(CLOCK, "{0, 0}")}
local from, mode, calls, step = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local scope = {{s = cmsgpack.unpack(ARGV[5]), rows = cjson.decode(ARGV[6]), days = UTC}}
math.randomseed(tonumber(ARGV[7]))
local admitted = {{}}
now_us = from
for call = 1, calls do
  if mode == 'steady' then
    now_us = now_us + step
  elseif mode == 'random' then
    now_us = now_us + math.random(0, 2 * step)
  elseif call % 200 == 0 then
    now_us = now_us + math.random(0, 400 * step)
  end
  if not broken(scope, {{0, 0, 0, 1}}, true) then
    pass(scope)
    admitted[#admitted + 1] = now_us - from
  end
end
return {{now_us - from, cmsgpack.pack(scope.s), admitted}}
"""
CHUNK = 25_000


async def simulated(rooms, mode: str, limits: Sequence[Limit], *, step: int, calls: int) -> tuple[list[int], int]:
    """When each of those came in that were let in, and when the last one came (microseconds since 1970)."""
    rows = [[4, list(PERIODS).index(one.per) + 1, one.amount, one.burst or one.amount] for one in limits]
    state = await rooms.raw.eval("local s = {} for i = 1, 32 do s[i] = 0 end return cmsgpack.pack(s)", 0)
    now, admitted = START * 1000, []
    for chunk in range(calls // CHUNK):
        args = [now, mode, CHUNK, step, state, str([0, *rows]), chunk]
        gone, state, found = await rooms.raw.eval(SIMULATION, 0, *args)
        admitted += [now + moment for moment in found]
        now += gone
    return admitted, now


def most_over(admitted: Sequence[int], limit: Limit) -> Fraction:
    """By how many requests the worst span of time goes beyond burst + amount * span / period."""
    period, lowest, worst = PERIODS[limit.per], None, 0
    for number, moment in enumerate(admitted):
        level = number * period - limit.amount * moment
        lowest = level if lowest is None else min(lowest, level)
        worst = max(worst, level - lowest)
    return Fraction(worst, period) + 1 - (limit.burst or limit.amount)


@pytest.mark.parametrize("calls", [250_000, pytest.param(2_500_000, marks=pytest.mark.soak)])
@pytest.mark.parametrize(
    ("mode", "limits", "step"),
    [
        ("burst", [rate(600, 50)], 10_000),
        ("steady", [rate(61)], 90_000),
        ("random", [rate(6_000, 7)], 3_000),
        ("random", [rate(120, 20), rate(3_601, 0, "hour")], 100_000),
    ],
    ids=["burst", "steady", "random", "two windows"],
)
async def test_Q_15_of_a_million_calls_no_span_of_time_lets_in_more_than_its_rate(rooms, mode, limits, step, calls):
    admitted, last = await simulated(rooms, mode, limits, step=step, calls=calls)
    assert 1000 < len(admitted) < calls
    assert -1 < max(most_over(admitted, limit) for limit in limits) <= 0, "the limit is reached, and never exceeded"
    span = last - START * 1000
    fair = min((one.burst or one.amount) + Fraction(one.amount * span, PERIODS[one.per]) for one in limits)
    if mode == "steady":
        assert len(admitted) >= fair - 1, "nor fewer, while more than enough come all the time"
