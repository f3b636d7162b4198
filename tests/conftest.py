"""Fixtures that every test may ask for."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis as redis_sync

from tests.servers import ENGINES, start_store


@pytest.fixture(scope="session", params=ENGINES[:1])
def own_store(request: pytest.FixtureRequest) -> Iterator[str]:
    """A store server that belongs to this test process alone."""
    with start_store(request.param) as url:
        yield url


@pytest.fixture
def store_url(own_store: str) -> str:
    """An empty store; after the test, every key in it must be one that we know and expires if it may."""
    with redis_sync.Redis.from_url(own_store) as client:
        client.flushall()
    return own_store


@pytest.fixture
def data() -> Iterator[Path]:
    """A data folder whose path is short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="ag", dir="/tmp") as folder:
        yield Path(folder)
