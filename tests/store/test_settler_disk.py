"""A full disk: what cannot be written down is still charged, and so is what was written down before."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

from tests.running import until

ROOT = Path(__file__).parent.parent.parent
# A process of its own: the limit on the size of its files, which stands for a full disk, is for all that it writes.
GATEWAY = """
import asyncio, json, logging, resource, signal, sys
from pathlib import Path
from gateway.metrics import Metrics
from gateway.policy.ids import request_id
from gateway.settler import Settler
from gateway.store.connection import Connection
from gateway.store.journal import KEEP, Journal
from tests.store.conftest import BEGAN, Rooms
from tests.wires import wired

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write that does not fit fails then, and does not kill
logging.disable()

def bill(number):
    return Rooms.settlement(request_id(int(BEGAN * 1000), number.to_bytes(10)), usd=10**number)

async def main(folder, url):
    said = {}
    async with wired(url) as wire:
        metrics = Metrics(models=(), teams=())
        connection = Connection(wire.url, metrics)
        times = [BEGAN]
        journal = Journal(folder, clock=lambda: times[-1])
        journal.open()
        settler = Settler(connection, journal, metrics=metrics)
        said["room left"] = await settler.settle(bill(3))
        times.append(BEGAN + KEEP)  # that one may be removed now; there is no room to do so
        wire.refuses = True
        wire.cut()
        said["written down"] = await settler.settle(bill(0))
        (log,) = folder.glob("*.db-wal")  # all that is written goes there first
        most = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (log.stat().st_size, most[1]))
        said["not written"] = await settler.settle(bill(1))
        said["in memory"] = len(settler._unwritten)
        wire.refuses = False
        connection._breakers = {}
        said["replayed"] = len(await settler.replay())
        said["again"] = len(await settler.replay())
        said["at once"] = await settler.settle(bill(2))
        resource.setrlimit(resource.RLIMIT_FSIZE, most)
        await settler.replay()
        said["owed"] = await journal.count()
        await journal.close()
        await connection.close()
    print(json.dumps(said))

asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
"""


async def test_settlements_are_sent_though_the_journal_cannot_be_written(rooms, url, tmp_path):
    await rooms.declare()
    ended = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", GATEWAY, str(tmp_path), url],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    said = json.loads(ended.stdout)
    assert said["room left"]
    assert (said["written down"], said["not written"]) == (False, False), "the store was away"
    assert said["in memory"] == 1
    assert said["replayed"] == 2
    assert said["again"] == 1, "it cannot be noted that the one on disk was taken: it is sent again, which is harmless"
    assert said["at once"]
    assert said["owed"] == 0, "all was noted once there was room"
    used = await until(lambda: rooms.numbers("alice"), lambda found: found.used["total"][0])
    assert used.used["total"] == (1111, 0, 0, 4)
    assert await rooms.raw.xlen("{ag}:usage") == 4
