"""Calls that share a batch do not share its fate: whoever gives up, and whatever goes wrong."""

import asyncio

import pytest

from gateway.store.connection import script_sha
from tests.store.conftest import Rooms


@pytest.mark.parametrize("turns", range(6))
async def test_a_call_that_is_given_up_leaves_the_others_theirs(rooms: Rooms, turns: int) -> None:
    await rooms.declare()
    asked = [asyncio.ensure_future(rooms.admit(f"r{number}", usd=1)) for number in range(3)]
    for _ in range(turns):
        await asyncio.sleep(0)
    asked[0].cancel()
    async with asyncio.timeout(5):
        found = await asyncio.gather(*asked, return_exceptions=True)
    assert [getattr(one, "upstream", None) is not None for one in found[1:]] == [True, True], found


async def test_what_goes_wrong_reaches_everybody_who_asked(rooms: Rooms, monkeypatch: pytest.MonkeyPatch) -> None:
    await rooms.declare()

    async def broken() -> None:
        raise RuntimeError("no connection")

    together = rooms.connection._together[False]
    monkeypatch.setattr(rooms.connection.client.connection_pool, "get_connection", broken)
    async with asyncio.timeout(5):
        calls = [together.evaluate(script_sha("renew"), ["{ag}:leases"], [1]) for _ in range(3)]
        found = await asyncio.gather(*calls, return_exceptions=True)
    assert [str(one) for one in found] == ["no connection"] * 3
