"""How the gateway itself is started: as its users start it."""

import json
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path

from benchmarks import configs
from benchmarks.programs import Unfit, began_at, free_port, running
from benchmarks.setting import Served, Setting, ready, tool

DECLARED = 10  # keys in its file; more are made when it runs


def key_texts(count: int) -> list[str]:
    """Well-formed keys of ours, always the same."""
    from gateway.policy.keys import mint  # here, since the other contestants do without the gateway

    return [mint((2**200 + at).to_bytes(33, "little")) for at in range(count)]


@contextmanager
def audiogate(setting: Setting, *, workers: int = 1, redis: bool = False, base: bool = False) -> Iterator[Served]:
    """`audiogate serve` with its embedded store, or with Redis on TCP; the store is moved to the other core.

    `base`: the code of another checkout, to be compared with.
    """
    room, port, keys = setting.room, free_port(), key_texts(min(setting.keys, DECLARED))
    stores: dict[int, str] = {}
    environment = {"SSL_CERT_FILE": str(setting.ca)} if setting.ca else {}
    if base:
        environment["PYTHONPATH"] = str(setting.base)
    with ExitStack() as stack:
        stack.callback(_end_stores, stores)
        url = stack.enter_context(_redis(setting, stores)) if redis else ""
        (room / "gateway.yaml").write_text(configs.audiogate(setting.upstream, keys, workers=workers, store=url))
        command = [sys.executable, "-m", "gateway", "serve", "--config", room / "gateway.yaml", "--port", port]
        began = time.monotonic()
        on = (*setting.servers, setting.aside)[:workers]
        program = stack.enter_context(running(command, on=on, room=room, name="audiogate", env=environment))
        ready(program, f"http://127.0.0.1:{port}/readyz")
        seconds = time.monotonic() - began
        if not redis:
            pid = int((room / "data" / "store" / "store.pid").read_text())
            stores[pid] = began_at(pid)
            _pin(pid, setting.aside)
        keys += _more_keys(port, setting.keys - len(keys))
        (room / "keys").write_text("\n".join(keys) + "\n")
        yield Served(port, program.pid, seconds, ("--keys", str(room / "keys")), tuple(stores))


@contextmanager
def _redis(setting: Setting, stores: dict[int, str]) -> Iterator[str]:
    """The URL of a Redis that keeps what it is told as the embedded store does."""
    port = free_port()
    command = [tool("redis-server"), "--port", port, "--bind", "127.0.0.1", "--dir", setting.room, "--save", ""]
    command += ["--appendonly", "yes", "--appendfsync", "everysec", "--maxmemory-policy", "noeviction"]
    with running(command, on=[setting.aside], room=setting.room, name="redis") as program:
        program.answers_on(port)
        stores[program.pid] = began_at(program.pid)
        yield f"redis://127.0.0.1:{port}"


def _pin(pid: int, core: int) -> None:
    """Move all threads of a process to a core."""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(thread.name), [core])


def _more_keys(port: int, count: int) -> list[str]:
    """Have the gateway make keys: its file cannot be long enough for thousands."""
    found = []
    with closing(HTTPConnection("127.0.0.1", port, timeout=30)) as line:
        for at in range(count):
            asked = json.dumps({"name": f"more-{at}", "limits": configs.LIMITS})
            headers = {"Authorization": f"Bearer {configs.ADMIN}", "Content-Type": "application/json"}
            line.request("POST", "/admin/keys", body=asked, headers=headers)
            answer = line.getresponse()
            said = answer.read().decode()
            if answer.status >= 300:
                raise Unfit(f"it made no key: {said[:200]}")
            found.append(str(json.loads(said)["key"]))
    return found


def _end_stores(stores: Mapping[int, str]) -> None:
    """A store ends with its gateway; should one not, it is ended here."""
    for pid, began in stores.items():
        if began_at(pid) == began:
            os.kill(pid, signal.SIGTERM)
