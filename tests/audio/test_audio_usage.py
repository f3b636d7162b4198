import json
from itertools import pairwise
from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.audio.usage import (
    MAX_JSON,
    MAX_LINE,
    MAX_SECONDS,
    MAX_TOKENS,
    JsonTap,
    NoTap,
    SseTap,
    Tap,
    Usage,
    read_usage,
    tap_for,
)

NOTHING = Usage()
TOKENS = {
    "type": "tokens",
    "input_tokens": 14,
    "input_token_details": {"text_tokens": 4, "audio_tokens": 10},
    "output_tokens": 45,
    "total_tokens": 59,
}
READ = Usage(input_tokens=14, output_tokens=45, audio_tokens=10)
DELTA = {"type": "transcript.text.delta", "delta": 'he said "usage": 1', "logprobs": []}
DONE = {"type": "transcript.text.done", "text": "hello 你好", "usage": TOKENS}


def json_answer(answer: object) -> Usage:
    tap = JsonTap()
    tap.feed(json.dumps(answer).encode())
    return tap.usage()


def streamed(*pieces: bytes) -> Usage:
    tap = SseTap()
    for piece in pieces:
        tap.feed(piece)
    return tap.usage()


def event(value: object, *, end: str = "\n\n", space: str = " ") -> bytes:
    return f"data:{space}{json.dumps(value, ensure_ascii=False)}{end}".encode()


@pytest.mark.parametrize(
    ("answer", "usage"),
    [
        ({"text": "hi"}, NOTHING),
        ({"text": "hi", "usage": TOKENS}, READ),
        ({"text": "hi", "usage": {"type": "duration", "seconds": 3}}, Usage(seconds=3.0)),
        ({"text": "hi", "usage": {"type": "duration", "seconds": 2.5}, "duration": 9}, Usage(seconds=2.5)),
        ({"task": "transcribe", "language": "english", "duration": 8.47, "text": "hi"}, Usage(seconds=8.47)),
        ({"duration": "8.47", "text": "hi"}, Usage(seconds=8.47)),
        ({"duration": 8.47, "usage": TOKENS}, Usage(8.47, input_tokens=14, output_tokens=45, audio_tokens=10)),
        ({"usage": {"type": "tokens", "input_tokens": 1, "output_tokens": 2, "total_tokens": 3}}, Usage(None, 0, 1, 2)),
        ({"usage": {"input_tokens": 1, "input_token_details": None}}, Usage(input_tokens=1)),
        ({"usage": {"input_tokens": 1, "input_token_details": [7]}}, Usage(input_tokens=1)),
        ({"usage": None, "duration": 4}, Usage(seconds=4.0)),
        ({"usage": [], "duration": 4}, Usage(seconds=4.0)),
        ({"usage": {}, "duration": 4}, Usage(seconds=4.0)),
        ([], NOTHING),
        ("usage", NOTHING),
        (None, NOTHING),
        (7, NOTHING),
    ],
)
def test_every_shape_of_an_answer_is_read(answer: object, usage: Usage) -> None:
    assert json_answer(answer) == usage


@pytest.mark.parametrize(
    "value",
    [
        0, -1, -0.0, 1e308, -1e308, float("nan"), float("inf"), float("-inf"), 10**15, MAX_SECONDS + 1, True, False,
        None, [], {}, [5], {"a": 5}, "", "x", "nan", "inf", "-5", "1e308", "1e999", "0", "9" * 5000,
    ],
)  # fmt: skip
def test_hostile_seconds_count_as_not_said(value: object) -> None:
    assert json_answer({"duration": value}).seconds is None
    assert json_answer({"usage": {"type": "duration", "seconds": value}}).seconds is None


def test_a_whole_number_beyond_any_float_counts_as_not_said() -> None:
    assert read_usage({"duration": 10**400}).seconds is None


@pytest.mark.parametrize(
    "value",
    [-1, 1e308, 5.0, float("nan"), 10**400, MAX_TOKENS + 1, True, "5", None, [], {}],
)
def test_hostile_tokens_count_as_none(value: object) -> None:
    said = {"input_tokens": value, "output_tokens": value, "input_token_details": {"audio_tokens": value}}
    assert json_answer({"usage": said}) == NOTHING


def test_the_largest_sane_figures_are_believed() -> None:
    assert json_answer({"duration": MAX_SECONDS}).seconds == MAX_SECONDS
    assert json_answer({"usage": {"input_tokens": MAX_TOKENS}}).input_tokens == MAX_TOKENS


@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"{", b"{}x", b"[" * 100_000, b'{"usage":' * 50_000, b"\xff\xfe{}", b"hello", b'{"duration":NaN}'],
)
def test_what_is_no_json_says_nothing(body: bytes) -> None:
    tap = JsonTap()
    tap.feed(body)
    assert tap.usage() == NOTHING
    assert streamed(b"data: " + body + b"\n\n") == NOTHING


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**300), 10**300) | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=4,
)


@given(json_values, json_values, json_values)
def test_whatever_is_said_the_figures_are_sane(one: object, two: object, three: object) -> None:
    said = {"seconds": one, "input_tokens": two, "output_tokens": three, "input_token_details": {"audio_tokens": one}}
    for answer in ({"duration": one, "usage": two}, {"duration": one, "usage": said}):
        found = json_answer(answer)
        assert found.seconds is None or 0 < found.seconds <= MAX_SECONDS
        for tokens in (found.input_tokens, found.output_tokens, found.audio_tokens):
            assert type(tokens) is int
            assert 0 <= tokens <= MAX_TOKENS


@given(st.lists(st.integers(0, 200), max_size=9))
def test_a_json_answer_may_come_in_any_pieces(cuts: list[int]) -> None:
    body = json.dumps({"text": "hello 你好", "usage": TOKENS}, ensure_ascii=False).encode()
    tap = JsonTap()
    for piece in split(body, cuts):
        tap.feed(piece)
    assert tap.usage() == READ


def test_an_answer_beyond_the_cap_says_nothing_and_is_not_kept() -> None:
    tap = JsonTap()
    body = json.dumps({"usage": TOKENS, "text": "x" * MAX_JSON}).encode()
    for at in range(0, len(body), 65_536):
        tap.feed(body[at : at + 65_536])
    tap.feed(b"more")
    assert tap.usage() == NOTHING


@pytest.mark.parametrize("end", ["\n\n", "\r\n\r\n", "\n", ""])
@pytest.mark.parametrize("space", [" ", "", "  "])
def test_the_last_event_with_usage_counts(end: str, space: str) -> None:
    earlier = {"type": "x", "usage": {"input_tokens": 1}}
    more = "\r\n" if "\r" in end else "\n"
    body = event(earlier, space=space) + event(DELTA, end=more, space=space) + event(DONE, end=end, space=space)
    assert streamed(body) == READ
    assert streamed(*(bytes([byte]) for byte in body)) == READ


@pytest.mark.parametrize(
    "before", [b"", b": keep-alive\n\n", b"event: done\n", b"id: 1\nretry: 5\n", b"\r\n", b"\xef\xbb\xbf\n", b"data\n"]
)
@pytest.mark.parametrize(
    "behind", [b"", b"data: [DONE]\n\n", b": bye\n", b'data: {"usage":null}\n\n', b'data: "usage"\n']
)
def test_other_lines_do_not_disturb(before: bytes, behind: bytes) -> None:
    assert streamed(before + event(DONE) + behind) == READ


@pytest.mark.parametrize(
    "line",
    [
        event({"type": "speech.audio.done", "usage": {"input_tokens": 14, "output_tokens": 45, "total_tokens": 59}}),
        event({"type": "transcript.text.done", "text": "x", "usage": {"input_tokens": 14, "output_tokens": 45}}),
    ],
)
def test_events_without_details_are_read(line: bytes) -> None:
    assert streamed(line) == Usage(input_tokens=14, output_tokens=45)


def test_a_stream_without_usage_says_nothing() -> None:
    assert streamed(event(DELTA), b"data: [DONE]\n\n") == NOTHING
    assert streamed() == NOTHING
    assert streamed(b'event: "usage"\n', b'xdata: {"usage":{"input_tokens":1}}\n') == NOTHING


@given(st.lists(st.integers(0, 400), max_size=12), st.booleans())
def test_events_may_be_split_anywhere(cuts: list[int], crlf: bool) -> None:
    end = "\r\n\r\n" if crlf else "\n\n"
    body = event(DELTA, end=end) + event(DONE, end=end) + b"data: [DONE]" + end.encode()
    assert streamed(*split(body, cuts)) == READ


def test_usage_may_be_asked_twice_and_before_the_end() -> None:
    tap = SseTap()
    tap.feed(event(DONE, end=""))
    assert tap.usage() == tap.usage() == READ


def test_a_line_of_ten_megabytes_is_passed_over_and_the_next_one_is_read() -> None:
    long = event({"type": "speech.audio.delta", "audio": "A" * (10 * MAX_LINE), "usage": TOKENS})
    began = process_time()
    assert streamed(long) == NOTHING
    assert streamed(*split(long, list(range(0, len(long), 65_536)))) == NOTHING
    assert streamed(long + event(DONE)) == READ
    assert streamed(*split(long + event(DONE), list(range(0, len(long), 1_024)))) == READ
    assert process_time() - began < 3.0


def test_many_tiny_pieces_cost_little() -> None:
    began = process_time()
    assert streamed(*[b"x"] * 300_000, b"\n", event(DONE)) == READ
    assert process_time() - began < 3.0


@pytest.mark.parametrize(
    ("content_type", "kind"),
    [
        ("application/json", JsonTap),
        ("application/json; charset=utf-8", JsonTap),
        (" Application/JSON ", JsonTap),
        ("application/vnd.x+json", JsonTap),
        ("text/event-stream", SseTap),
        ("TEXT/EVENT-STREAM;charset=utf-8", SseTap),
        ("text/plain; charset=utf-8", NoTap),
        ("audio/mpeg", NoTap),
        ("application/jsonl", NoTap),
        ("", NoTap),
    ],
)
def test_the_content_type_chooses_the_tap(content_type: str, kind: type[Tap]) -> None:
    assert type(tap_for(content_type, encoded=False)) is kind
    assert type(tap_for(content_type, encoded=True)) is NoTap


def test_bytes_that_say_nothing_say_nothing() -> None:
    tap = NoTap()
    tap.feed(event(DONE))
    assert tap.usage() == NOTHING


def split(body: bytes, cuts: list[int]) -> list[bytes]:
    places = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    return [body[start:end] for start, end in pairwise(places)]
