"""Looking at pages without a browser."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import httpx2

from gateway.config.model import Key, Server, Team
from gateway.policy.limits import Limit
from tests.running import Running, configured, key_text, running, upstream
from tests.stub import Stub, stub

TOKEN = "a token of operators, long enough"
TEAMS = {
    "default": Team("default", limits=(Limit("usd", "month", 20_000_000),)),
    "red": Team("red", limits=(Limit("audio_seconds", "day", 3_600_000), Limit("requests", "minute", 60))),
}
KEYS = {
    "alice": Key("alice", "default", key_text(1), limits=(Limit("usd", "month", 1_000_000),)),
    "bob": Key("bob", "red", key_text(2)),
}


@asynccontextmanager
async def house(store_url: str, data: Path, *, token: str = TOKEN) -> AsyncIterator[tuple[Running, Stub]]:
    """A gateway with pages, two teams, two keys, and an upstream."""
    async with stub() as one:
        config = configured(data, upstream("a", one.url), teams=TEAMS, keys=KEYS)
        config = replace(config, server=Server(admin_token=token, trusted_proxies=("127.0.0.9/32",)))
        async with running(config, url=store_url) as gateway:
            yield gateway, one


@asynccontextmanager
async def visitor(origin: str, secret: str = "") -> AsyncIterator[httpx2.AsyncClient]:
    """Somebody who looks; signed in where a secret is given. Redirects are not followed."""
    async with httpx2.AsyncClient(base_url=origin, timeout=20, trust_env=False) as client:
        if secret:
            said = await client.post("/sign-in", data={"secret": secret})
            assert said.status_code == 303, said.text
        yield client


async def token_in(client: httpx2.AsyncClient, path: str) -> str:
    """What a page's forms carry."""
    return token_of((await client.get(path)).text)


def token_of(page: str) -> str:
    """The same, of a page that is there."""
    found = re.search(r'name="token" value="(\w+)"', page)
    assert found is not None, page
    return found[1]


def text_of(page: str) -> str:
    """What it says, without its elements."""
    body = page.partition("<body")[2].partition(">")[2]
    return " ".join(re.sub(r"<[^>]+>", " ", body).split())
