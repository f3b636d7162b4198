"""Clients that are slow, rude or broken: rows C of the catalogue, and S-20. Crowds of them are in test_clients_many."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import openai
import pytest

from gateway.config.model import Key, Server, Team, Timeouts, Uploads
from gateway.policy.limits import Limit
from tests.faults import raws
from tests.running import Running, key_text, serving, until
from tests.stub import Answer
from tests.wire import END, FORM, MODEL, Said, Wire, chunked, dial, file, framed

TARGET, UPLOAD, JSON = "/v1/audio/speech", "/v1/audio/transcriptions", "application/json"
SOUND = (
    b"RIFF\x24\x7d\x00\x00WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00\x80>\x00\x00\x00}\x00\x00\x02\x00\x10\x00data"
    + bytes(1_000_000)
)
FIELDS_FIRST, FILE_FIRST = MODEL + file(SOUND) + END, file(SOUND) + MODEL + END
QUICK = Timeouts(header=0.6, idle=0.6, body=0.9, send=0.6, total=20.0)


def patient(limits: Timeouts = QUICK, **more: Any) -> Server:
    """A server that waits for nobody for long."""
    return Server(timeouts=limits, **more)


async def ended(wire: Wire) -> bytes:
    """What still comes before the gateway closes the connection."""
    async with asyncio.timeout(10):
        try:
            return await wire.reader.read()
        except ConnectionError:
            return b""


async def free(gateway: Running) -> None:
    """Wait until nothing is under way and nothing is held; then no task of a request's may be left."""
    await gateway.asked(connections=0, requests=0)
    await gateway.idle()
    names = [task.get_name() for task in asyncio.all_tasks()]
    assert not [name for name in names if name.startswith(("req_", "settle", "count"))], names
    assert gateway.app.metrics.registry.get_sample_value("audiogate_inflight_requests") == 0


# -- C-1: those who say nothing, or little


@pytest.mark.parametrize("sent", [b"", b"\r\n", b"POST /v1/aud", b"POST /v1/audio/speech HTTP/1.1\r\nHost: x\r\nX: "])
async def test_C_1_who_says_nothing_or_half_a_head_is_left(store_url: str, data: Path, sent: bytes) -> None:
    async with serving(store_url, data, server=patient()) as (gateway, _), dial(gateway) as wire:
        await wire.send(sent)
        if sent.strip():
            answer = await wire.answer()
            assert (answer.status, answer.error["code"]) == (408, "request_timeout")
            assert answer.headers["connection"] == "close"
        assert await ended(wire) == b""
        await free(gateway)


async def test_C_1_a_head_that_drips_is_late_however_often_it_drips(store_url: str, data: Path) -> None:
    async with serving(store_url, data, server=patient()) as (gateway, _), dial(gateway) as wire:
        dripping = asyncio.ensure_future(drip(wire, b"POST / HTTP/1.1\r\nX: " + b"a" * 1000))
        assert (await wire.answer()).status == 408
        dripping.cancel()
        assert await ended(wire) == b""


async def drip(wire: Wire, data: bytes) -> None:
    """A byte every 20 ms."""
    for byte in data:
        await wire.send(bytes([byte]))
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("form", [FIELDS_FIRST, FILE_FIRST], ids=["fields first", "file first"])
@pytest.mark.parametrize("pace", [0, 2, 20], ids=["silent", "a few bytes", "more bytes"])
async def test_C_1_a_body_that_stands_still_or_drips_is_given_up(
    store_url: str, data: Path, form: bytes, pace: int
) -> None:
    async with serving(store_url, data, server=patient()) as (gateway, one), dial(gateway) as wire:
        await wire.begin("POST", UPLOAD, f"Content-Type: {FORM}", f"Content-Length: {len(form)}")
        await wire.send(form[:300])
        sending = asyncio.ensure_future(paced(wire, form[300:], pace))
        answer = await wire.answer()
        sending.cancel()
        assert (answer.status, answer.error["code"]) == (408, "request_timeout")
        assert await ended(wire) == b""
        await free(gateway)
        for seen in one.seen:
            async with asyncio.timeout(1):
                await seen.closed.wait()
        assert not any(seen.whole for seen in one.seen)
        assert await gateway.cost() == 0
        for record in await gateway.records(len(one.seen)):
            assert (record["error"], record["status"]) == ("slow", "408")


async def paced(wire: Wire, data: bytes, count: int) -> None:
    """So many bytes every 50 ms, none at all for 0."""
    for at in range(0, len(data) if count else 0, count or 1):
        await wire.send(data[at : at + count])
        await asyncio.sleep(0.05)


async def test_C_1_a_body_at_a_fair_pace_has_its_time_until_the_total_is_over(store_url: str, data: Path) -> None:
    limits = replace(QUICK, total=2.5)
    async with serving(store_url, data, server=patient(limits)) as (gateway, one), dial(gateway) as wire:
        loop = asyncio.get_running_loop()
        began = loop.time()
        await wire.begin("POST", UPLOAD, f"Content-Type: {FORM}", f"Content-Length: {len(FIELDS_FIRST)}")
        sending = asyncio.ensure_future(paced(wire, FIELDS_FIRST, 400))
        answer = await wire.answer()
        sending.cancel()
        assert (answer.status, answer.error["code"]) == (408, "request_timeout")
        assert loop.time() - began > 2.4, "8 KB a second are fast enough"
        assert await ended(wire) == b""
        await free(gateway)
    assert not one.seen[0].whole


async def test_C_1_a_slow_upstream_is_not_the_callers_fault(store_url: str, data: Path) -> None:
    """While nobody takes the body it is not read, and while an answer is thought about nobody has to speak."""
    hold = asyncio.Event()
    async with serving(store_url, data, Answer(hold=hold), server=patient()) as (gateway, _), dial(gateway) as wire:
        loop = asyncio.get_running_loop()
        loop.call_later(3.0, hold.set)
        answer = await wire.post(UPLOAD, FIELDS_FIRST)
        assert answer.status == 200
        await gateway.records()


async def test_C_1_who_keeps_a_connection_may_be_silent_for_longer_than_who_is_new(store_url: str, data: Path) -> None:
    limits = replace(QUICK, header=0.4, idle=1.6)
    async with serving(store_url, data, server=patient(limits)) as (gateway, _), dial(gateway) as wire:
        loop = asyncio.get_running_loop()
        assert (await wire.post(TARGET, raws.BODY, content_type=JSON)).status == 200
        began = loop.time()
        assert await ended(wire) == b""
        assert 1.5 < loop.time() - began < 6
        await free(gateway)


async def test_C_1_a_slow_body_for_the_application_is_given_up_as_well(store_url: str, data: Path) -> None:
    server = patient(admin_token="token of the operators")
    async with serving(store_url, data, server=server) as (gateway, _), dial(gateway) as wire:
        await wire.begin(
            "POST", "/admin/keys", "Content-Length: 500", f"Content-Type: {JSON}", key="token of the operators"
        )
        await wire.send(b"{")
        answer = await wire.answer()
        assert (answer.status, answer.error["code"]) == (408, "request_timeout")
        assert await ended(wire) == b""
        await gateway.asked(connections=0, requests=0)


# -- C-2 to C-4: those who go away, or take nothing


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("share", [0, 1, 50, 99])
async def test_C_2_an_upload_that_is_broken_off_is_called_off(
    store_url: str, data: Path, share: int, framing: str
) -> None:
    header, sent = framed(FIELDS_FIRST, framing)
    async with serving(store_url, data) as (gateway, one):
        async with dial(gateway) as wire:
            await wire.begin("POST", UPLOAD, f"Content-Type: {FORM}", header)
            await wire.send(sent[: len(sent) * share // 100])
            if share:
                await (await one.request()).has(len(SOUND) * (share - 1) // 100)
            else:
                await gateway.asked(connections=1, requests=1)
            wire.hang_up()
            for seen in one.seen:
                async with asyncio.timeout(1):
                    await seen.closed.wait()
        await free(gateway)
        assert not any(seen.whole for seen in one.seen)
        records = await gateway.records(len(one.seen))
        assert [(record["error"], record["cost_micro_usd"]) for record in records] == [("client_gone", "0")] * len(
            records
        )
        assert gateway.app.metrics.registry.get_sample_value("audiogate_spool_bytes") == 0


async def test_C_3_a_download_that_is_broken_off_is_charged_as_executed(store_url: str, data: Path) -> None:
    endless = Answer(pieces=(b"ID3", b"never"), content_type="audio/mpeg", gate=asyncio.Event())
    async with serving(store_url, data, endless) as (gateway, one):
        async with dial(gateway) as wire:
            await wire.send(raws.request(gateway.key, raws.LENGTH))
            assert (await wire.head()).status == 200
            wire.hang_up()
            async with asyncio.timeout(1):
                await one.seen[0].closed.wait()
        (record,) = await gateway.records()
        await free(gateway)
    assert (record["error"], record["cost_micro_usd"]) == ("client_gone", "75")


@pytest.mark.parametrize("chunked", [True, False])
async def test_C_4_who_takes_nothing_of_an_answer_is_left(store_url: str, data: Path, chunked: bool) -> None:
    long = Answer(pieces=(bytes(100_000),) * 200, content_type="audio/pcm", chunked=chunked)
    async with serving(store_url, data, long, server=patient()) as (gateway, one), dial(gateway) as wire:
        wire.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await wire.send(raws.request(gateway.key, raws.LENGTH))
        most = 0

        async def kept() -> int:
            nonlocal most
            unsent = [door.transport.get_write_buffer_size() for door in gateway.state.connections]
            most = max(most, *unsent, 0)
            return len(unsent)

        await until(kept, lambda connections: not connections)
        async with asyncio.timeout(1):
            await one.seen[0].closed.wait()
        (record,) = await gateway.records()
        await free(gateway)
    assert 0 < most <= 1_000_000
    assert (record["error"], record["cost_micro_usd"]) == ("client_gone", "75")


async def test_C_4_who_takes_little_at_a_time_is_served(store_url: str, data: Path) -> None:
    """Longer than `send` seconds, with pauses below it."""
    long = Answer(pieces=(bytes(100_000),) * 150, content_type="audio/pcm", chunked=True)
    async with serving(store_url, data, long, server=patient()) as (gateway, _), dial(gateway) as wire:
        await wire.send(raws.request(gateway.key, raws.LENGTH))
        assert (await wire.head()).status == 200
        got = b""
        while not got.endswith(b"\r\n0\r\n\r\n"):
            async with asyncio.timeout(5):
                more = await wire.reader.read(1_500_000)
            assert more, "cut off"
            got = got[-7:] + more
            await asyncio.sleep(0.15)
        (record,) = await gateway.records()
    assert record["status"] == "200"


# -- C-5 to C-8: bodies that are too long, too short, or waited for


async def test_C_5_a_body_that_is_too_long_by_its_head_is_refused_unread(store_url: str, data: Path) -> None:
    async with serving(store_url, data, uploads=Uploads(max_bytes=100_000)) as (gateway, one), dial(gateway) as wire:
        await wire.begin("POST", UPLOAD, f"Content-Type: {FORM}", "Content-Length: 30000000")
        answer = await wire.answer()
        assert (answer.status, answer.headers["connection"]) == (413, "close")
        assert "(0 bytes read)" not in answer.error["message"]
        for _ in range(300):  # who sends it all the same is let, and can still read the answer
            await wire.send(bytes(100_000))
        wire.writer.write_eof()
        assert await ended(wire) == b""
        await free(gateway)
    assert one.seen == []


@pytest.mark.parametrize("order", ["fields first", "file first"])
async def test_C_5_an_sdk_that_sends_too_much_is_told_so(store_url: str, data: Path, order: str) -> None:
    async with serving(store_url, data, uploads=Uploads(max_bytes=100_000)) as (gateway, _):
        async with openai.AsyncOpenAI(api_key=gateway.key, base_url=gateway.url) as client:
            with pytest.raises(openai.APIStatusError) as caught:
                await client.audio.transcriptions.create(model="whisper-1", file=("x.wav", bytes(10_000_000)))
        assert caught.value.status_code == 413
        assert gateway.state.total_requests == 1
        await gateway.asked(connections=0, requests=0)


async def test_C_5_who_never_ends_is_not_listened_to_for_ever(store_url: str, data: Path) -> None:
    async with serving(store_url, data, uploads=Uploads(max_bytes=100_000)) as (gateway, _), dial(gateway) as wire:
        await wire.begin("POST", UPLOAD, f"Content-Type: {FORM}", "Content-Length: 90000000000")
        assert (await wire.answer()).status == 413
        sent = 0
        with suppress(ConnectionError):
            while sent < 100_000_000:
                await wire.send(bytes(1_000_000))
                sent += 1_000_000
        assert 0 < sent < 100_000_000
        await free(gateway)


async def test_C_5_who_falls_silent_after_a_refusal_is_left(store_url: str, data: Path) -> None:
    async with serving(store_url, data, server=patient()) as (gateway, _), dial(gateway) as wire:
        await wire.begin("POST", UPLOAD, f"Content-Type: {FORM}", "Content-Length: 9000000", key="sk-nobody")
        answer = await wire.answer()
        assert (answer.status, answer.headers["connection"]) == (401, "close")
        await free(gateway)


@pytest.mark.parametrize("form", [FIELDS_FIRST, FILE_FIRST], ids=["fields first", "file first"])
async def test_C_6_a_body_that_is_too_long_in_the_end_is_refused_there(store_url: str, data: Path, form: bytes) -> None:
    async with serving(store_url, data, uploads=Uploads(max_bytes=500_000)) as (gateway, one), dial(gateway) as wire:
        await wire.begin("POST", UPLOAD, f"Content-Type: {FORM}", "Transfer-Encoding: chunked")
        await wire.send(chunked([form[at : at + 8_000] for at in range(0, len(form), 8_000)]))
        answer = await wire.answer()
        assert answer.status == 413
        wire.hang_up()
        await free(gateway)
        assert not any(seen.whole for seen in one.seen)
        assert await gateway.cost() == 0


async def test_C_7_a_body_that_ends_too_early_is_never_served(store_url: str, data: Path) -> None:
    async with serving(store_url, data) as (gateway, one), dial(gateway) as wire:
        await wire.begin("POST", UPLOAD, f"Content-Type: {FORM}", f"Content-Length: {len(FIELDS_FIRST) + 1}")
        await wire.send(FIELDS_FIRST)
        wire.writer.write_eof()
        assert await ended(wire) == b""
        await free(gateway)
        assert not any(seen.whole for seen in one.seen)
        assert await gateway.cost() == 0


@pytest.mark.parametrize(
    ("rest", "status"),
    [(b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n", 401), (raws.BODY, 400), (b"\0\0\0\0\0\0\0", 400)],
)
async def test_C_7_what_comes_behind_a_body_is_a_request_of_its_own(
    store_url: str, data: Path, rest: bytes, status: int
) -> None:
    async with serving(store_url, data) as (gateway, one), dial(gateway) as wire:
        await wire.send(raws.request(gateway.key, raws.LENGTH) + rest)
        assert (await wire.answer()).status == 200
        assert (await wire.answer()).status == status
        await gateway.records()
    assert [seen.json["input"] for seen in one.seen] == ["hello"]


SPENT = (Limit("usd", "month", 75),)  # one request for speech


@pytest.mark.parametrize("route", ["speech", "fields first", "file first"])
@pytest.mark.parametrize(
    ("key", "limits", "size", "status"),
    [("sk-nobody", (), 0, 401), ("", (), 0, 401), ("alice", (), 90_000_000, 413), ("alice", SPENT, 0, 429)],
    ids=["a wrong key", "no key", "too long", "nothing left"],
)
async def test_C_8_a_body_that_would_be_refused_is_not_asked_for(
    store_url: str, data: Path, route: str, key: str, limits: tuple[Limit, ...], size: int, status: int
) -> None:
    body = {"speech": raws.BODY, "fields first": FIELDS_FIRST, "file first": FILE_FIRST}[route]
    target, content_type = (TARGET, JSON) if route == "speech" else (UPLOAD, FORM)
    teams = {"default": Team("default", limits=limits)}
    async with serving(store_url, data, teams=teams) as (gateway, one), dial(gateway) as wire:
        if limits:
            await spend(gateway)
        sized = f"Content-Length: {size or len(body)}"
        shown = gateway.key if key == "alice" else key
        await wire.begin("POST", target, f"Content-Type: {content_type}", sized, "Expect: 100-continue", key=shown)
        answer = await wire.answer()
        assert (answer.status, answer.headers["connection"]) == (status, "close")
        assert await ended(wire) == b""
        wire.hang_up()
        await free(gateway)
    assert len(one.seen) == len(limits)


async def spend(gateway: Running) -> None:
    """The first request is let in, and leaves nothing."""
    async with dial(gateway) as other:
        assert (await other.post(TARGET, raws.BODY, content_type=JSON)).status == 200
    await gateway.records()
    await gateway.idle()


@pytest.mark.parametrize("version", ["1.1", "1.0"])
async def test_C_8_a_body_that_is_let_in_is_asked_for_once(store_url: str, data: Path, version: str) -> None:
    """In HTTP/1.0 there is no such thing as to ask."""
    async with serving(store_url, data) as (gateway, _), dial(gateway) as wire:
        line = raws.SPEECH.replace(b"1.1", version.encode())
        await wire.send(raws.request(gateway.key, raws.LENGTH, b"Expect: 100-continue", line=line, body=b""))
        if version == "1.1":
            assert await wire.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        await wire.send(raws.BODY)
        assert (await wire.answer()).status == 200
        await gateway.records()


# -- C-9, C-10, S-20: what could be read in two ways


async def refused(gateway: Running, raw: bytes) -> Said:
    """The only answer to these bytes, with a good request right behind them; the connection is closed behind it."""
    async with dial(gateway) as wire:
        wire.writer.write(raw + raws.request(gateway.key, raws.LENGTH))
        answer = await wire.answer()
        assert await ended(wire) == b""
    return answer


@pytest.mark.parametrize("table", [raws.framings, raws.heads])
async def test_C_9_what_could_be_read_in_two_ways_is_refused_and_nothing_behind_it_is_read(
    store_url: str, data: Path, table: Callable[[str], AsyncIterator[tuple[str, bytes]]]
) -> None:
    async with serving(store_url, data) as (gateway, one):
        wrong = {}
        rows = dict(table(gateway.key))  # type: ignore[call-overload]
        for name, raw in rows.items():
            try:
                answer = await refused(gateway, raw)
                good = answer.status in (400, 405, 414, 431) and answer.headers["connection"] == "close"
                if not (good and answer.error["type"] == "invalid_request_error"):
                    wrong[name] = str(answer)
            except Exception as error:
                wrong[name] = repr(error)
        await free(gateway)
        assert not wrong
        assert await gateway.cost() == 0
    print("C-9", len(rows), "raw requests refused,", len(one.seen), "seen by the upstream")
    assert one.seen == []


async def test_C_9_there_are_at_least_44_of_them() -> None:
    assert len([*raws.framings("k"), *raws.heads("k")]) >= 44


@pytest.mark.parametrize("pieces", [1, 7, 1000])
async def test_C_9_a_head_is_bounded_while_it_comes_in_pieces(store_url: str, data: Path, pieces: int) -> None:
    """It has no end: what is too much is told before that."""
    async with serving(store_url, data) as (gateway, _), dial(gateway) as wire:
        head = b"POST /v1/audio/speech HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 33_000
        for at in range(0, len(head), len(head) // pieces + 1):
            await wire.send(head[at : at + len(head) // pieces + 1])
        answer = await wire.answer()
        assert (answer.status, answer.error["code"]) == (431, "headers_too_large")


async def test_C_9_a_head_of_just_so_many_bytes_and_fields_is_served(store_url: str, data: Path) -> None:
    async with serving(store_url, data) as (gateway, _), dial(gateway) as wire:
        for fields in ([b"X: " + b"a" * 32_000], [b"X: 1"] * 95):
            await wire.send(raws.request(gateway.key, raws.LENGTH, *fields) * 2)
            assert [(await wire.answer()).status for _ in range(2)] == [200, 200]
        query = b"POST /v1/audio/speech?" + b"a" * 8_000 + b" HTTP/1.1"
        await wire.send(raws.request(gateway.key, raws.LENGTH, line=query))
        assert (await wire.answer()).status == 200
        await gateway.records(5)


async def test_C_10_a_request_behind_another_needs_a_key_of_its_own(store_url: str, data: Path) -> None:
    async with serving(store_url, data) as (gateway, one), dial(gateway) as wire:
        good = raws.request(gateway.key, raws.LENGTH)
        keyless = good.replace(b"Authorization: Bearer " + gateway.key.encode() + b"\r\n", b"")
        await wire.send(good + keyless + good + keyless.replace(b"POST /v1/audio/speech", b"POST /v1/models"))
        assert [(await wire.answer()).status for _ in range(4)] == [200, 401, 200, 405]
        await gateway.records(2)
    assert len(one.seen) == 2


@pytest.mark.parametrize("fields", raws.UPGRADES, ids=["websocket", "h2c"])
@pytest.mark.parametrize("line", [raws.SPEECH, b"GET /v1/audio/voices HTTP/1.1", b"GET /v1/models HTTP/1.1"])
async def test_S_20_no_other_protocol_is_spoken_and_nothing_is_passed_on(
    store_url: str, data: Path, fields: tuple[bytes, ...], line: bytes
) -> None:
    async with serving(store_url, data) as (gateway, one):
        body = raws.BODY if b"POST" in line else b""
        raw = raws.request(gateway.key, *fields, b"Content-Length: %d" % len(body), line=line, body=body)
        answer = await refused(gateway, raw + b"\x81\x85frames")
        assert (answer.status, answer.error["code"]) == (400, "bad_request")
        await free(gateway)
    assert one.seen == []


# -- C-11 to C-13, C-16: what is passed on, and what is believed


async def test_C_11_what_is_meant_for_the_next_hop_stays_here(store_url: str, data: Path) -> None:
    hops = {
        "Connection": "X-Secret, TE, Keep-Alive, close",
        "X-Secret": "canary",
        "TE": "trailers, canary",
        "Trailer": "X-Canary",
        "Upgrade": "canary/2",
        "Keep-Alive": "timeout=canary",
        "Proxy-Authorization": "Basic canary",
        "Proxy-Connection": "canary",
        "Proxy-Authenticate": "canary",
    }
    seen = await passed_on(store_url, data, hops)
    assert "canary" not in " ".join([*seen, *seen.values()]).lower()
    assert not {"te", "trailer", "upgrade", "keep-alive", "proxy-connection", "x-secret"} & set(seen)


async def passed_on(store_url: str, data: Path, fields: Mapping[str, str]) -> Mapping[str, str]:
    """The headers that the upstream gets when a caller sends these."""
    async with serving(store_url, data) as (gateway, one), dial(gateway) as wire:
        lines = [f"{name}: {value}".encode() for name, value in fields.items()]
        await wire.send(raws.request(gateway.key, raws.LENGTH, *lines))
        assert (await wire.answer()).status == 200
        await gateway.records()
    return one.seen[0].headers


async def test_C_12_addresses_and_hosts_are_believed_from_proxies_that_are_trusted(store_url: str, data: Path) -> None:
    keys = {"alice": Key("alice", "default", key_text(), ips=("192.0.2.0/24",))}
    fields = [
        b"X-Forwarded-For: 192.0.2.9",
        b"X-Real-IP: 192.0.2.9",
        b"Forwarded: for=192.0.2.9",
        b"X-Forwarded-Host: evil",
    ]
    for trusted, status in (((), 401), (("127.0.0.1",), 200), (("10.0.0.0/8",), 401)):
        server = Server(trusted_proxies=trusted)
        async with serving(store_url, data, keys=keys, server=server) as (gateway, one), dial(gateway) as wire:
            await wire.send(raws.request(gateway.key, raws.LENGTH, *fields, host=b"Host: evil"))
            assert (await wire.answer()).status == status
            await gateway.idle()
        assert ["evil" in str(seen.headers) or "192.0.2.9" in str(seen.headers) for seen in one.seen] == (
            [False] if status == 200 else []
        )


async def test_C_13_what_callers_say_of_themselves_stays_here(store_url: str, data: Path) -> None:
    fields = (
        "OpenAI-Organization",
        "OpenAI-Project",
        "Cookie",
        "api-key",
        "X-API-Key",
        "X-Upstream",
        "User-Agent",
        "Origin",
    )
    seen = await passed_on(store_url, data, dict.fromkeys(fields, "canary"))
    assert "canary" not in " ".join(seen.values())
    assert seen["authorization"] == "Bearer sk-secret-of-a"


@pytest.mark.parametrize("path", [TARGET, "/v1/models"])
async def test_C_13_two_keys_are_none(store_url: str, data: Path, path: str) -> None:
    async with serving(store_url, data) as (gateway, one), dial(gateway) as wire:
        method = b"POST" if path == TARGET else b"GET"
        twice = b"Authorization: Bearer " + gateway.key.encode()
        line = b"%s %s HTTP/1.1" % (method, path.encode())
        await wire.send(raws.request(gateway.key, twice, raws.LENGTH, line=line))
        assert (await wire.answer()).status == 401
        await gateway.idle()
    assert one.seen == []


@pytest.mark.parametrize("route", ["speech", "transcription"])
async def test_C_16_an_sdk_asks_once_where_a_quota_is_spent(store_url: str, data: Path, route: str) -> None:
    teams = {"default": Team("default", limits=SPENT)}
    async with serving(store_url, data, teams=teams) as (gateway, one):
        await spend(gateway)
        async with openai.AsyncOpenAI(api_key=gateway.key, base_url=gateway.url, max_retries=2) as client:
            for _ in range(10):
                with pytest.raises(openai.RateLimitError) as caught:
                    await asked(client, route)
                assert caught.value.code == "insufficient_quota"
        print("C-16", gateway.state.total_requests - 1, "requests for 10 calls")
        assert gateway.state.total_requests == 11
        await gateway.idle()
    assert len(one.seen) == 1


async def asked(client: openai.AsyncOpenAI, route: str) -> object:
    """A call of the SDK's."""
    if route == "speech":
        return await client.audio.speech.create(model="tts-1", input="hello", voice="alloy")
    return await client.audio.transcriptions.create(model="whisper-1", file=("x.wav", SOUND))


async def test_C_16_an_sdk_comes_again_after_the_time_it_is_told(store_url: str, data: Path) -> None:
    teams = {"default": Team("default", limits=(Limit("requests", "minute", 60, burst=1),))}
    async with serving(store_url, data, teams=teams) as (gateway, one):
        async with openai.AsyncOpenAI(api_key=gateway.key, base_url=gateway.url, max_retries=2) as client:
            for _ in range(3):
                await asked(client, "speech")
        await gateway.records(3)
        print("C-16", gateway.state.total_requests, "requests for 3 calls")
        assert gateway.state.total_requests <= 3 + 2 * 2
    assert len(one.seen) == 3
