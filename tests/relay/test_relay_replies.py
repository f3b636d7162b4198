"""Replies that keep the rules are taken as they are, however their bytes are cut; those that end too soon are not."""

import asyncio

import pytest

from gateway.client import BrokenOff, Unreachable
from tests.corpus.replies import CHUNKED, FIVE, GOOD, SOUND, STOWAWAY, Sound, head, reply
from tests.relay.line import Line
from tests.relay.origin import Script, halting, in_turn, origin, serves
from tests.relay.relaying import Answer, ask, opened, pieces, read, relaying


def says(sound: Sound, *cuts: int) -> Script:
    """Gives this reply, cut there, to every request; ends the connection where only that ends the reply."""

    async def script(line: Line) -> None:
        while True:
            await line.request()
            await line.say(sound.data, *cuts)
            if sound.ends:
                line.finish()

    return script


def taken(answer: Answer, sound: Sound) -> None:
    """The answer is what the reply means."""
    assert (answer.status, answer.body) == (sound.status, sound.body)
    assert sound.headers.items() <= answer.headers.items()


@pytest.mark.parametrize("name", SOUND)
async def test_a_sound_reply_is_taken_and_its_connection_kept_if_it_may_be(name: str) -> None:
    sound = SOUND[name]
    async with origin(says(sound)) as one, relaying() as client:
        taken(await ask(client, one.url), sound)
        assert sound.kept or await one.lines[0].over()
        taken(await ask(client, one.url), sound)
        assert len(one.lines) == (1 if sound.kept else 2)


@pytest.mark.asyncio(loop_factories=["uvloop"])
@pytest.mark.parametrize("name", [name for name, sound in SOUND.items() if len(sound.data) < 500])
async def test_it_means_the_same_wherever_it_is_cut(name: str) -> None:
    sound = SOUND[name]
    size = len(sound.data)
    cuts = [(at,) for at in range(1, size)] + [tuple(range(1, size))]

    async def script(line: Line) -> None:
        while cuts:
            await line.request()
            await line.say(sound.data, *cuts.pop())
            if not sound.kept:
                line.finish()

    async with origin(script) as one, relaying() as client:
        while cuts:
            taken(await ask(client, one.url), sound)
        assert len(one.seen) == size


@pytest.mark.parametrize("told", [FIVE, CHUNKED, b"X: none"])
async def test_head_has_no_body_whatever_it_tells(told: bytes) -> None:
    async with origin(serves(head(told))) as one, relaying() as client:
        for _ in range(3):
            assert (await ask(client, one.url, method="HEAD")).body == b""
        assert [got.method for got in one.seen] == ["HEAD"] * 3


async def test_a_body_that_comes_to_head_is_no_answer_to_what_follows() -> None:
    async with origin(in_turn(serves(STOWAWAY), serves())) as one, relaying() as client:
        assert (await ask(client, one.url, method="HEAD")).body == b""
        assert (await ask(client, one.url)).body == b"good"
        assert len(one.lines) == 2


@pytest.mark.parametrize(
    "data",
    [
        head(FIVE) + b"hell",
        head(FIVE),
        head(CHUNKED),
        head(CHUNKED) + b"5\r\nhell",
        head(CHUNKED) + b"5\r\nhello",
        head(CHUNKED) + b"5\r\nhello\r",
        head(CHUNKED) + b"5\r\nhello\r\n",
        head(CHUNKED) + b"5\r\nhello\r\n0",
        head(CHUNKED) + b"5\r\nhello\r\n0\r\n",
        head(CHUNKED) + b"5\r\nhello\r\n0\r\n\r",
        head(CHUNKED) + b"5\r\nhello\r\n0\r\nX: a\r\n",
    ],
)
@pytest.mark.parametrize("end", ["finish", "reset"])
@pytest.mark.parametrize("later", [False, True])
async def test_a_body_that_ends_too_soon_is_broken_off(data: bytes, end: str, later: bool) -> None:
    go_on = asyncio.Event()

    async def script(line: Line) -> None:
        await line.request()
        await line.say(data)
        if later:
            await go_on.wait()
        getattr(line, end)()

    async with origin(in_turn(script, serves())) as one, relaying() as client:
        refused: tuple[type[Exception], ...] = (BrokenOff,)
        if end == "reset" and not later:
            refused = (BrokenOff, Unreachable)  # what was sent just before may be lost with the connection
        with pytest.raises(refused):
            await _whole(await opened(client, one.url), go_on)
        assert (await ask(client, one.url)).body == b"good"


async def _whole(exchange: object, go_on: asyncio.Event) -> None:
    go_on.set()
    await read(exchange)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "data", [b"", b"H", b"HTTP/1.1 200 OK\r\n", head(FIVE)[:-1], head(status=b"HTTP/1.1 100 Continue")]
)
@pytest.mark.parametrize("end", ["finish", "reset"])
async def test_an_end_before_the_answer_began_is_none(data: bytes, end: str) -> None:
    async def script(line: Line) -> None:
        await line.request()
        await line.say(data)
        getattr(line, end)()

    async with origin(in_turn(script, serves())) as one, relaying() as client:
        with pytest.raises(Unreachable):
            await ask(client, one.url)
        assert len(one.seen) == 1
        assert (await ask(client, one.url)).body == b"good"


async def test_a_body_until_the_end_that_is_reset_is_broken_off() -> None:
    go_on = asyncio.Event()

    async def script(line: Line) -> None:
        await line.request()
        await line.say(head() + b"hello")
        await go_on.wait()
        line.reset()

    async with origin(script) as one, relaying() as client:
        exchange = await opened(client, one.url)
        assert await exchange.peek(5) == b"hello"
        go_on.set()
        with pytest.raises(BrokenOff):
            await read(exchange)


async def test_compressed_bodies_pass_as_they_are() -> None:
    data = b"\x1f\x8b\x08" + bytes(range(256)) * 40
    for coding in (b"gzip", b"br", b"deflate", b"zstd", b"gzip, gzip"):
        async with origin(serves(reply(data, b"Content-Encoding: " + coding))) as one, relaying() as client:
            answer = await ask(client, one.url)
        assert answer.body == data
        assert answer.headers["content-encoding"] == coding.decode()
        assert answer.headers["content-length"] == str(len(data))


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_nobody_is_sent_elsewhere(status: int) -> None:
    async with origin(serves()) as other, relaying() as client:
        location = b"Location: " + other.url.encode()
        async with origin(serves(reply(b"moved", location, status=b"HTTP/1.1 %d Moved" % status))) as one:
            answer = await ask(client, one.url, headers={"authorization": "Bearer secret"})
        assert (answer.status, answer.headers["location"], answer.body) == (status, other.url, b"moved")
        assert not other.lines


async def test_cookies_are_not_kept() -> None:
    async with origin(serves(reply(b"", b"Set-Cookie: a=b; Path=/"))) as one, relaying() as client:
        await ask(client, one.url)
        await ask(client, one.url)
        assert not [got for got in one.seen if got.all("cookie")]


async def test_a_look_ahead_takes_nothing_away() -> None:
    body = bytes(range(256)) * 2000
    async with origin(serves(reply(body))) as one, relaying() as client:
        for size in (1, 2000, 300_000, len(body), len(body) + 1):
            exchange = await opened(client, one.url)
            ahead = await exchange.peek(size)
            assert len(ahead) >= min(size, len(body))
            assert body.startswith(ahead)
            assert (await read(exchange)).body == body
        assert len(one.lines) == 1


async def test_the_start_of_a_body_is_bounded() -> None:
    async with origin(serves(reply(b"a" * 5_000_000))) as one, relaying() as client:
        exchange = await opened(client, one.url)
        assert 1000 <= len(await exchange.start(1000)) <= 1_000_000
        exchange.close()
        exchange = await opened(client, one.url)
        assert len(await exchange.start(10_000_000)) == 5_000_000
        exchange.close()


async def test_pieces_come_as_they_arrive() -> None:
    go_on = asyncio.Event()
    async with origin(halting(go_on)) as one, relaying() as client:
        exchange = await opened(client, one.url)
        arriving = pieces(exchange)
        assert await anext(arriving) == b"hello"
        go_on.set()
        assert [piece async for piece in arriving] == [b" world"]
        exchange.close()


@pytest.mark.parametrize("data", [GOOD, head(CHUNKED) + b"4\r\ngood\r\n0\r\n\r\n"])
async def test_closing_twice_is_closing_once(data: bytes) -> None:
    async with origin(serves(data)) as one, relaying() as client:
        first = await opened(client, one.url)
        assert (await read(first)).body == b"good"
        second = await opened(client, one.url)
        first.close()  # the connection belongs to somebody else by now
        assert (await read(second)).body == b"good"
        assert len(one.lines) == 1
