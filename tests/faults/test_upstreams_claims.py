"""Upstreams that send callers elsewhere, tell what is nobody's business, or claim what cannot be."""

import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.checker import served
from tests.faults.jobs import SECONDS
from tests.faults.upstreams import BOTH_WAYS, SPEECH, UPLOAD, Fleet, fleet, statuses
from tests.stub import Answer, said, stub

EVENTS = "text/event-stream"
USAGE = {"type": "duration", "seconds": 6.0}
SIX_SECONDS = 600  # micro-USD


# -- U-20: elsewhere


STATUSES = (300, 301, 302, 303, 304, 305, 307, 308)


async def test_U_20_nobody_is_sent_elsewhere(store_url: str, data: Path) -> None:
    """Neither the gateway nor its caller: the request, its body and our key would go to whoever is named."""
    async with stub() as target:
        places = [target.url + "/audio/speech", f"//127.0.0.1:{target.port}/x", "/v1/elsewhere", "file:///etc/passwd"]
        given = iter(
            [Answer(status=status, headers={"location": place}, pieces=()) for status in STATUSES for place in places]
        )
        async with fleet(store_url, data, lambda: next(given)) as one:
            for _ in range(len(STATUSES) * len(places)):
                one.forget()
                async with one.by_hand() as (wire, told):
                    await wire.send(told.job.body)
                    answer = await wire.answer()
                    told.status = answer.status
                assert (answer.status, answer.error["code"]) == (502, "upstream_failed")
                assert "location" not in answer.headers
                assert str(target.port) not in answer.body.decode()
            figures = await one.books()
        print(f"U-20 {one.seen[0]} redirects:", figures)
    assert one.seen == [len(STATUSES) * len(places)], "nor is it tried again"
    assert target.seen == []


# -- U-21: what is nobody's business

TOLD = {
    "Set-Cookie": "session=1; HttpOnly",
    "Server": "nginx/1.2.3",
    "Via": "1.1 varnish",
    "X-Powered-By": "PHP/5",
    "X-Request-Id": "req_of_the_upstream",
    "X-Oneapi-Request-Id": "2026",
    "X-Should-Retry": "true",
    "Retry-After": "3600",
    "OpenAI-Organization": "org-secret",
    "OpenAI-Project": "proj-secret",
    "OpenAI-Version": "1999-01-01",
    "X-RateLimit-Limit-Requests": "1",
    "X-RateLimit-Remaining-Requests": "0",
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Credentials": "true",
    "Strict-Transport-Security": "max-age=31536000",
    "Content-Security-Policy": "default-src 'none'",
    "Public-Key-Pins": "pin",
    "Alt-Svc": 'h3=":443"',
    "Clear-Site-Data": '"*"',
    "Refresh": "0; url=http://evil.example",
    "Location": "http://evil.example",
    "Link": "<http://evil.example>; rel=preload",
    "SourceMap": "http://evil.example",
    "WWW-Authenticate": "Basic",
    "Proxy-Authenticate": "Basic",
    "Keep-Alive": "timeout=1",
    "Upgrade": "h2c",
    "Trailer": "X-Late",
    "Age": "1",
    "Date": "Thu, 01 Jan 1970 00:00:00 GMT",
    "CF-Ray": "1-FRA",
    "X-Amz-Request-Id": "1",
    "X-Secret-Upstream": "10.0.0.1",
    "Authorization": "Bearer sk-secret-of-a",
    "X-Api-Key": "sk-secret-of-a",
}
ANYBODYS = {"content-type", "content-length", "transfer-encoding", "openai-processing-ms", "openai-version"}
OURS = {"x-request-id", "date", "connection"}


@pytest.mark.parametrize("status", [200, 400, 404, 429, 500])
async def test_U_21_what_is_said_between_an_upstream_and_us_stays_there(
    store_url: str, data: Path, status: int
) -> None:
    answer = said("hello", status=status)
    answer.headers = {**TOLD, "OpenAI-Processing-Ms": "12"}
    async with fleet(store_url, data, lambda: answer) as one:
        for kind in BOTH_WAYS:
            one.forget()
            async with one.by_hand(kind) as (wire, told):
                await wire.send(told.job.body)
                got = await wire.answer()
                told.status, told.rid, told.whole = got.status, got.headers["x-request-id"], got.whole
            if status == 200:
                assert set(got.headers) <= ANYBODYS | OURS
                assert got.headers["openai-processing-ms"] == "12"
            leaked = {name for name, value in TOLD.items() if value in got.headers.get(name.lower(), "")}
            leaked -= {"Retry-After", "X-Should-Retry"} if status == 429 else set()
            assert not leaked
            everything = b"\n".join([*(value.encode() for value in got.headers.values()), bytes(got.body)])
            assert b"secret" not in everything
            assert b"evil" not in everything
        print("U-21", status, await one.books())


# -- U-22: what cannot be

DEEP = b'{"usage":' + b"[" * 100_000
CLAIMS: dict[str, bytes] = {
    name: json.dumps({"text": "hello", **claim}).encode() if not isinstance(claim, bytes) else claim
    for name, claim in {
        "another team's model": {"model": "gpt-expensive", "team": "other", "user": "bob", "usage": {"seconds": -1}},
        "negative seconds": {"usage": {"type": "duration", "seconds": -5}},
        "negative duration": {"duration": -5},
        "1e308 seconds": {"usage": {"type": "duration", "seconds": 1e308}},
        "a duration of 1e308": {"duration": 1e308},
        "1e999 seconds": b'{"text":"hello","usage":{"type":"duration","seconds":1e999}}',
        "NaN": b'{"text":"hello","usage":{"type":"duration","seconds":NaN}}',
        "infinity": b'{"text":"hello","duration":-Infinity}',
        "no number": {"usage": {"type": "duration", "seconds": "many"}},
        "NaN as a word": {"duration": "nan"},
        "infinity as a word": {"duration": "inf"},
        "true": {"usage": {"seconds": True}},
        "a list": {"usage": {"seconds": [1]}},
        "an object": {"usage": {"seconds": {"seconds": 1}}},
        "usage is a list": {"usage": [1, 2]},
        "usage is a word": {"usage": "much"},
        "negative tokens": {"usage": {"type": "tokens", "input_tokens": -(10**9), "output_tokens": -1}},
        "2**63 tokens": {"usage": {"type": "tokens", "input_tokens": 2**63, "output_tokens": 2**64}},
        "1e308 tokens": {"usage": {"type": "tokens", "input_tokens": 1e308, "output_tokens": 1e308}},
        "a number of 5,000 digits": b'{"text":"hello","usage":{"seconds":' + b"9" * 5000 + b"}}",
        "a depth of 100,000": DEEP,
        "no JSON": b'{"usage":{"seconds":5}',
        "other bytes": b'\xff\xfe{\x00"\x00',
        "nothing": b"",
        "two usages": b'{"usage":{"seconds":-1},"usage":{"seconds":-2}}',
        "a list of answers": b'[{"usage":{"seconds":5}}]',
        "null": b"null",
    }.items()
}


def claims() -> Iterator[Answer]:
    """Each of them, as an answer and as an event."""
    for claim in CLAIMS.values():
        yield Answer(pieces=(claim,))
        yield Answer(pieces=(b"data: " + claim.replace(b"\n", b" ") + b"\n\n",), content_type=EVENTS)


@pytest.mark.parametrize("kind", BOTH_WAYS)
async def test_U_22_what_cannot_be_is_not_charged(store_url: str, data: Path, kind: str) -> None:
    """What was sent is counted instead: a tenth of a second of sound, five characters."""
    given, count = claims(), 2 * len(CLAIMS)
    async with fleet(store_url, data, lambda: next(given)) as one:
        assert statuses(await one.crowd(count, kind)) == {200: count}
        rows = await one.records(count)
        figures = await one.books()
    print(f"U-22 {count} claims:", figures)
    assert {int(row["cost_micro_usd"]) for row in rows} == {SPEECH if kind == "speech" else UPLOAD}
    assert {int(row["audio_ms"]) for row in rows} == {0 if kind == "speech" else round(SECONDS * 1000)}
    assert {(row["model"], row["team"]) for row in rows} == {("tts-1" if kind == "speech" else "whisper-1", "default")}
    assert all(0 <= int(row[name]) < 10**9 for row in rows for name in ("input_tokens", "output_tokens"))


async def test_U_22_random_claims_leave_the_books_finite(store_url: str, data: Path) -> None:
    """Whatever is said: no request costs less than nothing, or more than a week of sound."""
    dice = random.Random(22)
    odd = [0, -0.0, 1, -1, 1e-308, 1e308, 10**30, -(10**30), "", "1e308", "-5", None, True, [], {}, 604_800, 604_801]
    names = ["seconds", "duration", "type", "input_tokens", "output_tokens", "input_token_details", "total_tokens"]

    def draw() -> Answer:
        usage = {dice.choice(names): dice.choice(odd) for _ in range(4)}
        return said(usage=usage, duration=dice.choice(odd))

    async with fleet(store_url, data, draw) as one:
        told = await one.crowd(200, *BOTH_WAYS)
        rows = await one.records(200)
        figures = await one.books()
    print("U-22", figures)
    assert statuses(told) == {200: 200}
    assert all(0 < int(row["cost_micro_usd"]) <= 604_800 * 100 for row in rows)


# -- U-23: events

LAST = b'data: {"type":"transcript.text.done","text":"hello","usage":' + json.dumps(USAGE).encode() + b"}"
DELTA = b'data: {"type":"transcript.text.delta","delta":"hel"}'


async def told_by(one: Fleet, wanted: bytes, *, cost: int, whole: bool = True) -> None:
    """A transcription comes out as it came, and is charged by what its events said."""
    told = await one.ask("fields first")
    assert (told.status, told.whole) == (200, whole)
    assert told.body.startswith(wanted)
    if whole:
        assert told.body == wanted
    rows = await one.records(len(one.checker.told))
    assert int(rows[-1]["cost_micro_usd"]) == cost


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"], ids=["LF", "CRLF", "CR"])
async def test_U_23_events_in_pieces_are_read_and_passed_on(store_url: str, data: Path, end: bytes) -> None:
    """Cut anywhere, between CR and LF as well. Lines that end in CR alone are passed on, not read for their usage."""
    events = DELTA + end * 2 + LAST + end * 2
    cuts = [
        *range(1, 4),
        *range(len(DELTA) - 1, len(DELTA) + 6),
        *range(len(events) - 6, len(events)),
        len(events) // 2,
    ]
    given = iter([Answer(content_type=EVENTS, pieces=(events[:cut], events[cut:]), chunked=True) for cut in cuts])
    async with fleet(store_url, data, lambda: next(given)) as one:
        for _ in cuts:
            await told_by(one, events, cost=SIX_SECONDS if end != b"\r" else UPLOAD)
        print("U-23", await one.books())


async def test_U_23_events_in_single_bytes(store_url: str, data: Path) -> None:
    events = DELTA + b"\r\n\r\n" + LAST + b"\r\n\r\n"
    answer = Answer(content_type=EVENTS, pieces=tuple(bytes([one]) for one in events), chunked=True)
    async with fleet(store_url, data, lambda: answer) as one:
        await told_by(one, events, cost=SIX_SECONDS)
        print("U-23", await one.books())


@pytest.mark.parametrize("where", ["before", "behind"])
async def test_U_23_a_line_of_ten_megabytes_passes_and_the_usage_beside_it_counts(
    store_url: str, data: Path, where: str
) -> None:
    long = b"data: " + b"x" * 10_000_000 + b"\n\n"
    events = long + LAST + b"\n\n" if where == "before" else LAST + b"\n\n" + long
    answer = Answer(content_type=EVENTS, pieces=(events,), chunked=True)
    async with fleet(store_url, data, lambda: answer) as one:
        await told_by(one, events, cost=SIX_SECONDS)
        print("U-23", await one.books())


CUTS = {
    "in the first event": (DELTA[:20], UPLOAD),
    "between two events": (DELTA + b"\n\n", UPLOAD),
    "in the event with the usage": (DELTA + b"\n\n" + LAST[:-20], UPLOAD),
    "behind its line": (DELTA + b"\n\n" + LAST + b"\n", SIX_SECONDS),
    "behind the last event": (DELTA + b"\n\n" + LAST + b"\n\n", SIX_SECONDS),
}


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
async def test_U_23_events_that_break_off_are_settled(store_url: str, data: Path, reset: bool) -> None:
    """By the last usage that was told, else by what was sent; the caller sees that it is not whole, or an error."""
    given = iter(
        [
            Answer(content_type=EVENTS, pieces=(events,), chunked=True, cut=True, reset=reset)
            for events, _ in CUTS.values()
        ]
    )
    async with fleet(store_url, data, lambda: next(given), served) as one:
        for name, (events, cost) in CUTS.items():
            one.forget()
            told = await one.ask("fields first")
            assert told.status == 200
            assert told.body.startswith(events), name
            error = b'"code": "upstream_failed"' in told.body.removeprefix(events)
            assert error is events.endswith(b"\n\n"), name
            assert told.whole is error, name
            rows = await one.records(len(one.checker.told))
            assert (int(rows[-1]["cost_micro_usd"]), rows[-1]["error"]) == (cost, "upstream_failed"), name
        figures = await one.books()
    print("U-23", figures)
    assert one.seen == [len(CUTS), 0]
