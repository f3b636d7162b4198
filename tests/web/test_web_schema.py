"""Every operation of the OpenAPI document, asked what fits it and what does not; each answer is held against it.

schemathesis makes the requests. They go over a socket to a gateway with a store and an upstream, and change things.
"""

import asyncio
import os
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from gateway.config.model import Server, Team
from tests.running import configured, key_text, running, upstream
from tests.stub import stub

TOKEN = "a token of operators"
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
]
REAL = {"name": ["alice", "default", "spare"], "key": ["alice"], "model": ["whisper-1"], "team": ["default"]}
EXAMPLES = 8
SOAK_EXAMPLES = 300


@dataclass(frozen=True, slots=True)
class Asked:
    """A running gateway, seen from a thread of its own."""

    origin: str
    document: dict[str, Any]


@asynccontextmanager
async def documented(store_url: str, data: Path) -> AsyncIterator[Asked]:
    """A gateway with an upstream, its admin API and its own description."""
    async with stub() as one:
        spare = upstream("spare", one.url, priority=9)  # it may be drained: no request waits for it
        config = configured(data, upstream("a", one.url), spare, teams={"default": Team("default")})
        config = replace(config, server=Server(admin_token=TOKEN), file="gateway.yaml")
        async with running(config, url=store_url) as gateway, gateway.client() as client:
            yield Asked(gateway.origin, (await client.get(gateway.origin + "/openapi.json")).json())


def ask(asked: Asked, operation: APIOperation[Any, Any, Any, Any], start: int, *, examples: int) -> int:
    """Ask one operation; how many requests that were. Raises what schemathesis finds."""
    bearer = TOKEN if operation.path.startswith("/admin") else key_text()
    cases = st.one_of([operation.as_strategy(generation_mode=mode) for mode in GenerationMode])
    count = 0
    session = requests.Session()

    @seed(start)
    @settings(max_examples=examples, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(cases, st.booleans(), st.randoms(use_true_random=False))
    def one(case: schemathesis.Case, real: bool, dice: random.Random) -> None:
        nonlocal count
        count += 1
        for name in set(case.path_parameters or {}) & set(REAL) if real else ():
            case.path_parameters[name] = dice.choice(REAL[name])
        answer = case.call(base_url=asked.origin, session=session, headers={"Authorization": f"Bearer {bearer}"})
        case.validate_response(answer, checks=CHECKS)

    with session:
        one()
    return count


async def all_asked(store_url: str, data: Path, *, examples: int) -> int:
    """Ask all operations; how many requests that were. Raises the first failure, with the request that shows it."""
    start = int(os.environ.get("SCHEMA_SEED", "") or random.getrandbits(32))
    async with documented(store_url, data) as asked:
        print(f"SCHEMA_SEED={start}")
        schema = schemathesis.openapi.from_dict(asked.document)
        count = 0
        for found in schema.get_all_operations():
            count += await asyncio.to_thread(ask, asked, found.ok(), start, examples=examples)
        return count


async def test_S_19_all_operations_answer_as_their_document_says(store_url: str, data: Path) -> None:
    assert await all_asked(store_url, data, examples=EXAMPLES) > 150


@pytest.mark.soak
@pytest.mark.timeout(1800)
async def test_S_19_all_operations_answer_as_their_document_says_for_long(store_url: str, data: Path) -> None:
    print(f"\nS-19: {await all_asked(store_url, data, examples=SOAK_EXAMPLES):,} requests, 0 findings")


@pytest.mark.parametrize(
    "path",
    ["/admin/audit?before=0-0", "/admin/audit?before=99999999999999999999", "/admin/requests?before=0-0"],
)
async def test_S_19_a_cursor_that_no_stream_has_is_no_fault_of_the_store(store_url: str, data: Path, path: str) -> None:
    async with documented(store_url, data) as asked:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        answer = await asyncio.to_thread(lambda: requests.get(asked.origin + path, headers=headers, timeout=20))
    assert answer.status_code < 500, answer.text
