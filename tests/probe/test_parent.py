import asyncio
import os
from pathlib import Path

import pytest

from gateway.probe import parent
from gateway.probe.parent import Probe
from tests.media import KINDS, make, stored
from tests.probe.processes import LOOPS, child_of, probing, run


@pytest.mark.parametrize("loop", LOOPS)
def test_one_child_measures_file_after_file_and_is_gone_when_closed(loop: str) -> None:
    async def story() -> None:
        async with probing() as probe:
            pids = set()
            for kind in KINDS:
                with stored(make(kind)) as fd:
                    assert await probe.seconds(fd) == pytest.approx(2.0, rel=0.02, abs=0.1)
                pids.add(child_of(probe).pid)
            process = child_of(probe)
        assert len(pids) == 1
        assert process.returncode is not None
        assert str(process.pid) not in os.listdir("/proc")  # reaped, too

    run(loop, story())


@pytest.mark.parametrize("content", [b"", b"no sound", bytes(100_000)])
async def test_what_cannot_be_measured_is_none_and_the_child_stays(content: bytes) -> None:
    async with probing() as probe:
        with stored(content) as bad, stored(make("wav")) as good:
            assert await probe.seconds(bad) is None
            process = child_of(probe)
            assert await probe.seconds(good) == 2.0
            assert child_of(probe) is process


@pytest.mark.parametrize("loop", LOOPS)
def test_twenty_callers_at_once_each_get_their_own_answer(loop: str) -> None:
    async def ask(probe: Probe, seconds: float) -> tuple[float, float | None]:
        with stored(make("wav", seconds)) as fd:
            return seconds, await probe.seconds(fd)

    async def story() -> None:
        async with probing() as probe:
            for wanted, got in await asyncio.gather(*(ask(probe, 0.5 + index / 10) for index in range(20))):
                assert got == pytest.approx(wanted, abs=0.001)

    run(loop, story())


@pytest.mark.parametrize("loop", LOOPS)
def test_whoever_asks_after_a_cancelled_caller_gets_their_own_answer(loop: str) -> None:
    async def story() -> None:
        async with probing() as probe:
            with stored(make("wav", 5.0)) as other, stored(make("wav", 2.0)) as mine:
                for after in (0.0, 0.0005, 0.001, 0.002, 0.004, 0.2):
                    try:
                        async with asyncio.timeout(after):
                            await probe.seconds(other)
                    except TimeoutError:
                        pass
                    assert await probe.seconds(mine) == 2.0

    run(loop, story())


async def test_a_caller_cancelled_while_waiting_for_its_turn_disturbs_nobody() -> None:
    async with probing() as probe:
        with stored(make("wav", 5.0)) as first, stored(make("wav", 2.0)) as second:
            await probe.seconds(first)
            process = child_of(probe)
            async with asyncio.TaskGroup() as group:
                running = group.create_task(probe.seconds(first))
                waiting = group.create_task(probe.seconds(second))
                await asyncio.sleep(0)
                waiting.cancel()
            assert running.result() == 5.0
            assert child_of(probe) is process


async def test_a_descriptor_that_is_not_open_is_none() -> None:
    async with probing() as probe:
        assert await probe.seconds(999_999) is None


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"[]\n",
        b'{"seconds": 1e999}\n',
        b'{"seconds": NaN}\n',
        b'{"seconds": -1.0}\n',
        b'{"seconds": "2"}\n',
        b'{"seconds": true}\n',
        b'{"seconds": 1.0}\n{"seconds": 2.0}\n',
        b"\xff\n",
        b"x" * 1_000,
    ],
)
async def test_an_answer_out_of_the_ordinary_is_none_and_ends_the_child(
    answer: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    said = tmp_path / "answer"
    said.write_bytes(answer)
    taken_over = (
        "import socket, sys; c = socket.socket(fileno=int(sys.argv[1])); c.send(b'\\n'); c.recv(1);"
        f"c.send(open({str(said)!r}, 'rb').read())"
    )
    monkeypatch.setattr(parent, "_START", taken_over)
    async with probing() as probe:
        with stored(make("wav")) as fd:
            assert await probe.seconds(fd) is None
        assert probe._child is None


async def test_sound_of_ten_minutes_is_measured_packet_by_packet() -> None:
    async with probing() as probe:
        with stored(make("mp3", 600.0)) as fd:
            assert await probe.seconds(fd) == pytest.approx(600.0, rel=0.001)


async def test_a_file_that_wants_more_memory_than_there_is_leaves_the_child_able_to_work() -> None:
    greedy = b"\0\0\0\x18ftypisom\0\0\0\0isomisom" + b"\xff\xff\xff\xf0moov" + bytes(1_000)
    async with probing() as probe:
        with stored(greedy) as bad, stored(make("wav")) as good:
            assert await probe.seconds(bad) is None
            assert await probe.seconds(good) == 2.0
