"""Where is the master? Sentinels are asked, or the nodes of a cluster."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.sentinel import Sentinel
from redis.crc import key_slot
from redis.exceptions import AuthenticationError, RedisError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError

from gateway.store.target import Address


class Finder:
    """Finds the master. All who ask at once get one answer, and who gives up waiting does not end the search."""

    def __init__(self) -> None:
        self._search: asyncio.Task[Address] | None = None

    async def discover_master(self, service: str) -> Address:
        """Its address. Raises RedisError."""
        if self._search is None or self._search.done():
            self._search = asyncio.get_running_loop().create_task(self._find(service), name="find the master")
            self._search.add_done_callback(_seen)
        return await asyncio.shield(self._search)

    async def misplaced(self, service: str) -> str:
        """What is wrong with where we were told to look, "" if nothing is known to be: a later search may succeed."""
        raise NotImplementedError

    async def close(self) -> None:
        """End a search that is under way."""
        if self._search is not None and not self._search.done():
            self._search.cancel()
            await asyncio.wait([self._search])

    async def _find(self, service: str) -> Address:
        raise NotImplementedError


class Sentinels(Finder):
    """Asks Sentinels, first the one that knew it last. `service` is their name for the master."""

    def __init__(self, clients: Sequence[Redis]) -> None:
        super().__init__()
        self._sentinel = Sentinel([])  # type: ignore[no-untyped-call]
        self._sentinel.sentinels = list(clients)

    async def misplaced(self, service: str) -> str:
        """Whether a Sentinel refuses us, or none that answers knows this master."""
        known: set[str] = set()
        for one in self._sentinel.sentinels:
            try:
                known |= {str(name) for name in await one.sentinel_masters()}
            except AuthenticationError:
                return "The Sentinels refuse us; write ?sentinel_password=… (and sentinel_username) in store.url."
            except RedisError:
                continue
        if not known or service in known:
            return ""
        return f"The Sentinels watch no '{service}' but {', '.join(sorted(known))}; write that name in store.url."

    async def close(self) -> None:
        """Close the connections, too."""
        await super().close()
        await self._sentinel.aclose()

    async def _find(self, service: str) -> Address:
        host, port = await self._sentinel.discover_master(service)
        return str(host), int(port)


class ClusterNodes(Finder):
    """Asks nodes of a cluster, first the one that knew it last; `service` is a key. `at` gives a client of a node."""

    def __init__(self, seeds: Sequence[Address], at: Callable[[Address], Redis]) -> None:
        super().__init__()
        self._seeds, self._at = tuple(seeds), at
        self._nodes = self._seeds

    async def misplaced(self, service: str) -> str:
        """Whether the first that answers is no node of a cluster."""
        del service
        for host, port in self._seeds:
            try:
                async with self._at((host, port)) as node:
                    enabled = (await node.info("cluster")).get("cluster_enabled")
            except RedisError:
                continue
            return (
                "" if enabled else f"{host}:{port} is no node of a cluster; write redis://{host}:{port} in store.url."
            )
        return ""

    async def _find(self, service: str) -> Address:
        wrong: RedisError = RedisConnectionError("no node of the cluster knows who serves our keys")
        for address in self._nodes:
            try:
                return await self._ask(address, key_slot(service.encode()))
            except (AuthenticationError, ResponseError) as error:
                wrong = error  # what can be mended is told, not that another node is away
            except RedisError:
                continue
        raise wrong

    async def _ask(self, address: Address, slot: int) -> Address:
        async with self._at(address) as node:
            # One that is cut off from the others goes on believing in what was, but knows that it is cut off.
            ask: Callable[[str], Awaitable[Any]] = node.execute_command
            if (await ask("CLUSTER INFO"))["cluster_state"] != "ok":
                raise RedisConnectionError(f"for {address[0]}:{address[1]} the cluster is down")
            rows = await ask("CLUSTER SLOTS")
        found = None
        nodes = [address]
        for first, last, *serving in rows:
            there = [(str(host or address[0]), int(port)) for host, port, *_ in serving]
            nodes += there
            found = there[0] if first <= slot <= last else found
        self._nodes = tuple(dict.fromkeys([*nodes, *self._seeds]))
        if found is None:
            raise RedisConnectionError(f"no node serves slot {slot}")
        return found


def _seen(search: "asyncio.Task[Address]") -> None:
    """An error that nobody waited for is no news."""
    if not search.cancelled():
        search.exception()
