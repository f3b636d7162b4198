"""Power loss: the store comes back with what is surely on its disk, the journal is whole, and no process has lived on.

What is surely on the disk of the store is what the gateway synced: that the server syncs, too, within a second or two,
is luck. Beyond that an append-only file ends anywhere.
"""

import os
import shutil
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from gateway.config.model import Key, Team
from gateway.policy.ids import request_id
from gateway.store.embedded import Embedded
from gateway.store.engine import PIDFILE, Search, is_running
from gateway.store.leases import Leases
from gateway.store.register import Register
from tests.running import PEPPER
from tests.servers import EACH_ENGINE, data_folder, engine_alone, until
from tests.store.conftest import Rooms, rooms_on
from tests.store.test_settler import START, gateway_on, spent


@dataclass
class Machine:
    """The machine of an embedded store. `safe`: what is on its disk of each file, by inode, in bytes."""

    folder: Path
    search: Search
    safe: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.store = Embedded(self.folder, search=self.search)

    def note(self, fd: int) -> None:
        """A file is synced."""
        found = os.fstat(fd)
        self.safe[found.st_ino] = found.st_size

    def files(self) -> list[Path]:
        return list((self.folder / "appendonlydir").iterdir())

    def length(self) -> int:
        """Of all that the server has written."""
        (written,) = [path for path in self.files() if path.suffix == ".aof" and ".incr." in path.name]
        return written.stat().st_size

    async def lose_power(self, length: int | None = None) -> None:
        """Of what is not safe, nothing is left; or everything up to a length."""
        os.kill(int((self.folder / PIDFILE).read_text()), signal.SIGKILL)
        await until(lambda: not is_running(self.folder))
        for path in self.files():
            safe = self.safe[path.stat().st_ino]
            os.truncate(path, max(safe, length) if length is not None and ".incr." in path.name else safe)
        await self.store.ensure()


@pytest.fixture(params=EACH_ENGINE)
async def machine(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Machine]:
    with data_folder() as folder:
        machine = Machine(folder, engine_alone(request.param, tmp_path))
        monkeypatch.setattr(os, "fsync", machine.note)
        await machine.store.start()
        yield machine
        await machine.store.stop()


@pytest.fixture
async def rooms(machine: Machine) -> AsyncIterator[Rooms]:
    async with rooms_on(f"unix://{machine.folder}/store.sock") as found:
        await found.declare()
        yield found


async def records(rooms: Rooms) -> dict[bytes, object]:
    """Keys and teams as they stand in the store."""
    kept = ("{ag}:k:", "{ag}:t:", "{ag}:names", "{ag}:teams", "{ag}:declared")
    found = await rooms.everything()
    return {name: value for name, (value, _) in found.items() if name.decode().startswith(kept)}


CHANGES: dict[str, Callable[[Register], Awaitable[object]]] = {
    "make a key": lambda register: register.make_key(Key("bob", "default")),
    "change a key": lambda register: register.change_key("eve", lambda key: replace(key, models=("whisper-1",))),
    "rotate a key": lambda register: register.rotate_key("eve", overlap=60),
    "revoke a key": lambda register: register.revoke_key("eve"),
    "make a team": lambda register: register.make_team(Team("blue")),
    "change a team": lambda register: register.change_team("red", lambda team: replace(team, models=("whisper-1",))),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_R_15_a_change_that_was_reported_survives_the_loss_of_power(machine, rooms, change):
    register = Register(rooms.connection, rooms.config(), pepper=PEPPER, door="cli")
    await register.make_team(Team("red"))
    await register.make_key(Key("eve", "red"))
    before = await records(rooms)
    await CHANGES[change](register)
    changed = await records(rooms)
    assert changed != before
    await rooms.raw.set("unconfirmed", "yes")
    await machine.lose_power()
    assert await records(rooms) == changed
    assert await rooms.raw.get("unconfirmed") is None, "else this test proves nothing"


async def test_R_15_what_the_file_declares_survives_the_loss_of_power(machine, rooms):
    config = rooms.config()
    await rooms.keys.declare(replace(config, keys={}, teams={**config.teams, "red": Team("red")}))
    declared = await records(rooms)
    await machine.lose_power()
    assert await records(rooms) == declared
    caller = await rooms.reread()
    assert caller.state == "revoked"


async def test_R_15_a_key_that_was_told_survives_the_loss_of_power(machine, rooms):
    """The key is told long before everything is declared."""
    config, safe = rooms.config(), list[dict[int, int]]()
    keys = {"new": Key("new", "default"), **config.keys}
    (made,) = await rooms.keys.declare(replace(config, keys=keys), tell=lambda _: safe.append(dict(machine.safe)))
    machine.safe = safe[0]
    await machine.lose_power()
    kid = await rooms.raw.hget("{ag}:names", made.name)
    assert await rooms.raw.hget(f"{{ag}}:k:{kid.decode()}", "kh") == rooms.keys.digest(made.text).encode()


SERVED = 8
CUT = 4  # the request whose reservation and settlement the cut is about


@pytest.mark.parametrize("first", ["its heir", "the reaper"])
@pytest.mark.parametrize(
    "end", ["all is lost", "before its settlement", "within its settlement", "after its settlement"]
)
async def test_R_15_what_was_served_is_charged_once_after_the_loss_of_power(machine, rooms, tmp_path, end, first):
    """The reservation of CUT is lost with what follows, or only its settlement is, or nothing of it."""
    register = Register(rooms.connection, rooms.config(), pepper=PEPPER, door="cli")
    made = await register.make_key(Key("bob", "default"))
    await rooms.raw.config_set("appendfsync", "always")  # each answer is in the file when it comes, so that can be cut
    lengths = {"all is lost": machine.length()}
    async with gateway_on(f"unix://{machine.folder}/store.sock", tmp_path / "journal") as dead:
        for number in range(SERVED):
            rid = request_id(int(START * 1000), number.to_bytes(10))
            assert (await rooms.admit(rid, usd=1_000_000)).upstream == "one"
            if number == CUT:
                lengths["before its settlement"] = machine.length()
            assert await dead.settler.settle(rooms.settlement(rid, usd=10**number, began=START))
            if number == CUT:
                lengths["after its settlement"] = machine.length()
                lengths["within its settlement"] = machine.length() - 9
        assert len(set(lengths.values())) == len(lengths)
        assert await spent(rooms) == 11_111_111
        shutil.copytree(tmp_path / "journal", tmp_path / "found")  # as it is on disk while the gateway runs
    await machine.lose_power(lengths[end])
    kept = {"all is lost": 0, "after its settlement": 11_111}.get(end, 1111)
    assert await spent(rooms) == kept
    async with gateway_on(f"unix://{machine.folder}/store.sock", tmp_path / "found") as heir:
        if first == "the reaper":
            await reaped(rooms)
        for _ in range(3):
            await heir.replayed()
        await reaped(rooms)
        assert await heir.journal.count() == 0
    alice = await rooms.numbers("alice")
    assert alice.used["total"] == (11_111_111, 0, 0, SERVED), "each of them, and each once"
    assert (alice.flying, alice.reserved) == (0, (0, 0, 0, 0))
    assert await rooms.raw.zcard("{ag}:leases") == 0
    kid = (await rooms.raw.hget("{ag}:names", "bob")).decode()
    assert await rooms.raw.hget(f"{{ag}}:k:{kid}", "kh") == rooms.keys.digest(made.text).encode()


async def reaped(rooms: Rooms) -> None:
    """The leases of before have run out."""
    seconds, _ = await rooms.raw.time()
    rooms.connection.now_ms = (seconds + 600) * 1000
    await Leases(rooms.connection).reap("charge")
    rooms.connection.now_ms = None
