"""The rows M-1 to M-21: bodies that are wrong, before a real gateway and an upstream that tells what it got."""

import asyncio
import random
import re
import sys
from collections.abc import Iterable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from time import process_time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.audio.body import JsonReader
from gateway.audio.form import FormReader
from gateway.audio.partheaders import boundary_of
from gateway.audio.request import ENDPOINTS
from gateway.errors import Refused
from tests.faults.bodies import ORDERS, PACES, SPEECH, TARGET, answered, bench, headers_of, ordered, sha
from tests.media import make
from tests.wire import BOUNDARY, END, FORM, MODEL, chunked, dial, file, pieces_of, text

WAV = make("wav", 0.5)
LONG = make("wav", 10.0)  # more than sockets hold, so an upstream has seen of it before its end has come
GOOD = MODEL + file(WAV) + END
MIB = 2**20

order = pytest.mark.parametrize("order", ORDERS)
framing = pytest.mark.parametrize("framing", ["length", "chunked"])


def reader() -> FormReader:
    """One for a form of this file."""
    return FormReader(
        ENDPOINTS["POST", TARGET], FORM, body_size=None, max_bytes=26_214_400, token="0123456789abcdef0123456789abcdef"
    )


def read_within(seconds: float, body: bytes | Iterable[bytes]) -> bool:
    """Whether reading a form takes no more processor time than that; what else the machine does may spoil a try."""
    pieces = [body[at : at + 65_536] for at in range(0, len(body), 65_536)] if isinstance(body, bytes) else list(body)
    trace = sys.gettrace()
    sys.settrace(None)  # what measures coverage takes longer than what is measured
    try:
        return any(_took(pieces) < seconds for _ in range(5))
    finally:
        sys.settrace(trace)


def _took(pieces: list[bytes]) -> float:
    one = reader()
    began = process_time()
    with suppress(Refused):
        for piece in pieces:
            one.feed(piece)
        one.close()
    return process_time() - began


async def test_M_1_without_one_boundary_that_is_in_the_body_nothing_is_read(store_url: str, data: Path) -> None:
    async with bench(store_url, data) as one:
        kinds = ["multipart/form-data", "multipart/form-data; boundary=", 'multipart/form-data; boundary=""']
        kinds += ["multipart/form-data; boundary=a; boundary=b", f"{FORM}; boundary={BOUNDARY}"]
        kinds += ["multipart/form-data; Boundary=a; bOUNDARY=b", "multipart/form-data; boundary=another"]
        for kind in kinds:
            await one.refused(GOOD, kind=kind, code="invalid_form")
        await one.refused(b"", code="invalid_form")
        await one.refused(END, code="missing_required_parameter")
        await one.clean(contacted=False)


async def test_M_2_another_content_type_is_a_400_that_names_it(store_url: str, data: Path) -> None:
    async with bench(store_url, data) as one:
        for kind in ("text/plain", "application/json", "application/x-www-form-urlencoded", "audio/wav", ""):
            error = await one.refused(GOOD, kind=kind, code="invalid_content_type")
            assert (kind or "none") in error["message"]
        for kind in ("text/plain", FORM, ""):
            await one.refused(b'{"model":"tts-1","input":"x"}', kind=kind, target=SPEECH, code="invalid_content_type")
        await one.clean(contacted=False)


BOUNDARIES = ["x" * 71, "x" * 5_000, '"' + "x" * 71 + '"', "a\x01b", '"a<b"', "a;b", '"a\\"b"', '"a "', "a,b c", "[a]"]


async def test_M_3_a_boundary_that_is_too_long_or_has_odd_characters_is_a_400(store_url: str, data: Path) -> None:
    async with bench(store_url, data) as one:
        for boundary in BOUNDARIES:
            if boundary != "a\x01b":  # the parser of requests does not let it in
                await one.refused(GOOD, kind=f"multipart/form-data; boundary={boundary}")
        await one.clean(contacted=False)
    for boundary in [*BOUNDARIES, "x" * 32_000, ";" * 32_000, '"' + "\\" * 32_000]:
        best = 9.0
        for _ in range(5):
            began = process_time()
            with pytest.raises(Refused):
                boundary_of(f"multipart/form-data; boundary={boundary}")
            best = min(best, process_time() - began)
        assert best < 0.005, boundary[:40]


@framing
async def test_M_4_without_a_model_the_parameter_is_named(store_url: str, data: Path, framing: str) -> None:
    async with bench(store_url, data) as one:
        for body in (file(WAV) + END, file(LONG) + END, text("model", "") + file(WAV) + END, text("x", "y") + END):
            missing = "model" if b"filename" in body else "file"
            error = await one.refused(body, framing=framing, code="missing_required_parameter", param=missing)
            assert (error["type"], missing in error["message"]) == ("invalid_request_error", True)
        await one.clean(contacted=False)


@framing
@order
async def test_M_5_a_second_model_or_file_is_a_400_wherever_it_stands(
    store_url: str, data: Path, order: str, framing: str
) -> None:
    async with bench(store_url, data) as one:
        for sound in (WAV, LONG):
            for twin in (MODEL, text("model", "tts-1"), file(sound), file(sound, "y.mp3")):
                param = "file" if b"filename" in twin else "model"
                for parts in ((MODEL, file(sound), twin), (twin, MODEL, file(sound))):
                    body = ordered(order, *parts) + END
                    await one.refused(body, framing=framing, code="invalid_value", param=param)
        await one.clean()


@order
async def test_M_5_what_an_upstream_saw_of_it_by_then_breaks_off(store_url: str, data: Path, order: str) -> None:
    """The second one comes while the upload is on its way already."""
    async with bench(store_url, data) as one:
        body = ordered(order, MODEL, file(LONG)) + MODEL + END
        cut = body.rindex(b"--" + BOUNDARY.encode() + b"\r\n")
        async with dial(one.gateway) as wire:
            await wire.begin("POST", TARGET, f"Content-Type: {FORM}", f"Content-Length: {len(body)}")
            await wire.send(body[:cut])
            if order == "model first":
                await (await one.upstream.request()).has(len(LONG) // 2)
            one.judged(await answered(wire, [body[cut:]]), code="invalid_value", param="model")
        await one.cut_short(0)
        await one.clean(contacted=order == "model first")


@framing
async def test_M_6_the_model_may_come_behind_the_file_and_the_order_stays(
    store_url: str, data: Path, framing: str
) -> None:
    parts = [text("language", "de"), file(LONG), text("prompt", "x"), MODEL, text("include[]", "logprobs")]
    async with bench(store_url, data) as one:
        seen = await one.served(b"".join(parts) + END, framing=framing)
        assert [name for name, _ in seen.fields] == ["language", "file", "prompt", "model", "include[]"]
        assert sha(dict(seen.fields)["file"]) == sha(LONG)
        await one.clean()


@order
async def test_M_7_no_file_an_empty_one_and_one_without_a_name_are_400s(store_url: str, data: Path, order: str) -> None:
    async with bench(store_url, data) as one:
        await one.refused(MODEL + END, code="missing_required_parameter", param="file")
        await one.refused(ordered(order, MODEL, file(b"")) + END, code="empty_file", param="file")
        await one.refused(ordered(order, MODEL, text("file", WAV)) + END, code="invalid_value", param="file")
        await one.refused(ordered(order, MODEL, file(WAV, name="audio")) + END, param="file")
        await one.clean(contacted=False)


def part(headers: str, value: bytes) -> bytes:
    """A part with these header lines."""
    return f"--{BOUNDARY}\r\n{headers}\r\n\r\n".encode() + value + b"\r\n"


DISPOSITION = 'Content-Disposition: form-data; name="file"; filename="x.wav"'


@order
async def test_M_8_a_form_within_the_form_is_a_400_and_an_encoding_is_never_undone(
    store_url: str, data: Path, order: str
) -> None:
    inner = b'--in\r\nContent-Disposition: form-data; name="model"\r\n\r\ngpt-4o-transcribe\r\n--in--'
    async with bench(store_url, data) as one:
        for name in ('name="x"', 'name="file"; filename="x.wav"'):
            nested = part(
                f"Content-Disposition: form-data; {name}\r\nContent-Type: multipart/mixed; boundary=in", inner
            )
            await one.refused(ordered(order, MODEL, nested) + file(WAV) + END, code="invalid_form")
        encoded = b"UklGRg==" * 1_000
        sound = part(DISPOSITION + "\r\nContent-Transfer-Encoding: base64", encoded)
        seen = await one.served(ordered(order, MODEL, sound) + END)
        assert encoded in seen.body
        assert b"ransfer-" not in seen.body
        await one.clean()


AROUND = {
    "garbage before it": (b"garbage", b""),
    "a line of garbage before it": (b"garbage\r\n", b""),
    "8 MB of empty lines before it": (b"\r\n" * 4 * MIB, b""),
    "8 MB of dashes before it": (b"-" * 8 * MIB, b""),
    "8 MB behind it": (b"", b"x" * 8 * MIB),
    "8 MB of almost a boundary behind it": (b"", b"\r\n--" * 2 * MIB),
}


@pytest.mark.parametrize("name", AROUND)
@order
async def test_M_9_what_stands_around_the_form_is_refused_when_it_is_much(
    store_url: str, data: Path, name: str, order: str, caplog: pytest.LogCaptureFixture
) -> None:
    before, behind = AROUND[name]
    body = before + ordered(order, MODEL, file(WAV)) + END + behind
    assert read_within(0.02, body)
    async with bench(store_url, data) as one:
        await one.refused(body, code="invalid_form")
        await one.clean()
    assert [record for record in caplog.records if "multipart" in record.name] == []  # who sends many fills no log


@order
async def test_M_9_a_little_of_it_is_not_looked_at(store_url: str, data: Path, order: str) -> None:
    async with bench(store_url, data) as one:
        for before, behind in ((b"\r\n", b""), (b"", b"\r\n\r\n"), (b"", b"garbage"), (b"", MODEL + END)):
            seen = await one.served(before + ordered(order, MODEL, file(WAV)) + END + behind)
            assert sorted(seen.fields) == [("file", WAV), ("model", b"whisper-1")]
        await one.clean()


@order
async def test_M_10_the_33rd_part_is_a_400_and_so_is_a_crowd_of_them(store_url: str, data: Path, order: str) -> None:
    tiny = text("x", "y")
    async with bench(store_url, data) as one:
        await one.served(ordered(order, MODEL, file(WAV), *[tiny] * 30) + END)
        for crowd in (31, 10_000, 200_000):
            error = await one.refused(ordered(order, MODEL, file(WAV), tiny * crowd) + END, code="invalid_form")
            assert "more than 32 parts" in error["message"]
            await one.refused(tiny * crowd + MODEL + file(WAV) + END, code="invalid_form")
            assert read_within(0.005, tiny * crowd)
        await one.refused(ordered(order, MODEL, file(LONG), tiny * 200_000) + END, code="invalid_form")
        await one.clean()


HEADERS = {
    "4.3 KB": "X-Long: " + "x" * 4_300,
    "60 KB": "X-Long: " + "x" * 60_000,
    "nine": "\r\n".join(f"X-{number}: y" for number in range(8)),
    "a thousand": "\r\n".join(f"X-{number}: y" for number in range(1_000)),
    "one without a colon": "no colon",
    "one without a name": ": x",
    "one that never ends": "x" * MIB,
    "two of the first": 'Content-Disposition: form-data; name="model"',
}


@pytest.mark.parametrize("name", HEADERS)
@order
async def test_M_11_headers_of_a_part_that_are_too_long_or_too_many_are_400s(
    store_url: str, data: Path, name: str, order: str
) -> None:
    headers = 'Content-Disposition: form-data; name="x"\r\n' + HEADERS[name]
    async with bench(store_url, data) as one:
        await one.refused(part(headers, b"y") + ordered(order, MODEL, file(WAV)) + END, code="invalid_form")
        await one.refused(ordered(order, MODEL, file(LONG)) + part(headers, b"y") + END, code="invalid_form")
        await one.clean()


@order
async def test_M_12_text_is_bounded_by_the_part_and_by_the_form(store_url: str, data: Path, order: str) -> None:
    full = text("prompt", "x" * 65_536)
    async with bench(store_url, data) as one:
        await one.served(full + ordered(order, MODEL, file(WAV)) + END)
        for late in (False, True):
            for fields in (text("prompt", "x" * 65_537), text("prompt", "x" * 2 * MIB)):
                body = ordered(order, MODEL, file(WAV))
                body = body + fields if late else fields + body
                await one.refused(body + END, code="invalid_value", param="prompt")
            many = b"".join(text(f"x{number}", "x" * 65_536) for number in range(4))
            body = ordered(order, MODEL, file(WAV))
            await one.refused((body + many if late else many + body) + END, status=(400, 413), code="invalid_value")
        await one.clean()


CUTS = {
    "before its final boundary": (GOOD, len(END)),
    "in its final boundary": (GOOD, 5),
    "in the headers of a part": (GOOD[: -len(END)] + part('Content-Disposition: form-data; name="x"', b"") + END, 60),
    "in the data": (MODEL + file(LONG) + END, 50_000),
    "in the data, with the file first": (file(LONG) + MODEL + END, 50_000),
}


@framing
@pytest.mark.parametrize("name", CUTS)
async def test_M_13_a_form_that_ends_before_its_end_is_incomplete_and_free(
    store_url: str, data: Path, name: str, framing: str
) -> None:
    whole, missing = CUTS[name]
    async with bench(store_url, data) as one:
        await one.refused(whole[:-missing], framing=framing, code="incomplete_multipart")
        await one.clean()


@pytest.mark.parametrize("pace", PACES)
@order
@framing
async def test_M_13_what_the_upstream_saw_of_it_is_aborted_not_completed(
    store_url: str, data: Path, order: str, framing: str, pace: str
) -> None:
    body = ordered(order, MODEL, file(LONG))
    async with bench(store_url, data) as one, dial(one.gateway) as wire:
        head = f"Content-Length: {len(body)}" if framing == "length" else "Transfer-Encoding: chunked"
        await wire.begin("POST", TARGET, f"Content-Type: {FORM}", head)
        cut = len(body) - 5_000
        await wire.send(body[:cut] if framing == "length" else chunked([body[:cut]], end=False))
        if pace == "slow client" and order == "model first":
            await (await one.upstream.request()).has(cut - 5_000)
        rest = body[cut:] if framing == "length" else chunked([body[cut:]])
        one.judged(await answered(wire, [rest]), code="incomplete_multipart")
        await one.cut_short(0)
        await one.clean()
        assert len(one.upstream.seen) == (order == "model first")


def look_alikes() -> bytes:
    """Audio that is full of what is almost the boundary."""
    mark = f"\r\n--{BOUNDARY}".encode()
    almost = [mark[:end] + b"!" for end in range(1, len(mark))] + [mark[2:], mark + b"x", mark + b"-x", mark + b"\rx"]
    dice = random.Random(14)
    return WAV[:44] + b"".join(dice.choice(almost) + dice.randbytes(dice.randrange(40)) for _ in range(1_500))


@pytest.mark.parametrize("pace", PACES)
@framing
@order
async def test_M_14_what_looks_like_a_boundary_stays_in_the_audio(
    store_url: str, data: Path, order: str, framing: str, pace: str
) -> None:
    sound = look_alikes()
    body = ordered(order, MODEL, file(sound), text("prompt", "\r\n--")) + END
    async with bench(store_url, data) as one, dial(one.gateway) as wire:
        head = f"Content-Length: {len(body)}" if framing == "length" else "Transfer-Encoding: chunked"
        await wire.begin("POST", TARGET, f"Content-Type: {FORM}", head)
        for piece in pieces_of(body, seed=14, largest=997 if pace == "slow client" else 65_536):
            await wire.send(piece if framing == "length" else chunked([piece], end=False))
            if pace == "slow client":
                await asyncio.sleep(0)
        said = await answered(wire, [b""] if framing == "length" else [b"0\r\n\r\n"])
        assert said.status == 200, bytes(said.body)
        await one.gateway.records(1)
    assert sha(dict(one.upstream.seen[0].fields)["file"]) == sha(sound)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.integers(0, 10**6), max_size=40), st.integers(0, 40), st.booleans())
def test_M_14_at_every_place_where_it_can_be_cut(places: list[int], around: int, last: bool) -> None:
    sound = look_alikes()[: 6_000 + around]
    body = ordered(ORDERS[last], MODEL, file(sound)) + END
    one = reader()
    ends = [0, *sorted(place % len(body) for place in places), len(body)]
    kept = b"".join([one.feed(body[start:end]) for start, end in pairwise(ends)])
    one.close()
    assert sha(kept[one.file_at :][: one.file_size]) == sha(sound)


def test_M_14_every_single_cut_around_the_end_of_the_audio() -> None:
    sound = look_alikes()[:5_000]
    body = MODEL + file(sound) + END
    at = body.index(sound)
    for place in [*range(at - 2, at + 300), *range(at + len(sound) - 60, len(body))]:
        one = reader()
        kept = one.feed(body[:place]) + one.feed(body[place:])
        one.close()
        assert kept[one.file_at :][: one.file_size] == sound, place


FILENAMES = {
    'filename="../../etc/passwd"': "audio.wav",
    'filename="C:\\x.wav"': "audio.wav",
    "filename*=utf-8''evil.mp3": "audio.wav",
    f'filename="{"x" * 3_900}.wav"': "audio.wav",
    'filename="\U0001f600.wav"': "audio.wav",
    'filename="a\x00b.wav"': "audio.wav",
    'filename="\u202evaw.exe"': "audio.wav",
    'filename="a%0d%0aX: 1.wav"': "audio.wav",
    'filename="a\\"; name=\\"model"': "audio.wav",
    'filename="a\\"\r\nX: 1.wav"': None,
    'filename="a\rX: 1.wav"': None,
    f'filename="{"x" * 10_000}.wav"': None,
    'filename="a.wav"; filename="b.wav"': None,
}


@order
async def test_M_15_a_filename_gets_no_further_than_its_extension(
    store_url: str, data: Path, order: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with bench(store_url, data) as one:
        for filename, expected in FILENAMES.items():
            sound = part(f'Content-Disposition: form-data; name="file"; {filename}', WAV)
            body = ordered(order, MODEL, sound) + END
            if expected is None:
                await one.refused(body, code="invalid_form")
                continue
            seen = await one.served(body)
            assert headers_of(seen)["file"] == (expected, "audio/wav"), filename
            assert dict(seen.fields)["file"] == WAV
            for header in re.findall(rb"--[0-9a-f-]+\r\n(.*?)\r\n\r\n", bytes(seen.body).replace(WAV, b""), re.DOTALL):
                assert header.count(b"\r") == header.count(b"\n") == header.count(b"\r\nContent-Type: ")
            assert b"passwd" not in seen.body
        await one.clean()
    assert list(tmp_path.iterdir()) == []


@order
async def test_M_16_type_and_extension_are_those_of_the_bytes(store_url: str, data: Path, order: str) -> None:
    lies = {"wav": "audio.wav", "mp3": "audio.mp3", "flac": "audio.flac", "webm": "audio.webm"}
    page = b"<html><script>alert(1)</script></html>" * 200
    async with bench(store_url, data) as one:
        for kind, expected in lies.items():
            sound = make(kind, 0.5)
            seen = await one.served(
                ordered(order, MODEL, part(f"{DISPOSITION}\r\nContent-Type: text/html", sound)) + END
            )
            assert headers_of(seen)["file"][0] == expected
            assert headers_of(seen)["file"][1].startswith("audio/")
        # What nobody knows goes on as it is: the upstream decides, and its answer has none of it.
        said = await one.post(ordered(order, MODEL, file(page, "song.mp3")) + END)
        assert (said.status, said.headers["content-type"]) == (200, "application/json")
        assert b"script" not in said.body
        one._billed += 1
        await one.gateway.records(one._billed)
        await one.clean()


@order
async def test_M_17_bare_line_feeds_are_400s(store_url: str, data: Path, order: str) -> None:
    whole = ordered(order, MODEL, file(WAV[:300].replace(b"\r", b"").replace(b"\n", b""))) + END
    async with bench(store_url, data) as one:
        for body in (
            whole.replace(b"\r\n", b"\n"),
            whole.replace(b"\r\n", b"\r"),
            whole.replace(b"\r\n", b"\n", 1),
            whole.replace(b"\r\n\r\n", b"\n\n", 1),
            whole.replace(b'"model"\r\n', b'"model"\n'),
        ):
            await one.refused(body)
        await one.clean(contacted=False)


@order
async def test_M_18_segments_of_one_byte_are_served(store_url: str, data: Path, order: str) -> None:
    sound = random.Random(18).randbytes(300_000)
    assert read_within(1.0, [bytes([one]) for one in ordered(order, MODEL, file(sound)) + END])
    short = sound[:6_000]
    body = ordered(order, MODEL, file(short)) + END
    async with bench(store_url, data) as one, dial(one.gateway) as wire:
        await wire.begin("POST", TARGET, f"Content-Type: {FORM}", f"Content-Length: {len(body)}")
        for at in range(len(body)):
            wire.writer.write(body[at : at + 1])
            await asyncio.sleep(0)
        assert (await wire.answer()).status == 200
        await one.gateway.records(1)
    assert sha(dict(one.upstream.seen[0].fields)["file"]) == sha(short)


@order
async def test_M_19_what_is_not_ours_goes_on_untouched_and_in_order(store_url: str, data: Path, order: str) -> None:
    extra = [
        ("include[]", b"logprobs"),
        ("timestamp_granularities[]", b"word"),
        ("x-vendor", b"\xff\xfe \r\n\r\n"),
        ("stream", b"true"),
        ("timestamp_granularities[]", b"segment"),
        ("include[]", b"logprobs"),
        ("language", b" "),
        ("Model", b"another"),
    ]
    fields = [text(name, value) for name, value in extra]
    async with bench(store_url, data) as one:
        for body in (
            ordered(order, MODEL, file(WAV), *fields) + END,
            b"".join(fields) + ordered(order, MODEL, file(WAV)) + END,
        ):
            seen = await one.served(body)
            assert [pair for pair in seen.fields if pair[0] not in ("file", "model")] == extra
        await one.clean()


@order
async def test_M_20_ten_megabytes_of_dashes_on_the_boundary_are_a_400(store_url: str, data: Path, order: str) -> None:
    dashes = b"-" * 10 * MIB
    line = b"--" + BOUNDARY.encode()
    async with bench(store_url, data) as one:
        for body in (
            dashes,
            line + dashes,
            ordered(order, MODEL, file(WAV)) + line + dashes,
            line + b"\r\n" + dashes + b"\r\n\r\n",
        ):
            assert read_within(0.02, body)
            await one.refused(body)
        await one.clean()


def speech(more: bytes) -> bytes:
    """An object with one more member."""
    return b'{"model":"tts-1","input":"x","voice":"alloy",' + more + b"}"


OBJECTS = {
    "10,000 levels": speech(b'"z":' + b"[" * 10_000 + b"]" * 10_000),
    "10,000 objects": speech(b'"z":' + b'{"a":' * 10_000 + b"1" + b"}" * 10_000),
    "a key twice": speech(b'"model":"tts-1"'),
    "a key twice, escaped": speech(b'"mod\\u0065l":"other"'),
    "a key in two cases": speech(b'"MODEL":"other"'),
    "NaN": speech(b'"speed":NaN'),
    "infinity": speech(b'"speed":-Infinity'),
    "1e5000": speech(b'"speed":1e5000'),
    "5,000 digits": speech(b'"speed":' + b"9" * 5_000),
    "a million digits": speech(b'"speed":' + b"9" * 1_000_000),
    "a lone surrogate": speech(b'"instructions":"\\ud83d"'),
    "half of it in the input": b'{"model":"tts-1","input":"\\udc00"}',
    "UTF-16": speech(b'"speed":1').decode().encode("utf-16"),
    "UTF-16 without a mark": speech(b'"speed":1').decode().encode("utf-16-be"),
    "a byte order mark": b"\xef\xbb\xbf" + speech(b'"speed":1'),
    "bytes that are no text": speech(b'"instructions":"\xff\xfe"'),
    "a megabyte of lists": speech(b'"z":[' + b"[]," * 340_000 + b"0]"),
    "a megabyte of objects": speech(b'"z":[' + b'{"a":[]},' * 110_000 + b"0]"),
    "a list": b"[]",
    "nothing": b"",
    "half": speech(b'"speed":1')[:-9],
    "two": speech(b'"speed":1') * 2,
}


@framing
async def test_M_21_objects_that_are_none_are_refused(store_url: str, data: Path, framing: str) -> None:
    more = {"kind": "application/json", "target": SPEECH, "framing": framing}
    async with bench(store_url, data) as one:
        for name, body in OBJECTS.items():
            began = process_time()
            await one.refused(body, code="invalid_json", **more)
            assert process_time() - began < 1.0, name
        for size in (MIB + 1, 20 * MIB, 50 * MIB):
            await one.refused(speech(b'"z":"' + b"x" * size + b'"'), status=413, **more)
        await one.clean(contacted=False)
        seen = await one.served(speech(b'"instructions":"\\u00fc \\ud83d\\ude00","speed":1.50,"a":[[[{}]]]'), **more)
        assert seen.body.endswith(b'"speed":1.50,"a":[[[{}]]]}')


@pytest.mark.parametrize("name", OBJECTS)
def test_M_21_reading_one_does_not_keep_the_others_waiting(name: str) -> None:
    best = 9.0
    for _ in range(3):
        reader = JsonReader(ENDPOINTS["POST", SPEECH], "application/json", body_size=None, max_bytes=10**9)
        began = process_time()
        reader.feed(OBJECTS[name])
        with pytest.raises(Refused):
            reader.close()
        best = min(best, process_time() - began)
    assert best < 0.1
