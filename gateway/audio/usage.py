"""What an answer says was used: a tap that the answer's bytes run past. Pure.

Sources: CreateTranscriptionResponse (`usage` of type duration or tokens), verbose_json's `duration`,
`transcript.text.done` and `speech.audio.done` of the streamed forms. Figures are hints from outside: what is not
a finite number in a sane range counts as not said.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

MAX_JSON = 2 * 1024 * 1024  # an hour of words with their times is half of that; to read one takes four times as much
MAX_LINE = 1024 * 1024
MAX_SECONDS = 7 * 24 * 3600.0
MAX_TOKENS = 1_000_000_000


@dataclass(slots=True)
class Usage:
    """Amounts that were used. `seconds` of audio (None: not said), `characters` spoken, tokens by kind.

    `audio_tokens` are those of the input tokens that are audio.
    """

    seconds: float | None = None
    characters: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    audio_tokens: int = 0


UNTOLD = Usage()


class Tap(Protocol):
    """Sees the answer's bytes pass."""

    def feed(self, data: bytes) -> None:
        """The next bytes."""

    def usage(self) -> Usage:
        """What was said by the end."""


class JsonTap:
    """An answer that is one JSON object."""

    def __init__(self) -> None:
        self._body: bytearray | None = bytearray()

    def feed(self, data: bytes) -> None:
        """Collect, up to a cap: a longer answer says nothing to us."""
        if self._body is not None:
            self._body += data
            if len(self._body) > MAX_JSON:
                self._body = None

    def usage(self) -> Usage:
        """From `usage`, else from `duration`."""
        return read_usage(_object(bytes(self._body or b"")))


class SseTap:
    """A stream of events: the last event with `usage` counts."""

    def __init__(self) -> None:
        self._line: bytearray | None = bytearray()
        self._usage = UNTOLD

    def feed(self, data: bytes) -> None:
        """Cut into lines, however they are split over pieces."""
        *ended, rest = data.split(b"\n")
        for piece in ended:
            self._grow(piece)
            self._take()
        self._grow(rest)

    def usage(self) -> Usage:
        """What the last event with `usage` said."""
        self._take()
        return self._usage

    def _grow(self, piece: bytes) -> None:
        if self._line is not None:
            self._line += piece
            if len(self._line) > MAX_LINE:
                self._line = None  # no event we want is that long; wait for its end

    def _take(self) -> None:
        line, self._line = bytes(self._line or b""), bytearray()
        if line.startswith(b"data:") and b'"usage"' in line:
            found = read_usage(_object(line[5:]))
            self._usage = found if found != UNTOLD else self._usage


class NoTap:
    """Bytes that say nothing: audio, text, subtitles."""

    def feed(self, data: bytes) -> None:
        """Nothing to see."""

    def usage(self) -> Usage:
        """Nothing said."""
        return UNTOLD


def tap_for(content_type: str, *, encoded: bool) -> Tap:
    """The tap for an answer of this content type; `encoded` when its bytes are compressed."""
    media = content_type.partition(";")[0].strip().lower()
    if encoded:
        return NoTap()
    if media == "application/json" or media.endswith("+json"):
        return JsonTap()
    return SseTap() if media == "text/event-stream" else NoTap()


def read_usage(answer: Mapping[str, object]) -> Usage:
    """The usage in a JSON answer or event."""
    said = answer.get("usage")
    if not isinstance(said, Mapping):
        return Usage(seconds=_seconds(answer.get("duration")))
    details = said.get("input_token_details")
    return Usage(
        seconds=_seconds(said.get("seconds", answer.get("duration"))),
        input_tokens=_tokens(said.get("input_tokens")),
        output_tokens=_tokens(said.get("output_tokens")),
        audio_tokens=_tokens(details.get("audio_tokens")) if isinstance(details, Mapping) else 0,
    )


def _object(body: bytes) -> Mapping[str, object]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _seconds(value: object) -> float | None:
    if isinstance(value, str):  # some servers write the duration as a string
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 < value <= MAX_SECONDS else None  # neither NaN nor infinity is within


def _tokens(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        return 0
    return value if 0 <= value <= MAX_TOKENS else 0
