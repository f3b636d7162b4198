"""Work behind a request: it is done to its end, and a gateway that ends still charges what it served."""

import asyncio
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import redis.asyncio

from gateway import app
from gateway.tasks import Tasks, to_the_end
from tests import media
from tests.running import configured, running, until, upstream
from tests.stub import Answer, stub


async def test_a_second_cancellation_does_not_cut_it_off() -> None:
    done, told, go_on = [], [], asyncio.Event()

    async def work() -> None:
        await go_on.wait()
        done.append("reserved")

    async def serve() -> None:
        try:
            await to_the_end(work())
        except asyncio.CancelledError:
            told.append(list(done))
            raise

    task = asyncio.ensure_future(serve())
    for _ in range(3):
        await asyncio.sleep(0)
        task.cancel()
    for _ in range(3):
        await asyncio.sleep(0)
    assert (task.done(), told) == (False, []), "whoever insists waits, too"
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert told == [["reserved"]]


async def test_what_it_raises_is_seen_though_its_caller_was_cancelled() -> None:
    go_on = asyncio.Event()

    async def work() -> None:
        await go_on.wait()
        raise ValueError("unseen, this would be an error at the end of the loop")

    task = asyncio.ensure_future(to_the_end(work()))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.sleep(0)
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_tasks_are_waited_for_before_they_are_cancelled() -> None:
    tasks, ended, go_on = Tasks(), [], asyncio.Event()

    async def work() -> None:
        try:
            await go_on.wait()
            ended.append("well")
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    tasks.spawn(work(), name="one")
    await tasks.wait(seconds=0.01)
    assert (ended, len(tasks)) == ([], 1), "waiting cancels nothing"
    go_on.set()
    await tasks.wait(seconds=10)
    assert (ended, len(tasks)) == (["well"], 0)
    go_on.clear()
    tasks.spawn(work(), name="another")
    await asyncio.sleep(0)
    await tasks.drain(seconds=0.01)
    assert (ended, len(tasks)) == (["well", "cancelled"], 0)


async def test_uploads_that_are_still_counted_at_the_end_are_charged_by_their_estimate(
    store_url: str, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "DRAIN_SECONDS", 0.3)
    upload = media.make("wav")
    async with stub() as one, redis.asyncio.Redis.from_url(store_url, decode_responses=True) as raw:
        one.answers = [Answer(pieces=(b"hello",), content_type="text/plain")]
        config = configured(data, upstream("a", one.url))
        config = replace(config, store=replace(config.store, on_expired="refund"))
        async with running(config, url=store_url) as gateway, gateway.client() as client:
            probe = gateway.app._probe

            async def idle() -> bool:
                return probe._child is not None and not probe._turn.locked()

            await until(idle, bool)
            assert probe._child is not None
            os.kill(probe._child.process.pid, signal.SIGSTOP)  # a probe that is slow

            async def ask() -> int:
                form = {"model": "whisper-1", "response_format": "text"}
                answer = await client.post("/audio/transcriptions", data=form, files={"file": ("x.wav", upload)})
                return answer.status_code

            assert await asyncio.gather(*(ask() for _ in range(4))) == [200] * 4
            assert (await raw.hlen("{ag}:held"), await raw.xlen("{ag}:usage")) == (4, 0), "nothing is counted yet"
        assert await raw.hlen("{ag}:held") == 0
        records = [fields for _, fields in await raw.xrange("{ag}:usage")]
        assert len(records) == 4
        assert all(int(record["cost_micro_usd"]) >= 200 for record in records), records
        assert {record["source"] for record in records} == {"estimate"}
