"""Upstreams that answer while we still send, and take no more of it: their answer is heard, every time.

They run in threads of their own: whether their answer or the reset comes first is a race on every real network.
"""

import asyncio
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from tests.corpus.replies import GOOD, reply
from tests.relay.certificates import Authority
from tests.relay.relaying import Bodies, ask, relaying

READ = 64 * 1024
SIZE, PIECE = 25 * 1024 * 1024, 256 * 1024
BODY = b'{"error": {"message": "' + b"no " * 1000 + b'"}}'
TRIES = 50


def leave(line: socket.socket) -> None:
    """Close at once; what was not read makes it a reset."""
    line.close()


def linger(line: socket.socket) -> None:
    """Say no more, read on for a while, close."""
    line.shutdown(socket.SHUT_WR)
    line.settimeout(5)
    with suppress(OSError):
        while line.recv(1 << 20):
            pass
    line.close()


def half(line: socket.socket) -> None:
    """Say no more, and close without having read."""
    line.shutdown(socket.SHUT_WR)
    line.close()


def answers(line: socket.socket, data: bytes, end: Callable[[socket.socket], None]) -> None:
    """Read the beginning of a request, answer, end."""
    got = b""
    with suppress(OSError):
        while len(got) < READ:
            got += line.recv(READ)
        line.sendall(data)
    end(line)


@asynccontextmanager
async def threaded(
    data: bytes, end: Callable[[socket.socket], None], tls: ssl.SSLContext | None = None
) -> AsyncIterator[str]:
    """An upstream in a thread; its URL."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    line, _ = listener.accept()
                    answers(tls.wrap_socket(line, server_side=True) if tls else line, data, end)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield f"{'https' if tls else 'http'}://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            await asyncio.to_thread(thread.join, 10)


@pytest.mark.parametrize("end", [leave, linger, half])
@pytest.mark.parametrize("status", [b"413 Content Too Large", b"401 Unauthorized"])
@pytest.mark.parametrize("length", [None, SIZE])
async def test_an_early_answer_is_heard(
    end: Callable[[socket.socket], None], status: bytes, length: int | None
) -> None:
    answer = reply(BODY, b"Connection: close", status=b"HTTP/1.1 " + status)
    heard = 0
    async with threaded(answer, end) as url, relaying() as client:
        for _ in range(TRIES):
            bodies = Bodies(*[b"a" * PIECE] * (SIZE // PIECE))
            said = await ask(client, url, body=bodies, length=length)
            assert (said.status, said.body) == (int(status[:3]), BODY)
            assert bodies.made[0].taken < SIZE
            assert len(bodies.made) == 1
            heard += 1
    print(f"{heard} of {TRIES} early answers were heard")


async def test_an_early_answer_is_heard_though_it_does_not_say_that_it_is_the_last() -> None:
    async with threaded(GOOD, leave) as url, relaying() as client:
        for _ in range(TRIES):
            said = await ask(client, url, body=Bodies(*[b"a" * PIECE] * (SIZE // PIECE)))
            assert said.body == b"good"


async def test_an_early_answer_is_heard_through_tls(authority: Authority, trusting: ssl.SSLContext) -> None:
    """Of those who read on for a while: what others say is lost with the connection, before it can be decrypted."""
    answer = reply(BODY, b"Connection: close", status=b"HTTP/1.1 413 Content Too Large")
    async with threaded(answer, linger, authority.server()) as url, relaying(trusting) as client:
        for _ in range(TRIES):
            bodies = Bodies(*[b"a" * PIECE] * (SIZE // PIECE))
            said = await ask(client, url, body=bodies)
            assert (said.status, said.body) == (413, BODY)
            assert bodies.made[0].taken < SIZE
