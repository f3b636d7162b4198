"""How long connections are waited for, and how many there may be, by a clock of the test's own."""

import asyncio
from dataclasses import dataclass, field

import pytest

from gateway.config.model import Server, Timeouts
from gateway.web.patience import BODY, DEAF, HEAD, PAUSE, Late, Patience, Stage
from gateway.web.porter import Porter

LIMITS = Timeouts(header=10, idle=75, body=30, send=60, total=600)


@dataclass
class Line:
    """A connection as it is looked at."""

    stage: Stage = PAUSE
    due: float = 0.0
    got: int = 0
    used: bool = False
    under_way: bool = False
    reading: bool = True
    taken: int = 0
    unsent: int = 0
    now: float = 100.0
    patience: Patience = field(default_factory=lambda: Patience(LIMITS, 100.0))

    def wait(self, seconds: float, *, bytes_a_tick: int = 0, taken: int = 0) -> tuple[float, Late | None]:
        """Look twice a second, as the porter does; after how long it was late with what."""
        began = self.now
        while self.now < began + seconds:
            self.now += 0.5
            self.got += bytes_a_tick
            self.taken += taken
            if self.due <= self.now and (late := self.patience.look(self, self.now)) is not None:
                return self.now - began, late
        return self.now - began, None


@pytest.mark.parametrize(
    ("line", "seconds", "late"),
    [
        (Line(), 10.5, Late.PAUSE),
        (Line(used=True), 75.5, Late.PAUSE),
        (Line(stage=HEAD), 10.5, Late.HEAD),
        (Line(stage=HEAD, used=True), 10.5, Late.HEAD),
        (Line(stage=BODY), 10.5, Late.RATE),
        (Line(stage=BODY, got=10_000_000), 30.5, Late.PIECE),
        (Line(stage=DEAF), 5.5, Late.LEAVING),
        (Line(unsent=1), 10.5, Late.PAUSE),
        (Line(unsent=1, used=True), 60.5, Late.TAKING),
        (Line(unsent=1, stage=DEAF, under_way=True), 60.5, Late.TAKING),
        (Line(under_way=True), 700, None),
        (Line(stage=HEAD, under_way=True), 700, None),
        (Line(stage=DEAF, under_way=True), 700, None),
    ],
)
def test_what_is_waited_for_and_for_how_long(line: Line, seconds: float, late: Late | None) -> None:
    assert line.wait(700) == (pytest.approx(seconds, abs=0.6), late)


def test_a_body_may_be_slow_but_not_that_slow() -> None:
    assert Line(stage=BODY).wait(500, bytes_a_tick=600) == (500, None)
    assert Line(stage=BODY).wait(500, bytes_a_tick=500)[1] is Late.RATE
    assert Line(stage=BODY).wait(700, bytes_a_tick=600) == (pytest.approx(600.5, abs=0.6), Late.TOTAL)


def test_time_counts_only_while_it_is_the_callers() -> None:
    line = Line(stage=BODY, reading=False)
    assert line.wait(599) == (599, None)
    line = Line(stage=BODY, got=1_000_000, reading=False)
    line.wait(300)
    line.reading = True
    assert line.wait(100) == (pytest.approx(30.5, abs=0.6), Late.PIECE)


def test_who_takes_a_byte_now_and_then_takes() -> None:
    line = Line(under_way=True, unsent=100_000)
    for _ in range(20):
        assert line.wait(55) == (55, None)
        line.taken += 1
    assert line.wait(100)[1] is Late.TAKING


def test_each_stage_has_its_time() -> None:
    line = Line()
    line.wait(9)
    line.stage, line.due = HEAD, 0.0
    assert line.wait(9) == (9, None)
    line.stage, line.due, line.used = PAUSE, 0.0, True
    assert line.wait(74) == (74, None)
    line.stage, line.due = DEAF, 0.0
    assert line.wait(100, bytes_a_tick=1) == (pytest.approx(30.5, abs=0.6), Late.LEAVING)


def test_where_we_were_late_ourselves_nobody_else_is() -> None:
    line = Line(stage=BODY, got=1_000_000)
    assert line.wait(5) == (5, None)
    line.now += 100
    assert line.wait(5) == (5, None)


def test_an_idle_connection_is_not_looked_at_before_its_time() -> None:
    line = Line(used=True)
    assert line.patience.look(line, 100.5) is None
    assert line.due == 175.5


@dataclass(eq=False)
class Held:
    """A connection that can be told to go, or not."""

    busy: bool = False
    due: float = 0.0
    looked: int = 0
    closed: bool = False

    def look(self, now: float) -> None:
        self.looked += 1

    def make_room(self) -> bool:
        free = not self.busy and not self.closed
        self.closed = self.closed or free
        return free


async def test_where_there_are_too_many_the_oldest_idle_one_goes() -> None:
    loop = asyncio.get_running_loop()
    porter = Porter(Server(max_connections=3), draw=lambda: 0.5)
    first, second, third, fourth, fifth = Held(busy=True), Held(), Held(), Held(), Held(busy=True)
    assert [porter.mind(one, loop) for one in (first, second, third, fourth)] == [None] * 4
    assert (second.closed, third.closed) == (True, False)
    porter.forget(second)
    third.busy = fourth.busy = True
    refusal = porter.mind(fifth, loop)
    assert refusal is not None
    assert (refusal.name, refusal.retry_after, refusal.words["wait"]) == ("overloaded", 2.0, "2.0s")
    for one in (first, third, fourth, fifth):
        porter.forget(one)


async def test_the_porter_looks_while_there_is_somebody_at_whoever_is_due() -> None:
    loop = asyncio.get_running_loop()
    porter = Porter(Server(timeouts=Timeouts(header=0.01)), draw=lambda: 0.5)
    due, later = Held(), Held(due=loop.time() + 100)
    porter.mind(due, loop)
    porter.mind(later, loop)
    async with asyncio.timeout(5):
        while due.looked < 3:
            await asyncio.sleep(0.001)
    assert later.looked == 0
    porter.forget(due)
    porter.forget(later)
    async with asyncio.timeout(5):
        while porter._timer is not None:
            await asyncio.sleep(0.001)
