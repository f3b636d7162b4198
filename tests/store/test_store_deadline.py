"""The deadline: of what is slow itself, and not of a loop that is."""

import asyncio
import time

import pytest

from gateway.store.deadline import within


async def test_what_takes_too_long_is_ended() -> None:
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        async with within(0.05):
            await asyncio.Event().wait()
    assert time.monotonic() - began >= 0.05


async def test_what_is_done_in_time_is_left_alone_and_so_is_what_comes_later() -> None:
    async with within(0.02):
        await asyncio.sleep(0)
    await asyncio.sleep(0.05)


async def test_without_a_deadline_nothing_is_ended() -> None:
    async with within(None):
        await asyncio.sleep(0.05)


async def test_a_loop_that_was_late_is_made_up_for() -> None:
    answer = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(0.12, answer.set_result, "heard")
    async with within(0.1):
        time.sleep(0.3)  # noqa: ASYNC251 - the loop is what is late
        assert await answer == "heard"


async def test_being_late_is_made_up_for_once_not_for_ever() -> None:
    async def ask() -> None:
        async with within(0.05):
            time.sleep(0.3)  # noqa: ASYNC251
            await asyncio.Event().wait()

    began = time.monotonic()
    with pytest.raises(TimeoutError):
        await ask()
    assert time.monotonic() - began < 3


async def test_a_caller_who_gives_up_is_not_told_of_a_deadline() -> None:
    async def ask() -> None:
        async with within(10):
            await asyncio.Event().wait()

    task = asyncio.ensure_future(ask())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
