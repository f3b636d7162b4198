"""The store: can it be reached, and can anything be entrusted to it?"""

import asyncio
import time

from gateway.config.model import Store
from gateway.doctor.finding import Finding, Scene, ok, problem, warning
from gateway.errors import Refused, SetupError
from gateway.groundwork import EMBEDDED, embedded
from gateway.metrics import Metrics
from gateway.store.checks import FORGETS, checked
from gateway.store.connection import opened
from gateway.store.engine import find, is_running
from gateway.store.layout import check_layout
from gateway.store.target import read

PATIENCE = 10.0  # seconds


def store(scene: Scene) -> list[Finding]:
    """The one of `store.url`; else the embedded one, which is not started for this."""
    config = scene.known
    try:
        if config.store.url:
            return asyncio.run(_looked(config.store, config.store.url))
        engine = find()
        folder = config.store.data / EMBEDDED
        if not (folder.is_dir() and is_running(folder)):
            version = ".".join(map(str, engine.version))
            return [ok(f"The embedded store does not run now; {engine.binary.name} {version} would start it.")]
        return asyncio.run(_joined(scene))
    except SetupError as error:
        return [problem(str(error))]


async def _joined(scene: Scene) -> list[Finding]:
    """The embedded one that runs already, for the time of a look."""
    server = embedded(scene.known)
    assert server is not None
    url = await server.start()
    try:
        return await _looked(scene.known.store, url)
    finally:
        await server.stop()


async def _looked(settings: Store, url: str) -> list[Finding]:
    """Raises SetupError."""
    connection = opened(settings, url, Metrics(models=(), teams=()))
    try:
        async with asyncio.timeout(PATIENCE):
            remarks = await checked(connection)
            await check_layout(connection)
            began = time.monotonic()
            await connection.client.ping()
            seconds = time.monotonic() - began
    except (Refused, TimeoutError):
        words = f"The store at {_place(url)} does not answer."
        return [problem(words, "Start it, or put store.url (AUDIOGATE_STORE_URL) right; a firewall may be between.")]
    finally:
        await connection.close()
    found = [_remark(one) for one in remarks]
    if seconds > settings.timeout:
        words = f"The store took {seconds * 1000:.0f} ms for one answer, and store.timeout allows {settings.timeout} s."
        found.append(warning(words, "Bring it closer to the gateway, or raise store.timeout."))
    return found or [ok(f"The store at {_place(url)} answers in {seconds * 1000:.1f} ms.")]


def _remark(words: str) -> Finding:
    remedy = "Set `appendonly yes` there." if words.endswith(FORGETS) else "It can be used; put it right all the same."
    return warning(f"{words[0].upper()}{words[1:]}.", remedy)


def _place(url: str) -> str:
    """Where a store is, without its password."""
    target = read(url)
    if target.addresses:
        return ", ".join(f"{host}:{port}" for host, port in target.addresses)
    options = target.options
    return str(options.get("path") or f"{options.get('host', 'localhost')}:{options.get('port', 6379)}")
