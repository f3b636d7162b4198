"""What answers say was used: the bytes of an answer, as JSON and as a stream of events."""

import json

from gateway.audio.usage import MAX_LINE, MAX_SECONDS, MAX_TOKENS, UNTOLD, JsonTap, SseTap, Tap, Usage, read_usage
from tests.fuzz.common import in_time, pieces, stretched

RUNS = 1_500
_TOKENS = b'{"type":"tokens","input_tokens":14,"input_token_details":{"audio_tokens":10},"output_tokens":45}'
SEEDS = [
    b'{"text":"hi","usage":' + _TOKENS + b"}",
    b'{"duration":8.47,"text":"hi","usage":{"type":"duration","seconds":"2.5"}}',
    b'data: {"type":"transcript.text.delta","delta":"he said \\"usage\\": 1"}\n\n'
    b'data: {"type":"transcript.text.done","usage":' + _TOKENS + b"}\n\ndata: [DONE]\n\n",
    b'event: done\r\nid: 7\r\ndata:{"usage":{"seconds":3}}\r\n\r\n: ping\r\ndata: {"usage":{"seconds":NaN}}\r\n\r\n',
    b'\xef\xbb\xbfdata: {"usage":{"seconds":1e308}}\rdata: {"usage":null}\n',
    'data: {"text":"你好","usage":{"input_tokens":1}}\n'.encode(),
]
WORDS = [
    b"data:", b"data: ", b"\n\n", b"\r\n", b"\r", b'"usage"', b'"usage":', b'"seconds":', b'"duration":',
    b'"input_tokens":',
    b'"output_tokens":', b'"input_token_details":', b'"audio_tokens":', b"1e308", b"-1", b"NaN", b"Infinity", b"null",
    b"true", b"9" * 30, b'"9"', b"[[[[[[[[", b'{"a":', b"\xff\xfe", b"\xef\xbb\xbf", b"\\ud800", b"0x1", b"1_0",
    b"event: x\n",
]  # fmt: skip


def target(data: bytes) -> None:
    """One answer: the same figures however it is cut, all of them sane, and those of a plain reading line by line."""
    for kind in (JsonTap, SseTap):
        found = in_time(lambda kind=kind: told(kind(), [data]), len(data))
        sane(found)
        for parts in pieces(data):
            assert told(kind(), parts) == found
    assert told(SseTap(), [data]) == plainly(data)
    if large := stretched(data):
        for kind in (JsonTap, SseTap):
            sane(in_time(lambda kind=kind: told(kind(), [large]), len(large)))


def told(tap: Tap, parts: list[bytes]) -> Usage:
    """What a tap has understood; asking it twice changes nothing."""
    for part in parts:
        tap.feed(part)
    found = tap.usage()
    assert tap.usage() == found
    return found


def sane(found: Usage) -> None:
    """Figures that can be added up and paid for."""
    assert found.seconds is None or (type(found.seconds) is float and 0 < found.seconds <= MAX_SECONDS)
    for tokens in (found.input_tokens, found.output_tokens, found.audio_tokens):
        assert type(tokens) is int
        assert 0 <= tokens <= MAX_TOKENS
    assert found.characters == 0


def plainly(data: bytes) -> Usage:
    """The last line of data with usage, without any state."""
    said = UNTOLD
    for line in data.split(b"\n"):
        if not line.startswith(b"data:") or len(line) > MAX_LINE:
            continue
        try:
            event = json.loads(line[5:])
        except (ValueError, RecursionError):
            continue
        if isinstance(event, dict) and b'"usage"' in line and (found := read_usage(event)) != UNTOLD:
            said = found
    return said
