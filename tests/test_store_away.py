"""`audiogate serve` with a store that is not there yet, or must not be used."""

import asyncio
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from tests.launched import COMMAND, _start, config_of, environment, free_port, room, run, until
from tests.servers import BINARIES

needs_redis = pytest.mark.skipif("redis" not in BINARIES, reason="no redis-server is installed")


def configured(folder: Path, url: str) -> str:
    return config_of(
        folder,
        f"store: {{url: '{url}', data: data, pepper: 0123456789abcdef}}",
        "upstreams: {a: {kind: openai, base_url: 'http://127.0.0.1:9/v1', allow_private: true, models: [tts-1]}}",
        "prices: {tts-1: {per_1m_characters: 15}}",
        "keys: {alice: {}}",
    )


@contextmanager
def redis(folder: Path, port: int, *settings: str) -> Iterator[None]:
    """A Redis of our own on a port."""
    command = [str(BINARIES["redis"]), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), *settings]
    with open(folder / "redis.log", "wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.kill()
        process.wait()


@needs_redis
async def test_a_store_that_is_away_at_the_start_is_waited_for() -> None:
    with room() as folder:
        store, port = free_port(), free_port()
        path = configured(folder, f"redis://127.0.0.1:{store}")
        process = _start([*COMMAND, "serve", "-c", path, "--port", str(port)], folder, environment(folder))
        said = folder / "said.log"
        try:
            await until(lambda: "the store does not answer" in said.read_text(), else_tell=said.read_text)
            async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
                assert await status(client, "/livez", 200)
                assert (await client.get("/readyz")).status_code == 503
                with redis(folder, store):
                    began = time.monotonic()
                    assert await status(client, "/readyz", 200)
                    took = time.monotonic() - began
                    await until(lambda: "ag_" in said.read_text(), else_tell=said.read_text)
            assert took < 10, "a few rests of the breaker, not an outage of its own"
        finally:
            process.terminate()
            assert process.wait(20) == 0, said.read_text()


async def status(client: httpx2.AsyncClient, path: str, wanted: int) -> bool:
    """Ask until the answer is the wanted one."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            if (await client.get(path)).status_code == wanted:
                return True
        except httpx2.TransportError:
            pass
        await asyncio.sleep(0.02)
    return False


@needs_redis
@pytest.mark.parametrize(
    ("settings", "url", "words"),
    [
        (["--requirepass", "secret"], "redis://127.0.0.1:{}", "refuses the user and password"),
        (["--requirepass", "secret"], "redis://:wrong@127.0.0.1:{}", "refuses the user and password"),
        (["--maxmemory", "50mb", "--maxmemory-policy", "allkeys-lru"], "redis://127.0.0.1:{}", "allkeys-lru"),
        (
            ["--user", "low", "on", ">pw", "~*", "+info", "+ping", "+hello", "+client"],
            "redis://low:pw@127.0.0.1:{}",
            "may not do",
        ),
    ],
    ids=["no password", "wrong password", "keys thrown away", "rights missing"],
)
async def test_a_store_that_must_not_be_used_stops_the_start(settings: list[str], url: str, words: str) -> None:
    with room() as folder:
        port = free_port()
        with redis(folder, port, *settings):
            ended = await asyncio.to_thread(answer, folder, configured(folder, url.format(port)))
    assert ended.returncode == 1
    assert words in ended.stderr
    assert "Traceback" not in ended.stderr + ended.stdout


def answer(folder: Path, path: str) -> "subprocess.CompletedProcess[str]":
    """Start it until the store has had time to come up."""
    deadline = time.monotonic() + 10
    while True:
        log = (folder / "redis.log").read_text()
        if "Ready to accept" in log or time.monotonic() > deadline:
            return run(folder, "serve", "-c", path, "--port", "0")
        time.sleep(0.02)
