"""Calls that share a batch do not share its fate: whoever gives up, and whatever goes wrong."""

import asyncio
from collections.abc import Sequence
from unittest.mock import ANY

import pytest

from gateway.errors import Refused
from gateway.store.together import MOST, Together
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


async def test_what_goes_wrong_reaches_everybody_who_asked() -> None:
    async def broken(some: Sequence[int]) -> Sequence[int]:
        raise RuntimeError(f"{len(some)} lost")

    together = Together[int, int](broken)
    async with asyncio.timeout(5):
        found = await asyncio.gather(*(together.ask(number) for number in range(3)), return_exceptions=True)
    assert [str(one) for one in found] == ["3 lost"] * 3


class Slow:
    """Work that is done when it is told to; `seen` are the batches."""

    def __init__(self) -> None:
        self.seen: list[Sequence[int]] = []
        self.done: asyncio.Queue[Exception | None] = asyncio.Queue()

    async def __call__(self, some: Sequence[int]) -> Sequence[int]:
        self.seen.append(some)
        if (error := await self.done.get()) is not None:
            raise error
        return [10 * number for number in some]


async def turn() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


async def test_what_comes_meanwhile_goes_out_together() -> None:
    slow = Slow()
    together = Together[int, int](slow)
    first = asyncio.ensure_future(together.ask(1))
    await turn()
    others = [asyncio.ensure_future(together.ask(number)) for number in range(2, 2 + MOST)]
    await turn()
    for _ in range(3):
        slow.done.put_nowait(None)
    assert await asyncio.gather(first, *others) == [10 * number for number in range(1, 2 + MOST)]
    assert [len(some) for some in slow.seen] == [1, MOST]
    again = asyncio.ensure_future(together.ask(7))
    assert await again == 70, "and later it starts anew"


async def test_who_is_cancelled_before_it_goes_out_has_not_asked() -> None:
    slow = Slow()
    together = Together[int, int](slow)
    first, second = (asyncio.ensure_future(together.ask(number)) for number in (1, 2))
    await turn()
    third = asyncio.ensure_future(together.ask(3))
    await turn()
    third.cancel()
    slow.done.put_nowait(None)
    assert await asyncio.gather(first, second, third, return_exceptions=True) == [10, 20, ANY]
    assert third.cancelled()
    assert slow.seen == [[1, 2]]


@pytest.mark.parametrize("times", [1, 3])
async def test_who_is_cancelled_later_gets_the_answer_and_then_the_cancellation(times: int) -> None:
    slow, noted = Slow(), list[int]()
    together = Together[int, int](slow)

    async def asking() -> None:
        noted.append(await together.ask(1))
        await asyncio.sleep(0)
        noted.append(-1)

    task = asyncio.ensure_future(asking())
    await turn()
    for _ in range(times):
        task.cancel()
        await turn()
    assert not task.done()
    slow.done.put_nowait(None)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert noted == [10]
    assert task.cancelled()


@pytest.mark.parametrize("turns", range(4))
async def test_a_cancellation_at_the_moment_of_the_answer(turns: int) -> None:
    slow, noted = Slow(), list[int]()
    together = Together[int, int](slow)

    async def asking() -> None:
        noted.append(await together.ask(1))

    task = asyncio.ensure_future(asking())
    await turn()
    slow.done.put_nowait(None)
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    async with asyncio.timeout(5):
        await asyncio.wait([task])
    assert noted == [10]


async def test_who_has_waited_long_enough_when_a_batch_fails_does_not_wait_for_the_next() -> None:
    slow = Slow()
    together = Together[int, int](slow)
    began = asyncio.get_running_loop().time()
    first = asyncio.ensure_future(together.ask(1))
    await turn()
    second = asyncio.ensure_future(together.ask(2))
    await turn()
    now = asyncio.get_running_loop().time()
    while asyncio.get_running_loop().time() < 2 * now - began + 0.001:
        await asyncio.sleep(0)
    third = asyncio.ensure_future(together.ask(3))
    await turn()
    slow.done.put_nowait(OSError("too late"))
    slow.done.put_nowait(None)
    found = await asyncio.gather(first, second, third, return_exceptions=True)
    assert [str(found[0]), found[2]] == ["too late", 30]
    assert isinstance(found[1], Refused)
    assert found[1].__cause__ is None, "else it would be taken for asked, and settled"
    assert slow.seen == [[1], [3]]
