"""Who takes part, and how each is started: a row in CONTESTANTS."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial

from benchmarks import configs, ours, peers
from benchmarks.programs import free_port, running
from benchmarks.setting import Served, Setting, ready, tool, user


@dataclass(frozen=True)
class Contestant:
    """A row: its name on the command line, who it is in a table, and how it is started. `start` raises Unfit."""

    name: str
    title: str
    start: Callable[[Setting], AbstractContextManager[Served]]
    version: Callable[[], str]


@contextmanager
def nginx(setting: Setting, *, buffers: str) -> Iterator[Served]:
    """nginx as a streaming proxy, one worker."""
    port = free_port()
    text = configs.nginx(setting.room, port, setting.upstream, buffers=buffers, user=user(), ca=setting.ca)
    (setting.room / "nginx.conf").write_text(text)
    command = [tool("nginx"), "-p", setting.room, "-c", setting.room / "nginx.conf"]
    with _simple(command, port, setting, name="nginx") as served:
        yield served


@contextmanager
def haproxy(setting: Setting) -> Iterator[Served]:
    """HAProxy, one thread."""
    port = free_port()
    (setting.room / "haproxy.cfg").write_text(configs.haproxy(port, setting.upstream))
    with _simple([tool("haproxy"), "-f", setting.room / "haproxy.cfg"], port, setting, name="haproxy") as served:
        yield served


@contextmanager
def litellm(setting: Setting) -> Iterator[Served]:
    """LiteLLM's proxy, one worker, no database."""
    binary, port = peers.litellm(), free_port()
    (setting.room / "litellm.yaml").write_text(configs.litellm(setting.upstream))
    command = [binary, "--config", setting.room / "litellm.yaml", "--host", "127.0.0.1", "--port", port]
    environment = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_MODE": "PRODUCTION", "LITELLM_LOG": "ERROR"}
    began = time.monotonic()
    with running(command, on=setting.servers[:1], room=setting.room, name="litellm", env=environment) as program:
        ready(program, f"http://127.0.0.1:{port}/health/readiness")
        yield Served(port, program.pid, time.monotonic() - began, ("--header", f"Authorization: Bearer {configs.KEY}"))


@contextmanager
def portkey(setting: Setting) -> Iterator[Served]:
    """Portkey's gateway on Node; where a request goes is told by its headers."""
    script, port = peers.portkey(), free_port()
    command = [tool("node"), "--require", peers.LOOPBACK, script, "--headless", f"--port={port}"]
    headers = (
        f"Authorization: Bearer {configs.KEY}",
        "x-portkey-provider: openai",
        f"x-portkey-custom-host: {setting.upstream}/v1",
    )
    options = tuple(word for header in headers for word in ("--header", header))
    environment = {"TRUSTED_CUSTOM_HOSTS": "127.0.0.1,localhost"}
    with _simple(command, port, setting, name="portkey", env=environment, options=options) as served:
        yield served


@contextmanager
def direct(setting: Setting) -> Iterator[Served]:
    """Nobody: load straight to the upstream. What it costs has to be far less than any contestant."""
    yield Served(int(setting.upstream.rpartition(":")[2]), 0, 0.0)


@contextmanager
def _simple(
    command: Sequence[object],
    port: int,
    setting: Setting,
    *,
    name: str,
    env: Mapping[str, str] | None = None,
    options: tuple[str, ...] = (),
) -> Iterator[Served]:
    began = time.monotonic()
    with running(command, on=setting.servers[:1], room=setting.room, name=name, env=env) as program:
        program.answers_on(port)
        yield Served(port, program.pid, time.monotonic() - began, options)


def _version(name: str, *flags: str) -> Callable[[], str]:
    return partial(peers.said_version, name, *flags)


CONTESTANTS = {
    one.name: one
    for one in (
        Contestant("audiogate", "audiogate", ours.audiogate, peers.our_version),
        Contestant(
            "audiogate-redis", "audiogate, Redis on TCP", partial(ours.audiogate, redis=True), peers.our_version
        ),
        Contestant("audiogate-2", "audiogate, two workers", partial(ours.audiogate, workers=2), peers.our_version),
        Contestant(
            "audiogate-base", "audiogate, other checkout", partial(ours.audiogate, base=True), lambda: "as given"
        ),
        Contestant("nginx", "nginx, large buffers", partial(nginx, buffers="large"), _version("nginx", "-v")),
        Contestant("nginx-stock", "nginx, stock buffers", partial(nginx, buffers="stock"), _version("nginx", "-v")),
        Contestant("haproxy", "HAProxy", haproxy, _version("haproxy", "-v")),
        Contestant("litellm", "LiteLLM", litellm, peers.litellm_version),
        Contestant("portkey", "Portkey", portkey, peers.portkey_version),
        Contestant("direct", "nobody between", direct, str),
    )
}
