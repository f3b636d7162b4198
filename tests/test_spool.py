"""Bodies that are kept: every follower gets all bytes, whatever came when, and nothing is left behind."""

import asyncio
import errno
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway import files, spool
from gateway.audio.request import Layout
from gateway.errors import Refused
from gateway.files import File
from gateway.metrics import Metrics
from gateway.spool import Spool, Spools
from gateway.upload import Overlong, Sent, Unfit

KIB = 1024
TOTAL = 64 * KIB * KIB


def spools(folder: Path, *, memory: int = 4 * KIB, total: int = TOTAL) -> Spools:
    """Spools that write to this folder."""
    return Spools(memory_bytes=memory, total_bytes=total, folder=folder, metrics=Metrics(models=(), teams=()))


def kept(found: Spools) -> float:
    """What they report."""
    return found._metrics.registry.get_sample_value("audiogate_spool_bytes") or 0.0


def never(piece: bytes) -> bool:
    """Takes nothing at once."""
    del piece
    return False


async def follow(one: Spool, take: Callable[[bytes], bool] = never, *, slow: Callable[[], bool] = bool) -> bytes:
    """All of it, as a follower gets it; `slow` says when he pauses."""
    found = bytearray()

    def straight(piece: bytes) -> bool:
        if taken := take(piece):
            found.extend(piece)
        return taken

    while True:
        while slow():
            await asyncio.sleep(0)
        piece = one.piece(len(found))
        if piece is None:
            await one.more(straight)
        elif piece:
            found += piece
        else:
            return bytes(found)


@pytest.mark.parametrize("seed", range(20))
async def test_followers_of_any_pace_get_every_byte(tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    dice = random.Random(seed)
    monkeypatch.setattr(spool, "LIVE", dice.choice([500, 5_000, spool.LIVE]))
    monkeypatch.setattr(spool, "PIECE", 777)
    monkeypatch.setattr(spool, "SMALL", dice.choice([1, 300]))
    found = spools(tmp_path, memory=dice.choice([1, 2_000, 20_000, 10**6]))
    one = found.open()
    paces = [lambda: False, lambda: dice.random() < 0.5, lambda: dice.random() < 0.9]
    takes = [never, lambda piece: True, lambda piece: dice.random() < 0.7]
    crowd = range(dice.randint(1, 3))
    following = [asyncio.ensure_future(follow(one, dice.choice(takes), slow=dice.choice(paces))) for _ in crowd]
    whole = b""
    for _ in range(60):
        piece = dice.randbytes(dice.choice([1, 10, 500, 3_000]))
        one.append(piece)
        whole += piece
        if dice.random() < 0.6:
            await asyncio.sleep(0)
    one.finish()
    assert [await each for each in following] == [whole] * len(following)
    assert await follow(one) == whole, "and so does one that comes when all is here"
    one.close()
    assert (kept(found), found.room) == (0, spool.HELD)


@pytest.mark.parametrize("memory", [1, TOTAL])
async def test_who_is_up_to_date_is_given_the_very_pieces(tmp_path: Path, memory: int) -> None:
    one, given = spools(tmp_path, memory=memory).open(), list[bytes]()
    pieces = [os.urandom(100_000) for _ in range(5)]

    def take(piece: bytes) -> bool:
        given.append(piece)
        return True

    following = asyncio.ensure_future(follow(one, take))
    await asyncio.sleep(0)
    for piece in pieces:
        one.append(piece)
    assert all(mine is theirs for mine, theirs in zip(given, pieces, strict=True))
    one.finish()
    assert await following == b"".join(pieces)


async def test_small_pieces_are_given_together(tmp_path: Path) -> None:
    one = spools(tmp_path, memory=TOTAL).open()
    for _ in range(1_000):
        one.append(b"x" * 10)
    assert one.piece(0) == b"x" * 10_000
    assert len(one.piece(9_000) or b"") == 1_000


async def test_a_body_of_single_bytes_does_not_stay_in_memory(tmp_path: Path) -> None:
    found = spools(tmp_path, memory=100_000)
    one = found.open()
    for _ in range(1_000):
        one.append(b"x")
    assert spool.HELD - found.room < 100_000
    assert one._file is not None


async def test_all_bodies_together_have_a_bounded_place_in_memory(tmp_path: Path) -> None:
    found = spools(tmp_path, memory=KIB * KIB)
    bodies = [found.open() for _ in range(12)]
    following = [asyncio.ensure_future(follow(one)) for one in bodies]
    for _ in range(20):
        for one in bodies:
            one.append(b"x" * 100_000)
            assert found.room >= 0
        await asyncio.sleep(0)
    for one in bodies:
        one.finish()
    assert {len(await each) for each in following} == {2_000_000}
    for one in bodies:
        one.close()
    assert (kept(found), found.room) == (0, spool.HELD)


# -- files


async def test_a_file_serves_the_next_body_which_sees_only_its_own_bytes(tmp_path: Path) -> None:
    found = spools(tmp_path)
    one = found.open()
    one.append(b"secret" * 10_000)
    one.close()
    assert found.files.waiting == 60_000
    other = found.open()
    other.append(b"x" * 5_000)
    assert found.files.waiting == 0, "it is the same file"
    following = asyncio.ensure_future(follow(other))
    other.append(b"y" * 5_000)
    other.finish()
    assert await following == b"x" * 5_000 + b"y" * 5_000
    assert os.pread(other.fileno(), 60_000, 0) == b"x" * 5_000 + b"y" * 5_000, "also who is handed the file"


async def test_a_file_that_somebody_was_handed_serves_nobody_else(tmp_path: Path) -> None:
    found = spools(tmp_path)
    one = found.open()
    one.append(b"x" * 100)
    copy = os.dup(one.fileno())
    one.append(b"y" * 100)
    one.finish()
    one.close()
    assert found.files.waiting == 0
    other = found.open()
    other.append(b"z" * 5_000)
    assert os.pread(copy, 1_000, 0) == b"x" * 100 + b"y" * 100
    os.close(copy)


async def test_files_that_wait_are_given_back_after_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "IDLE_SECONDS", 0.0)
    found = spools(tmp_path)
    bodies = [found.open() for _ in range(files.IDLE + 5)]
    for one in bodies:
        one.append(b"x" * 5_000)
    for one in bodies:
        one.close()
    assert found.files.waiting == files.IDLE * 5_000
    async with asyncio.timeout(5):
        while found.files.waiting:
            await asyncio.sleep(0)
    assert found.files.tidy() is False


async def test_files_that_wait_make_room_for_bodies(tmp_path: Path) -> None:
    found = spools(tmp_path, total=100_000)
    one = found.open()
    one.append(b"x" * 60_000)
    one.close()
    assert found.files.waiting == 60_000
    other = found.open()
    other.append(b"x" * 50_000)
    assert found.files.waiting == 0
    with pytest.raises(Refused) as caught:
        other.append(b"x" * 50_001)
    assert caught.value.name == "spool_full"
    assert kept(found) == 50_000


async def test_a_full_disk_takes_what_waits_and_is_refused_after_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = spools(tmp_path)
    bodies = [found.open() for _ in range(2)]
    for one in bodies:
        one.append(b"x" * 60_000)
    for one in bodies:
        one.close()
    real = File.write

    def write(file: File, data: bytes, at: int) -> None:
        if found.files.waiting or len(data) > 50_000:
            raise OSError(errno.ENOSPC, "no space left")
        real(file, data, at)

    monkeypatch.setattr(File, "write", write)
    one = found.open()
    one.append(b"y" * 40_000)
    assert found.files.waiting == 0
    with pytest.raises(Refused) as caught:
        one.append(b"y" * 60_000)
    assert caught.value.name == "spool_full"
    assert (one.size, one.piece(0)) == (40_000, b"y" * 40_000)
    one.close()
    assert kept(found) == 0


async def test_of_many_at_once_those_that_were_announced_first_find_room(tmp_path: Path) -> None:
    found = spools(tmp_path, total=100_000)
    first = found.open(60_000)
    with pytest.raises(Refused) as caught:
        found.open(60_000)
    assert caught.value.name == "spool_full"
    small = found.open(40_000)
    first.append(b"x" * 60_000)
    with pytest.raises(Refused):
        first.append(b"more than was announced")
    small.append(b"y" * 100)
    small.finish()
    assert kept(found) == 60_100, "a body that is shorter gives the rest back"
    first.close()
    small.close()
    assert kept(found) == 0


async def test_a_file_that_cannot_be_made_costs_the_file_and_not_the_body(tmp_path: Path) -> None:
    one = spools(tmp_path / "gone").open()
    one.append(b"x" * 100)
    with pytest.raises(Refused):
        one.fileno()
    one.finish()
    assert await follow(one) == b"x" * 100


# -- how it ends


@pytest.mark.parametrize("complete", [True, False])
async def test_who_follows_a_body_that_is_forgotten_is_called_off(tmp_path: Path, complete: bool) -> None:
    one = spools(tmp_path).open()
    one.append(b"x" * 5_000)
    following = asyncio.ensure_future(follow(one, slow=lambda: not one._closed))
    await asyncio.sleep(0)
    if complete:
        one.finish()
    one.close()
    one.close()
    with pytest.raises(asyncio.CancelledError):
        await following


async def test_what_went_wrong_reaches_who_waits(tmp_path: Path) -> None:
    one = spools(tmp_path).open()
    following = asyncio.ensure_future(follow(one, lambda piece: True))
    await asyncio.sleep(0)
    one.append(b"x")
    one.fail(ValueError("broken"))
    with pytest.raises(ValueError, match="broken"):
        await following
    with pytest.raises(ValueError, match="broken"):
        await one.whole()


# -- what goes out of it


async def sent(one: Sent, take: Callable[[bytes], bool]) -> bytes:
    """All that it gives, straight or not."""
    out = bytearray()

    def taken(piece: bytes) -> bool:
        if took := take(piece):
            out.extend(piece)
        return took

    while piece := await one.read(taken):
        out += piece
    assert await one.read(taken) == b"", "it stays at its end"
    return bytes(out)


@pytest.mark.parametrize("seed", range(20))
async def test_the_splices_go_in_where_they_belong_however_the_pieces_fall(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    body = dice.randbytes(3_000)
    places = sorted(dice.choice([0, 3_000, dice.randint(0, 3_000)]) for _ in range(dice.randint(0, 3)))
    splices = tuple((at, b"<%d>" % at) for at in places)
    expected = body
    for at, insert in reversed(splices):
        expected = expected[:at] + insert + expected[at:]
    length = len(expected) + len(b"close") + 3 if dice.random() < 0.5 else None
    one = spools(tmp_path, memory=dice.choice([1, TOTAL])).open()
    goes = Sent(one, Layout(None, splices, b"close", length), lambda: True)
    reading = asyncio.ensure_future(sent(goes, lambda piece: dice.random() < 0.6))
    at = 0
    while at < len(body):
        size = dice.choice([1, 100, 900])
        one.append(body[at : at + size])
        at += size
        if dice.random() < 0.7:
            await asyncio.sleep(0)
    one.finish()
    assert await reading == expected + b"close" + (b"\r\n\r" if length else b"")


@pytest.mark.parametrize("take", [never, lambda piece: True])
async def test_no_more_goes_out_than_was_announced(tmp_path: Path, take: Callable[[bytes], bool]) -> None:
    one = spools(tmp_path).open()
    goes = Sent(one, Layout(None, (), b"close", 105), lambda: True)
    reading = asyncio.ensure_future(sent(goes, take))
    for piece in (b"a" * 60, b"b" * 41):
        await asyncio.sleep(0)
        one.append(piece)
    with pytest.raises(Overlong):
        await reading
    assert isinstance(goes.failure, Overlong)


async def test_what_must_not_be_completed_is_not(tmp_path: Path) -> None:
    one = spools(tmp_path).open()
    goes = Sent(one, Layout(None, (), b"close"), lambda: False)
    one.append(b"a")
    one.finish()
    with pytest.raises(Unfit):
        await sent(goes, never)
    assert isinstance(goes.failure, Unfit)
