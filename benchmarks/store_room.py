"""What keys and requests take in the store's memory and in its append-only file: `python -m benchmarks.store_room`.

A gateway in this process serves requests for speech from a stub, on a Valkey of its own; then the server is asked.
"""

import argparse
import asyncio
import json
import subprocess
import tempfile
from pathlib import Path

import redis.asyncio

from gateway.config.model import Key, Team
from gateway.policy.limits import Limit
from tests.running import configured, key_text, running, until, upstream
from tests.servers import BINARIES
from tests.stub import Answer, stub

AT_ONCE = 16
TEAMS = 20
LIMITS = (Limit("usd", "month", 20_000_000), Limit("requests", "minute", 1_000_000))


async def measured(folder: Path, *, keys: int, requests: int) -> dict[str, float]:
    """Bytes for a key and for a request, in memory and in the file, before and after that is written anew."""
    socket = folder / "store.sock"
    settings = ["--port", "0", "--unixsocket", str(socket), "--dir", str(folder), "--appendonly", "yes", "--save", ""]
    server = await asyncio.create_subprocess_exec(str(BINARIES["valkey"]), *settings, stdout=subprocess.DEVNULL)
    store = redis.asyncio.Redis(unix_socket_path=str(socket))
    try:
        return await _filled(store, f"unix://{socket}", folder, keys=keys, requests=requests)
    finally:
        await store.aclose()
        server.terminate()
        await server.wait()


async def _filled(
    store: "redis.asyncio.Redis", url: str, folder: Path, *, keys: int, requests: int
) -> dict[str, float]:
    await until(lambda: _answers(store), bool)
    names = [f"key{number}" for number in range(keys)]
    rows = {name: Key(name, f"team{at % TEAMS}", key_text(at + 1), limits=LIMITS) for at, name in enumerate(names)}
    teams = {f"team{number}": Team(f"team{number}", limits=LIMITS) for number in range(TEAMS)}
    async with stub() as one:
        one.answers = [Answer(content_type="audio/mpeg", pieces=(b"ID3abc",))]
        alone = configured(folder / "data", upstream("a", one.url), keys={"key0": rows["key0"]}, teams=teams)
        async with running(alone, url=url):  # scripts and all else that does not grow
            before = await _told(store)
        config = configured(folder / "data", upstream("a", one.url), keys=rows, teams=teams)
        async with running(config, url=url) as gateway:
            declared = await _told(store)
            async with gateway.client() as client:

                async def ask(first: int) -> None:
                    for number in range(first, requests, AT_ONCE):
                        shown = {"authorization": f"Bearer {key_text(number % keys + 1)}"}
                        spoken = {"model": "tts-1", "input": "hello", "voice": "alloy"}
                        answer = await client.post("/audio/speech", json=spoken, headers=shown)
                        assert answer.status_code == 200, answer.text

                await asyncio.gather(*(ask(first) for first in range(AT_ONCE)))
            await gateway.idle()
            served = await _told(store)
    stream = int(await store.memory_usage("{ag}:usage", samples=0) or 0)
    await store.bgrewriteaof()
    await until(lambda: store.info("persistence"), lambda info: not info["aof_rewrite_in_progress"], seconds=60)
    rewritten = await _told(store)
    return {
        "keys": keys,
        "requests": requests,
        "memory of a key": (declared["memory"] - before["memory"]) / (keys - 1),
        "memory of a request, its first day": (served["memory"] - declared["memory"]) / requests,
        "memory of its record": stream / requests,
        "file of a request, until it is written anew": (served["file"] - declared["file"]) / requests,
        "file of a request and its share of the keys, then": rewritten["file"] / requests,
    }


async def _answers(store: "redis.asyncio.Redis") -> bool:
    try:
        return bool(await store.ping())
    except redis.ConnectionError:
        return False


async def _told(store: "redis.asyncio.Redis") -> dict[str, int]:
    memory, file = await store.info("memory"), await store.info("persistence")
    return {"memory": memory["used_memory_dataset"], "file": file["aof_current_size"]}


def main() -> None:
    """Print it, as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=1000)
    parser.add_argument("--requests", type=int, default=10_000)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ag", dir="/tmp") as folder:
        found = asyncio.run(measured(Path(folder), keys=asked.keys, requests=asked.requests))
    print(json.dumps({name: round(value) for name, value in found.items()}, indent=2))


if __name__ == "__main__":
    main()
