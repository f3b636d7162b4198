"""What the machine knows: sockets, bytes under way; and ports on which nothing can be reached."""

import asyncio
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def sockets() -> int:
    """How many sockets this process has open."""
    count = 0
    for name in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):
            count += os.readlink(f"/proc/self/fd/{name}").startswith("socket:")
    return count


def under_way(port: int) -> int:
    """Bytes to and from a port of this machine that the kernel holds: sent and not yet read."""
    count = 0
    for row in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, _, queues, *_ = row.split()
        if int(local.rpartition(":")[2], 16) == port or int(remote.rpartition(":")[2], 16) == port:
            count += sum(int(size, 16) for size in queues.split(":"))
    return count


async def until(true: Callable[[], object], told: Callable[[], object] = lambda: "", *, seconds: float = 5.0) -> None:
    """Look again and again until it is so; `told` says in the failure how things are."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not true():
        assert asyncio.get_running_loop().time() < deadline, told()
        await asyncio.sleep(0.002)


async def stalled(count: Callable[[], int], *, seconds: float = 0.1) -> int:
    """Wait until a count has begun to grow and has then stood still for so long; it is returned."""
    loop = asyncio.get_running_loop()
    last, since, deadline = 0, loop.time(), loop.time() + 10
    while not last or loop.time() - since < seconds:
        assert loop.time() < deadline, "it grows on and on, or never began"
        if (now := count()) != last:
            last, since = now, loop.time()
        await asyncio.sleep(0.005)
    return last


def closed_port() -> int:
    """A port that refuses."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextmanager
def black_hole(host: str = "127.0.0.1", port: int = 0) -> Iterator[int]:
    """A port on which no connection is ever made, and none refused: its queue is full."""
    with socket.socket() as full:
        full.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        full.bind((host, port))
        full.listen(0)
        waiting = [socket.socket() for _ in range(3)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        try:
            yield int(full.getsockname()[1])
        finally:
            for one in waiting:
                one.close()
