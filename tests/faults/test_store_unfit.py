"""The store is not there yet, or must not be used."""

import asyncio
import time
from contextlib import suppress
from pathlib import Path

import httpx2
import pytest

from gateway.errors import SetupError
from gateway.groundwork import declare
from tests.faults.stores import proven_child
from tests.launched import COMMAND, _start, config_of, environment, free_port, room
from tests.launched import until as until_so
from tests.running import configured
from tests.servers import EACH_ENGINE, ENGINES, client_of, free_ports, listening, start_store


async def test_R_1_a_store_that_is_away_at_the_start_is_waited_for() -> None:
    """Alive, not ready, and it says why; ready by itself as soon as the store is."""
    with room() as folder:
        ports = free_ports(2)
        path = config_of(
            folder,
            f"store: {{url: 'redis://127.0.0.1:{ports[0]}', data: data, pepper: 0123456789abcdef}}",
            "upstreams: {a: {kind: openai, base_url: 'http://127.0.0.1:9/v1', allow_private: true, models: [tts-1]}}",
            "prices: {tts-1: {per_1m_characters: 15}}",
            "keys: {alice: {}}",
        )
        port, said = free_port(), folder / "said.log"
        process = _start([*COMMAND, "serve", "-c", path, "--port", str(port)], folder, environment(folder))
        try:
            await until_so(lambda: "the store does not answer" in said.read_text(), else_tell=said.read_text)
            async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
                assert await status(client, "/livez", 200)
                assert await status(client, "/readyz", 503)
                with listening(ENGINES[0], ports=(ports[0], ports[1])) as store:
                    await store.answering()
                    began = time.monotonic()
                    assert await status(client, "/readyz", 200)
                    took = time.monotonic() - began
                    await until_so(lambda: "ag_" in said.read_text(), else_tell=said.read_text)
        finally:
            process.terminate()
            assert process.wait(20) == 0, said.read_text()
    print(f"R-1 ready {took:.2f} s after the store")
    assert took < 2


async def status(client: httpx2.AsyncClient, path: str, wanted: int) -> bool:
    """Ask until the answer is the wanted one."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with suppress(httpx2.TransportError):
            if (await client.get(path)).status_code == wanted:
                return True
        await asyncio.sleep(0.02)
    return False


@pytest.mark.parametrize("engine", EACH_ENGINE)
async def test_R_8_a_store_that_throws_keys_away_is_not_used(engine: str, data: Path) -> None:
    with start_store(engine) as url:
        async with client_of(url) as client:
            await proven_child(client)
            await client.config_set("maxmemory-policy", "allkeys-lru")
        with pytest.raises(SetupError, match=r"allkeys-lru.*noeviction"):
            await declare(configured(data), url)


@pytest.mark.parametrize("engine", EACH_ENGINE)
async def test_R_12_a_wrong_password_or_a_right_that_is_missing_is_named(engine: str, data: Path) -> None:
    with listening(engine) as server:
        await server.answering()
        async with client_of(server.url) as client:
            await proven_child(client)
            await client.execute_command("ACL", "SETUSER", "low", "on", ">pw", "~*", "+@all", "-eval", "-evalsha")
            await client.config_set("requirepass", "right")
        address = server.url.removeprefix("redis://")
        with pytest.raises(SetupError, match="refuses the user and password"):
            await declare(configured(data), f"redis://:wrong@{address}")
        with pytest.raises(SetupError, match="eval"):
            await declare(configured(data), f"redis://low:pw@{address}")
        await declare(configured(data), f"redis://:right@{address}")
