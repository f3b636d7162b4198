"""Clients by the hundreds and thousands, before a gateway in a process of its own: C-1, C-4, C-14, C-15."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest

from tests.faults import raws
from tests.launched import Launched, config_of, launched, room
from tests.media import make
from tests.running import until
from tests.stub import Answer, Stub, stub
from tests.wire import END, FORM, MODEL, file

HEAD = b"POST /v1/audio/speech HTTP/1.1\r\nHost: x\r\nX-Slow: "
BODY = (
    b"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: x\r\nContent-Length: 900000\r\nContent-Type: %s\r\n"
    % FORM.encode()
)


@asynccontextmanager
async def before(*answers: Answer, server: str = "") -> AsyncIterator[tuple[Launched, Stub]]:
    """A gateway in a process of its own, with more for the `server` of its configuration, and its upstream."""
    async with stub() as one:
        one.answers = list(answers) or one.answers
        with room() as folder:
            path = config_of(
                folder,
                f"server: {{host: 127.0.0.1, {server}}}",
                "store: {data: data}",
                f'upstreams: {{stub: {{kind: openai, base_url: "{one.url}", key: sk-x, allow_private: true,',
                "  models: [whisper-1, tts-1]}}",
                "prices: {whisper-1: {per_minute: 0.006}, tts-1: {per_1m_characters: 15}}",
                "keys: {alice: {}}",
            )
            async with launched(folder, "--config", path) as gateway:
                yield gateway, one


class Process:
    """What a process takes of the machine."""

    def __init__(self, pid: int) -> None:
        self._at = Path(f"/proc/{pid}")

    @property
    def rss(self) -> int:
        """Bytes of memory."""
        return int((self._at / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    @property
    def files(self) -> int:
        """Open files and sockets."""
        return len(list((self._at / "fd").iterdir()))

    @property
    def seconds(self) -> float:
        """Of CPU time."""
        fields = (self._at / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@asynccontextmanager
async def connected(gateway: Launched, count: int) -> AsyncIterator[list[asyncio.Transport]]:
    """So many connections that say nothing yet, and close when the gateway does."""
    host, port = gateway.origin.removeprefix("http://").split(":")
    loop = asyncio.get_running_loop()
    lines: list[asyncio.Transport] = []
    try:
        while len(lines) < count:
            some = [
                loop.create_connection(asyncio.Protocol, host, int(port)) for _ in range(min(200, count - len(lines)))
            ]
            lines += [line for line, _ in await asyncio.gather(*some)]
        yield lines
    finally:
        for line in lines:
            line.abort()
        await asyncio.sleep(0)


async def served(client: httpx2.AsyncClient, count: int) -> list[float]:
    """Seconds that so many good requests took, one after the other; all of them must be served."""
    took = []
    for _ in range(count):
        began = time.perf_counter()
        answer = await client.post("/v1/audio/speech", content=raws.BODY, headers={"content-type": "application/json"})
        took.append(time.perf_counter() - began)
        assert answer.status_code == 200, answer.text
    return sorted(took)


def p99(took: list[float]) -> float:
    """The time within which 99 of 100 were served."""
    return took[len(took) * 99 // 100]


def kept(gateway: Launched) -> httpx2.AsyncClient:
    """A client that keeps its connection."""
    headers = {"authorization": f"Bearer {gateway.key}"}
    return httpx2.AsyncClient(base_url=gateway.origin, headers=headers, timeout=20, trust_env=False)


def gone(lines: list[asyncio.Transport]) -> Callable[[], Awaitable[int]]:
    """How many of these the gateway has closed."""

    async def look() -> int:
        return sum(line.is_closing() for line in lines)

    return look


async def pestered(each: int, good: int, *, seconds: float, header: float) -> tuple[float, float]:
    """p99 of a good client alone, and beside connections of three kinds, `each` of them; all of those are closed."""
    limits = f"timeouts: {{header: {header}, idle: 60, body: {3 * header}, send: 60}}"
    async with before(server=limits) as (gateway, _), kept(gateway) as client:
        await served(client, 20)
        alone = p99(await served(client, good))
        async with connected(gateway, 3 * each) as lines:
            for line in lines[each : 2 * each]:
                line.write(HEAD)
            for line in lines[2 * each :]:
                line.write(BODY + b"Authorization: Bearer %s\r\n\r\n" % gateway.key.encode())
            dripping = asyncio.ensure_future(drip(lines[each:]))
            beside = p99(await served(client, good))
            dripping.cancel()
            await until(gone(lines), lambda count: count == len(lines), seconds=seconds)
        await served(client, 20)
    print(f"C-1 {3 * each} connections: p99 {alone * 1000:.1f} ms alone, {beside * 1000:.1f} ms beside them, 0 x 503")
    return alone, beside


async def drip(lines: list[asyncio.Transport]) -> None:
    """A byte to each every second or so."""
    while True:
        for number, line in enumerate(lines):
            if not line.is_closing():
                line.write(b"a")
            if number % 50 == 0:
                await asyncio.sleep(50 / len(lines))


async def test_C_1_a_good_client_is_served_beside_sixty_slow_ones() -> None:
    await pestered(20, 50, seconds=20, header=1.0)


@pytest.mark.soak
@pytest.mark.timeout(300)
async def test_C_1_a_good_client_is_served_beside_a_thousand_slow_ones_of_each_kind() -> None:
    alone, beside = await pestered(1_000, 1_000, seconds=60, header=10.0)
    assert beside <= 2 * alone + 0.005


async def idle(count: int, good: int) -> None:
    """So many connections that say nothing, half of them after a request, and good requests beside them."""
    async with before(server="timeouts: {header: 60}") as (gateway, _), kept(gateway) as client:
        process = Process(gateway.process.pid)
        alone = p99(await served(client, good))
        empty = process.rss
        async with connected(gateway, count) as lines:
            for line in lines[::2]:
                line.write(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
            beside = p99(await served(client, good))
            await asyncio.sleep(1)
            grown, began = process.rss - empty, process.seconds
            await asyncio.sleep(3)
            taken = (process.seconds - began) / 3
            assert sum(line.is_closing() for line in lines) == 0
    print(
        f"C-15 {count} idle connections: p99 {alone * 1000:.1f} ms alone, {beside * 1000:.1f} ms beside them, 0 x 503; "
        f"{grown / count / 1024:.1f} KiB each, {taken * 100:.1f} % of a core"
    )
    assert grown / count < 40 * 1024
    assert taken < 0.1


async def test_C_15_good_requests_are_served_beside_hundreds_of_idle_connections() -> None:
    await idle(600, 30)


@pytest.mark.soak
@pytest.mark.timeout(300)
async def test_C_15_good_requests_are_served_beside_five_thousand_idle_connections() -> None:
    await idle(5_000, 500)


async def test_C_15_beyond_the_most_connections_idle_ones_make_room_for_new_ones() -> None:
    async with before(server="max_connections: 50") as (gateway, _), connected(gateway, 80) as lines:
        for _ in range(3):
            async with kept(gateway) as client:
                await served(client, 3)
        await until(gone(lines), lambda count: count >= 30)


async def test_C_15_beyond_the_most_connections_that_are_all_busy_new_ones_are_told_so() -> None:
    hold = asyncio.Event()
    busy = Answer(pieces=(b"ID3", b"more"), content_type="audio/mpeg", gate=hold)
    async with before(busy, server="max_connections: 5") as (gateway, one), connected(gateway, 5) as lines:
        for line in lines:
            line.write(raws.request(gateway.key, raws.LENGTH))

        async def asked() -> int:
            return len(one.seen)

        await until(asked, lambda count: count == 5)
        async with gateway.client() as client:
            answer = await client.get("/v1/models")
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "overloaded")
        assert 1 <= int(answer.headers["retry-after"]) <= 3
        hold.set()


async def test_C_15_beyond_the_most_requests_more_are_told_to_come_again() -> None:
    hold = asyncio.Event()
    busy = Answer(pieces=(b"ID3", b"more"), content_type="audio/mpeg", gate=hold)
    async with before(busy, server="max_requests: 5") as (gateway, one), connected(gateway, 100) as lines:
        for line in lines[:5]:
            line.write(raws.request(gateway.key, raws.LENGTH))

        async def asked() -> int:
            return len(one.seen)

        await until(asked, lambda count: count == 5)
        async with kept(gateway) as client:
            for _ in range(3):
                answer = await client.post("/v1/audio/speech", content=raws.BODY)
                assert (answer.status_code, answer.json()["error"]["code"]) == (503, "overloaded")
                assert 1 <= int(answer.headers["retry-after"]) <= 3
                assert answer.headers["x-should-retry"] == "true"
            assert (await client.get("/livez")).status_code == 200
        hold.set()


async def test_C_4_memory_stays_small_where_nobody_takes_the_answers() -> None:
    count = 30
    long = Answer(pieces=(bytes(100_000),) * 100, content_type="audio/pcm", chunked=True)
    async with before(long, server="timeouts: {send: 3}") as (gateway, one), kept(gateway) as client:
        process = Process(gateway.process.pid)
        await served(client, 1)
        empty, most = process.rss, 0
        async with connected(gateway, count) as lines:
            for line in lines:
                line.pause_reading()
                line.write(raws.request(gateway.key, raws.LENGTH))

            async def left() -> int:
                nonlocal most
                most = max(most, process.rss)
                return sum(not seen.closed.is_set() for seen in one.seen[-count:]) if len(one.seen) >= count else count

            await until(left, lambda running: running == 0, seconds=30)
        print(f"C-4 {count} answers of 10 MB that nobody takes: {(most - empty) / count / 1024:.0f} KiB each")
    assert (most - empty) / count < 2**20


async def uploads(count: int, *, size: int, pace: int, seconds: float) -> None:
    """So many uploads at once, `pace` bytes a second each: all are served."""
    async with before() as (gateway, one), connected(gateway, count) as lines:
        process = Process(gateway.process.pid)
        sound = make("wav", 1.0)
        form = MODEL + file(sound + bytes(size - len(sound))) + END
        fields = (f"Content-Type: {FORM}", f"Content-Length: {len(form)}", f"Authorization: Bearer {gateway.key}")
        head = "\r\n".join(("POST /v1/audio/transcriptions HTTP/1.1", "Host: x", *fields, "", ""))
        most, files, done = 0, 0, 0

        async def send(line: asyncio.Transport, number: int) -> None:
            await asyncio.sleep(number / count)
            line.write(head.encode())
            for at in range(0, len(form), pace):
                line.write(form[at : at + pace])
                await asyncio.sleep(1)

        sending = [asyncio.ensure_future(send(line, number)) for number, line in enumerate(lines)]
        deadline = time.monotonic() + seconds
        while done < count and time.monotonic() < deadline:
            most, files = max(most, process.rss), max(files, process.files)
            done = sum(seen.whole for seen in one.seen)
            await asyncio.sleep(0.2)
        await asyncio.gather(*sending)
        await asyncio.sleep(0.5)
        assert all(not line.is_closing() for line in lines)
    print(f"C-14 {done} of {count} slow uploads served; {most / 2**20:.0f} MiB at most, {files / count:.1f} files each")
    assert done == count
    assert most < 300 * 2**20
    assert files <= 3 * count + 100, "its own connection, the upstream's, and a file for what was not sent yet"


async def test_C_14_fifty_slow_uploads_are_served() -> None:
    await uploads(50, size=100_000, pace=30_000, seconds=30)


@pytest.mark.soak
@pytest.mark.timeout(400)
async def test_C_14_a_thousand_slow_uploads_are_served() -> None:
    await uploads(1_000, size=1_000_000, pace=10_000, seconds=300)
