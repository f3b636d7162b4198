"""SIGHUP at the real command, with one process that serves and with two: what a changed file does, and that nobody
who is being served notices.
"""

import asyncio
import fcntl
import json
import os
import pty
import re
import signal
import subprocess
import termios
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest

from tests.launched import COMMAND, Launched, environment, launched, processes_in, ready, room, transcribe, until
from tests.stub import Answer, Stub, said, stub

MINUTE = {"type": "duration", "seconds": 60}
DONE, WRONG = "counts from the next request on", "nothing is changed"
FILE = """\
server: {{host: 127.0.0.1, workers: {workers}}}
store: {{data: data, fsync: {fsync}}}
upstreams:
  {name}: {{kind: openai, base_url: "{url}", models: [whisper-1], allow_private: true,
            prices: {{whisper-1: {{per_minute: {price}}}}}}}
teams: {{default: {{limits: [{{measure: requests, per: day, amount: {amount}}}]}}}}
keys: {{{keys}}}
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A room of its own."""
    with room() as one:
        yield one


@pytest.fixture
async def upstream() -> AsyncIterator[Stub]:
    """Where requests go: it says that each was a minute."""
    async with stub() as one:
        one.answers = [said(usage=MINUTE)]
        yield one


@pytest.fixture(params=[1, 2], ids=["one process", "two workers"])
def workers(request: pytest.FixtureRequest) -> int:
    """How many processes serve."""
    return int(request.param)


class File:
    """The configuration file, which is changed while the gateway serves."""

    def __init__(self, folder: Path, workers: int, upstream: Stub) -> None:
        self.path = folder / "gateway.yaml"
        self.facts = {
            "workers": workers,
            "fsync": "always",
            "name": "stub",
            "url": upstream.url,
            "price": "0.006",
            "amount": 1_000_000,
            "keys": "alice: {}",
        }
        self.write()

    def write(self, **changes: object) -> None:
        """Change it; what is not named stays as it was."""
        self.facts |= changes  # type: ignore[operator]
        self.path.write_text(FILE.format(**self.facts))

    @asynccontextmanager
    async def launched(self) -> AsyncIterator[Launched]:
        """The gateway that serves by it."""
        async with launched(self.path.parent, "-c", str(self.path)) as one:
            yield one

    def started(self, *, terminal: int = subprocess.DEVNULL) -> Launched:
        """The same, not waited for; with a terminal of its own if there is one."""
        folder = self.path.parent
        with open(folder / "said.log", "wb") as out:
            process = subprocess.Popen(
                [*COMMAND, "serve", "--port", "0", "-c", str(self.path)],
                cwd=folder,
                env=environment(folder),
                stdin=terminal,
                stdout=out,
                stderr=out,
                start_new_session=True,
                preexec_fn=_own_terminal if terminal >= 0 else None,
            )
        return Launched(process, folder / "said.log")

    async def reload(self, one: Launched, **changes: object) -> None:
        """Change it, send the signal, wait until all processes go by it."""
        processes = int(str(self.facts["workers"])) + (self.facts["workers"] != 1)
        before = one.said.count(DONE)
        self.write(**changes)
        one.process.send_signal(signal.SIGHUP)
        await until(lambda: one.said.count(DONE) == before + processes, else_tell=lambda: one.said)


def records(one: Launched) -> list[dict[str, object]]:
    """The requests that were served, as the log has them, in the order in which they began."""
    lines = [json.loads(line) for line in one.said.splitlines() if line.startswith("{")]
    return sorted((line for line in lines if "cost_micro_usd" in line), key=lambda line: float(line["at"]))


async def numbers(client: httpx2.AsyncClient, name: str) -> dict[str, float]:
    """A gauge by its first label's value."""
    text = (await client.get("/metrics")).text
    found = re.findall(rf'^audiogate_{name}(?:\{{\w+="([^"]*)".*\}})? (\S+)$', text, re.MULTILINE)
    return {label: float(value) for label, value in found}


async def test_Q_10_a_request_under_way_is_charged_at_its_price_and_the_next_at_the_new_one(
    folder: Path, upstream: Stub, workers: int
) -> None:
    hold = asyncio.Event()
    upstream.answers = [
        Answer(pieces=(json.dumps({"text": "hello", "usage": MINUTE}).encode(),), hold=hold),
        *upstream.answers,
    ]
    file = File(folder, workers, upstream)
    file.write(amount=1)
    async with file.launched() as one, one.client() as client:
        runs = asyncio.ensure_future(transcribe(client))
        await upstream.request()
        await file.reload(one, price="0.06", amount=2)
        assert (await transcribe(client)).status_code == 200
        assert (await transcribe(client)).json()["error"]["code"] == "insufficient_quota"
        hold.set()
        assert (await runs).status_code == 200
        await until(lambda: len(records(one)) == 3, else_tell=lambda: one.said)
        assert [line["cost_micro_usd"] for line in records(one)] == [6_000, 60_000, 0]
        assert await one.stopped() == 0
    assert one.said.count(DONE) == (1 if workers == 1 else 3)


async def test_a_wrong_file_changes_nothing_and_is_told_with_its_lines(
    folder: Path, upstream: Stub, workers: int
) -> None:
    file = File(folder, workers, upstream)
    async with file.launched() as one, one.client() as client:
        file.write(price="x", amount=-1, name="other")
        one.process.send_signal(signal.SIGHUP)
        await until(lambda: WRONG in one.said, else_tell=lambda: one.said)
        told = [line.partition(f"{file.path}:")[2].partition(": ")[0] for line in one.said.splitlines()]
        assert [line for line in told if line] == ["5", "6"]
        for _ in range(4):
            assert (await transcribe(client)).status_code == 200
        await until(lambda: len(records(one)) == 4)
        assert {(line["upstream"], line["cost_micro_usd"]) for line in records(one)} == {("stub", 6_000)}
        await file.reload(one, price="0.06", amount=9, name="other")
        assert (await transcribe(client)).status_code == 200
        await until(lambda: len(records(one)) == 5)
        assert (records(one)[-1]["upstream"], records(one)[-1]["cost_micro_usd"]) == ("other", 60_000)
        assert await one.stopped() == 0


async def test_keys_come_and_go_with_the_file(folder: Path, upstream: Stub, workers: int) -> None:
    file = File(folder, workers, upstream)
    async with file.launched() as one:
        alice = one.key
        await file.reload(one, keys="alice: {}, bob: {}")
        (bob,) = set(re.findall(r"^ +(ag_\w+)$", one.said, re.MULTILINE)) - {alice}
        assert "A key was made for 'bob'" in one.said
        async with one.client(alice) as client, one.client(bob) as other:
            assert (await transcribe(client)).status_code == (await transcribe(other)).status_code == 200
            await file.reload(one, keys="bob: {}")
            assert (await transcribe(client)).status_code == 401
            assert (await transcribe(other)).status_code == 200
        await file.reload(one)
        assert one.said.count(bob) == 1
        assert await one.stopped() == 0


async def test_Q_11_a_key_that_leaves_the_file_ends_what_runs_on_it(folder: Path, upstream: Stub, workers: int) -> None:
    upstream.answers = [Answer(pieces=(b'{"text":', b'"hello"}'), gate=asyncio.Event())]
    file = File(folder, workers, upstream)
    async with file.launched() as one, one.client() as client:
        runs = asyncio.ensure_future(transcribe(client))
        await upstream.request()
        await file.reload(one, keys="bob: {}")
        with pytest.raises(httpx2.TransportError):  # its answer had begun and is cut off
            await runs
        await until(lambda: len(records(one)) == 1, else_tell=lambda: one.said)
        assert records(one)[0]["error"] == "revoked_key"
        assert (await transcribe(client)).status_code == 401
        assert await one.stopped() == 0


async def test_upstreams_come_and_go_and_one_that_went_is_still_charged_for(
    folder: Path, upstream: Stub, workers: int
) -> None:
    hold = asyncio.Event()
    upstream.answers = [Answer(hold=hold), *upstream.answers]
    file = File(folder, workers, upstream)
    async with file.launched() as one, one.client() as client:
        runs = asyncio.ensure_future(transcribe(client))
        await upstream.request()
        await file.reload(one, name="other")
        assert (await transcribe(client)).status_code == 200
        hold.set()
        assert (await runs).status_code == 200
        await until(lambda: len(records(one)) == 2, else_tell=lambda: one.said)
        assert [line["upstream"] for line in records(one)] == ["stub", "other"]
        for _ in range(4):  # whichever worker is asked
            assert await numbers(client, "upstream_up") == {"other": 1}
        async with asyncio.timeout(20):
            while await numbers(client, "reservations_held") != {"": 0}:  # bills are written behind the answers
                await asyncio.sleep(0.01)
        assert await one.stopped() == 0
    assert "Traceback" not in one.said


async def test_what_takes_a_restart_is_told_in_one_line(folder: Path, upstream: Stub, workers: int) -> None:
    file = File(folder, workers, upstream)
    async with file.launched() as one, one.client() as client:
        pid = one.process.pid
        await file.reload(one, fsync="everysec")
        (told,) = [line for line in one.said.splitlines() if "restart the gateway" in line]
        assert "store.fsync: changed in" in told
        assert (await transcribe(client)).status_code == 200
        assert (one.process.pid, one.process.poll()) == (pid, None)
        assert await one.stopped() == 0


async def test_no_request_is_lost_while_the_file_is_read_again_and_again(
    folder: Path, upstream: Stub, workers: int
) -> None:
    file = File(folder, workers, upstream)
    answers: Counter[object] = Counter()
    over = asyncio.Event()

    async def ask(client: httpx2.AsyncClient) -> None:
        while not over.is_set():
            try:
                answers[(await transcribe(client)).status_code] += 1
            except httpx2.TransportError as error:
                answers[repr(error)] += 1

    async with file.launched() as one, one.client() as fresh:
        kept = httpx2.AsyncClient(base_url=one.origin, headers=fresh.headers, timeout=20, trust_env=False)
        async with kept:
            asking = [asyncio.ensure_future(ask(client)) for client in (fresh, fresh, kept, kept)]
            for count in range(6):
                await file.reload(one, price=f"0.0{count + 1}", name=f"stub{count % 2}")
                before = answers.total()  # one more than may be under way began by the new file
                await until(lambda before=before: answers.total() > before + 4)  # type: ignore[misc]
            over.set()
            await asyncio.gather(*asking)
        assert set(answers) == {200}
        await until(lambda: len(records(one)) == answers.total())
        assert await one.stopped() == 0
    assert len(upstream.seen) == answers.total()
    assert {line["cost_micro_usd"] for line in records(one)} >= {10_000, 60_000}


async def test_a_file_that_is_put_in_the_place_of_the_old_one_is_read_though_nobody_asks(
    folder: Path, upstream: Stub, workers: int
) -> None:
    file = File(folder, workers, upstream)
    async with file.launched() as one, one.client() as client:
        shown, file.path = file.path, folder / "next.yaml"
        file.write(price="0.06")
        file.path.replace(shown)
        await until(lambda: one.said.count(DONE) == (1 if workers == 1 else 3), else_tell=lambda: one.said)
        assert (await transcribe(client)).status_code == 200
        await until(lambda: len(records(one)) == 1)
        assert records(one)[0]["cost_micro_usd"] == 60_000
        assert await one.stopped() == 0
    assert "Traceback" not in one.said


async def test_a_signal_that_comes_while_it_starts_is_not_lost(folder: Path, upstream: Stub, workers: int) -> None:
    file = File(folder, workers, upstream)
    one = file.started()
    await until(lambda: (folder / "data" / "store").exists(), else_tell=lambda: one.said)  # it has read its file
    file.write(price="0.06")
    one.process.send_signal(signal.SIGHUP)
    await until(lambda: bool(one.origin), else_tell=lambda: one.said)
    await until(lambda: one.said.count(DONE) == (1 if workers == 1 else 3), else_tell=lambda: one.said)
    await ready(one)
    async with one.client() as client:
        assert (await transcribe(client)).status_code == 200
    await until(lambda: len(records(one)) == 1)
    assert records(one)[0]["cost_micro_usd"] == 60_000
    assert await one.stopped() == 0


async def test_a_worker_that_is_started_later_goes_by_the_file_as_it_was_read_last(
    folder: Path, upstream: Stub
) -> None:
    file = File(folder, 2, upstream)
    async with file.launched() as one, one.client() as client:
        await file.reload(one, price="0.06")
        file.path.write_text("nobody can read this one")
        for pid in workers_of(one):
            os.kill(pid, signal.SIGKILL)
        async with asyncio.timeout(20):
            while True:
                try:
                    if (await transcribe(client)).status_code == 200:
                        break
                except httpx2.TransportError:  # nobody serves just now
                    await asyncio.sleep(0.01)
        await until(lambda: bool(records(one)))
        assert {line["cost_micro_usd"] for line in records(one)} == {60_000}
        assert await one.stopped() == 0


def workers_of(one: Launched) -> list[int]:
    """The processes that serve."""
    children = Path(f"/proc/{one.process.pid}/task/{one.process.pid}/children").read_text().split()
    return [int(pid) for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]


async def test_a_terminal_that_closes_ends_it_as_ever(folder: Path, upstream: Stub, workers: int) -> None:
    file = File(folder, workers, upstream)
    ours, theirs = pty.openpty()
    one = file.started(terminal=theirs)
    os.close(theirs)
    await until(lambda: bool(one.origin), else_tell=lambda: one.said)
    await ready(one)
    one.process.send_signal(signal.SIGHUP)  # an operator's, while the terminal is there
    await until(lambda: one.said.count(DONE) == (1 if workers == 1 else 3), else_tell=lambda: one.said)
    os.close(ours)
    assert await one.ended() == 0
    await until(lambda: not processes_in(folder))


def _own_terminal() -> None:
    """Make standard input the terminal of this session."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
