"""Both event loops, certificates, and after each test: no task, no socket, no complaint may be left."""

import asyncio
import gc
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import pytest
import uvloop

from tests.relay.certificates import Authority
from tests.relay.machine import sockets, until
from tests.relay.relaying import Resolve, turn


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Every test of this folder runs on both loops, unless it asks for one."""
    return {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}


@pytest.fixture(autouse=True)
async def clean() -> AsyncIterator[None]:
    """Nothing is left behind, and nothing was told to the loop's exception handler."""
    loop = asyncio.get_running_loop()
    complaints: list[dict[str, object]] = []
    loop.set_exception_handler(lambda _, context: complaints.append(context))
    before = sockets()
    yield

    def left() -> list[object]:
        more = sockets() - before
        return [*(asyncio.all_tasks() - {asyncio.current_task()}), *([f"{more} sockets"] if more > 0 else [])]

    await until(lambda: not left(), left)
    gc.collect(1)  # an exception that nobody fetched is told of when its task is collected
    await asyncio.sleep(0)
    assert not complaints


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the client keeps it keeps for long: that it is closed is never because it was idle."""
    turn(monkeypatch, "KEEP_ALIVE", 600.0)


@pytest.fixture
async def resolve(monkeypatch: pytest.MonkeyPatch) -> Resolve:
    """Called with addresses, makes every name that ends in .test have these; called with none, it has none."""
    loop = asyncio.get_running_loop()
    real = loop.getaddrinfo

    def found(*addresses: tuple[str, int]) -> None:
        async def getaddrinfo(host: str, *args: Any, **more: Any) -> list[Any]:
            if not str(host).endswith(".test"):
                return list(await real(host, *args, **more))
            if not addresses:
                raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
            return [
                (socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port, 0, 0))
                if ":" in address
                else (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port))
                for address, port in addresses
            ]

        monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo)

    return found


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Who signs the certificates of the tests' upstreams."""
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="session")
def trusting(authority: Authority) -> ssl.SSLContext:
    """A client's context that trusts this authority alone."""
    return ssl.create_default_context(cafile=authority.certificate)
