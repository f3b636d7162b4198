"""The journal: nothing that was written down is lost, whoever dies."""

import asyncio
import fcntl
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.errors import SetupError
from gateway.policy.limits import Amounts
from gateway.store.journal import KEEP, KNOWN, Journal
from gateway.store.usage import SETTLED_TTL, Settlement, Spent, read, written

START = 1_750_000_000.0


def settlement(number: int, *, began: float = START) -> Settlement:
    used = Amounts(usd=number, ms=2, characters=3, requests=1)
    facts = {"kid": "k", "team": "t", "model": "whisper-1", "upstream": "one", "route": "speech"}
    return Settlement(
        rid=f"req_{number:032x}",
        began=began,
        used=used,
        cost=Amounts(usd=2 * number),
        failed=(Spent("two", Amounts(usd=3 * number, requests=1)),),
        sums={"usd": number},
        record='["id", "x"]',
        **facts,
    )


class Clock:
    now = START

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def journal(folder: Path, clock: Clock | None = None) -> AsyncIterator[Journal]:
    one = Journal(folder, clock=clock or Clock())
    one.open()
    try:
        yield one
    finally:
        await one.close()


async def test_what_is_kept_is_owed_until_it_is_taken(tmp_path: Path) -> None:
    async with journal(tmp_path) as one:
        await asyncio.gather(*(one.keep(settlement(number)) for number in (3, 1, 2)))
        await one.keep(settlement(1))  # twice is once
        assert await one.owed(10) == [settlement(number) for number in (1, 2, 3)]
        assert await one.owed(2) == [settlement(1), settlement(2)]
        one.taken([settlement(1).rid, settlement(3).rid])
        assert await one.owed(10) == [settlement(2)]
        assert await one.count() == 1


async def test_it_is_on_disk_when_keep_returns(tmp_path: Path) -> None:
    async with journal(tmp_path) as one:
        await one.keep(settlement(7))
        (file,) = tmp_path.glob("*.db")
        with sqlite3.connect(file) as other:
            ((body,),) = other.execute("SELECT body FROM settlements").fetchall()
        other.close()
    assert read(body) == settlement(7)


async def test_what_was_taken_lately_can_be_sent_again_and_is_forgotten_later(tmp_path: Path) -> None:
    clock = Clock()
    async with journal(tmp_path, clock) as one:
        for number in (1, 2):
            await one.keep(settlement(number))
            one.taken([settlement(number).rid])
            clock.now += KEEP - 1
        await one.tidy()  # the first one was taken too long ago
        await one.send_again()
        assert await one.owed(10) == [settlement(2)]


async def test_an_empty_journal_leaves_no_file_and_one_that_is_owed_does(tmp_path: Path) -> None:
    async with journal(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []
    async with journal(tmp_path) as one:
        await one.keep(settlement(1))
    assert [path.suffix for path in tmp_path.iterdir()] == [".db"]


KILLED = """
import asyncio, os, sys
from pathlib import Path
from gateway.store.journal import Journal
from gateway.store.usage import read
async def main():
    one = Journal(Path(sys.argv[1]), clock=lambda: 1_750_000_000.0)
    one.open()
    for body in sys.stdin:
        await one.keep(read(body))
        print("kept", flush=True)
    os.kill(os.getpid(), 9)
asyncio.run(main())
"""


async def test_the_file_of_a_process_that_was_killed_is_adopted_and_that_of_a_living_one_is_not(tmp_path: Path) -> None:
    bodies = "".join(written(settlement(number)) + "\n" for number in range(50))
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    dead = await asyncio.to_thread(subprocess.run, command, input=bodies, text=True, capture_output=True, check=False)
    assert (dead.returncode, dead.stdout.count("kept"), dead.stderr) == (-9, 50, "")
    async with journal(tmp_path) as living, journal(tmp_path) as heir:
        await living.keep(settlement(99))
        await heir.tidy()
        assert await heir.owed(100) == [settlement(number) for number in range(50)]
        assert await living.owed(100) == [settlement(99)]
        await living.tidy()
        assert await living.owed(100) == [settlement(99)], "an heir is no longer adopted from"
    assert len(list(tmp_path.glob("*.db"))) == 2


async def test_what_is_refused_again_and_again_lets_the_others_go_first(tmp_path: Path) -> None:
    async with journal(tmp_path) as one:
        for number in range(6):
            await one.keep(settlement(number))
        poison = [one.rid for one in await one.owed(3)]
        await one.sending(poison)
        assert [left.rid for left in await one.owed(10)] == [settlement(n).rid for n in (3, 4, 5)] + poison
        assert [left.rid for left in await one.owed(3)] == [settlement(n).rid for n in (3, 4, 5)]
        await one.sending([settlement(n).rid for n in (3, 4, 5)])
        assert [left.rid for left in await one.owed(3)] == poison, "by their age, once all were tried as often"
        await one.unsent(poison[:1])
        assert [left.rid for left in await one.owed(1)] == poison[:1]


async def test_Q_20_what_was_sent_is_not_sent_again_once_the_store_may_have_forgotten_it(tmp_path: Path) -> None:
    clock = Clock()
    async with journal(tmp_path, clock) as one:
        await one.keep(settlement(1))  # counts as sent: whoever keeps it sends it
        await one.keep(settlement(2))
        await one.unsent([settlement(2).rid])
        clock.now = START + KNOWN - 0.001
        assert [left.rid for left in await one.owed(10)] == [settlement(2).rid, settlement(1).rid]
        assert await one.stuck() == 0
        clock.now = START + KNOWN
        assert await one.owed(10) == [settlement(2)], "nobody ever sent it, so it cannot be charged twice"
        assert (await one.stuck(), await one.count()) == (1, 2), "it is kept for an operator to see"
        await one.sending([settlement(2).rid])
        assert (await one.owed(10), await one.stuck()) == ([], 2)
        one.taken([settlement(1).rid, settlement(2).rid])
        assert (await one.stuck(), await one.count()) == (0, 0)
        clock.now += KEEP - 1
        await one.send_again()
        assert await one.owed(10) == [], "nor is what a server that is gone took"
    assert KNOWN + 1800 <= SETTLED_TTL, "the store has to know for longer than it is asked"


async def test_an_heir_knows_how_often_a_settlement_was_tried(tmp_path: Path) -> None:
    clock = Clock()
    async with journal(tmp_path, clock) as heir:
        dead = Journal(tmp_path, clock=clock)
        dead.open()
        await dead.keep(settlement(1))
        await dead.keep(settlement(2))
        await dead.unsent([settlement(1).rid])
        await dead.close()  # lets its lock go, like a process that ends
        clock.now = START + KNOWN
        await heir.tidy()
        assert await heir.owed(10) == [settlement(1)]
        assert await heir.stuck() == 1


async def test_an_heir_owes_again_what_was_taken_lately_and_nothing_older(tmp_path: Path) -> None:
    clock = Clock()
    async with journal(tmp_path, clock) as heir:
        dead = Journal(tmp_path, clock=clock)
        dead.open()
        old, late = settlement(1), settlement(2, began=START + 0.001)
        for one in (old, late):
            await dead.keep(one)
            dead.taken([one.rid])
        await dead.close()
        clock.now = START + KNOWN
        await heir.tidy()
        assert await heir.owed(10) == [late]
        assert (await heir.count(), await heir.stuck()) == (1, 0)
        assert list(tmp_path.glob(dead._path.name + "*")) == []


async def test_a_file_that_is_removed_while_it_is_opened_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until it is locked it looks like a dead one's: a neighbour adopts it, and it would be written to for nobody."""
    async with journal(tmp_path) as neighbour:
        flock, adopted = fcntl.flock, []

        def late(lock: int, how: int) -> None:
            if how == fcntl.LOCK_EX and not adopted:
                adopted.append(one._path)
                neighbour._adopt()
                assert not one._path.exists()
            flock(lock, how)

        one = Journal(tmp_path, clock=Clock())
        with monkeypatch.context() as patch:
            patch.setattr(fcntl, "flock", late)
            one.open()
        assert adopted == [one._path]
        await one.keep(settlement(1))
        assert one._path.exists()
        await neighbour.tidy()
        assert await neighbour.owed(10) == [], "its owner lives"
        await one.close()
        await neighbour.tidy()
        assert await neighbour.owed(10) == [settlement(1)]


async def test_a_folder_that_cannot_be_used_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SetupError, match=r"The journal in .* cannot be written .* store\.data"):
        Journal(tmp_path / "file" / "journal", clock=Clock()).open()
