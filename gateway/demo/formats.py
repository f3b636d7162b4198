"""Transcripts in OpenAI's response formats, and the events of its streams. Pure."""

import json
import math
from collections.abc import Callable, Collection, Mapping
from typing import Literal

from gateway.demo.transcriber import Segment, Transcript

Task = Literal["transcribe", "translate"]

JSON = "application/json"
PLAIN = "text/plain; charset=utf-8"

_SPEAKER = "A"  # the recogniser does not tell voices apart


def render(
    transcript: Transcript, *, response_format: str, task: Task, granularities: Collection[str]
) -> tuple[str, str]:
    """The body of an answer and its Content-Type."""
    plain: Mapping[str, Callable[[Transcript], str]] = {"text": _plain, "srt": _srt, "vtt": _vtt}
    if response_format in plain:
        return plain[response_format](transcript), PLAIN
    body: dict[str, object] = {"text": transcript.text}
    if response_format == "verbose_json":
        body = _verbose(transcript, task=task, granularities=granularities)
    elif response_format == "diarized_json":
        segments = [diarized(segment, number) for number, segment in enumerate(transcript.segments)]
        body = {"task": task, "duration": seconds(transcript), "text": transcript.text, "segments": segments}
    body["usage"] = {"type": "duration", "seconds": seconds(transcript)}
    return json.dumps(body), JSON


def seconds(transcript: Transcript) -> float:
    """How long the recording is, to the millisecond."""
    return round(transcript.seconds, 3)


def event(fields: Mapping[str, object]) -> bytes:
    """One event of a stream, as OpenAI sends it: unnamed, one line of JSON."""
    return b"data: " + json.dumps(fields).encode() + b"\n\n"


def diarized(segment: Segment, number: int) -> dict[str, object]:
    """A segment with its speaker, in `diarized_json` and in the stream of the diarizing model."""
    return {
        "type": "transcript.text.segment",
        "id": f"seg_{number}",
        "start": segment.start,
        "end": segment.end,
        "text": segment.text,
        "speaker": _SPEAKER,
    }


def hearing_tokens(transcript: Transcript) -> dict[str, object]:
    """The usage at the end of a stream, which OpenAI counts in tokens; here ten a second and one per four letters."""
    heard, written = math.ceil(transcript.seconds * 10), math.ceil(len(transcript.text) / 4)
    return {
        "type": "tokens",
        "input_tokens": heard,
        "input_token_details": {"text_tokens": 0, "audio_tokens": heard},
        "output_tokens": written,
        "total_tokens": heard + written,
    }


def speaking_tokens(text: str, *, spoken: float) -> dict[str, object]:
    """The usage at the end of a speech stream of `spoken` seconds; here one per four letters and twenty a second."""
    read, said = math.ceil(len(text) / 4), math.ceil(spoken * 20)
    return {"input_tokens": read, "output_tokens": said, "total_tokens": read + said}


def _verbose(transcript: Transcript, *, task: Task, granularities: Collection[str]) -> dict[str, object]:
    body: dict[str, object] = {
        "task": task,
        "language": "english",
        "duration": seconds(transcript),
        "text": transcript.text,
    }
    if "segment" in granularities:
        body["segments"] = [_segment(segment, number) for number, segment in enumerate(transcript.segments)]
    if "word" in granularities and task == "transcribe":
        body["words"] = [{"word": word.text, "start": word.start, "end": word.end} for word in transcript.words]
    return body


def _segment(segment: Segment, number: int) -> dict[str, object]:
    return {
        "id": number,
        "seek": round(segment.start * 100),
        "start": segment.start,
        "end": segment.end,
        "text": segment.text,
        # Figures of Whisper's decoder, which have no meaning for this one.
        "tokens": [],
        "temperature": 0.0,
        "avg_logprob": 0.0,
        "compression_ratio": 1.0,
        "no_speech_prob": 0.0,
    }


def _plain(transcript: Transcript) -> str:
    return transcript.text + "\n"


def _srt(transcript: Transcript) -> str:
    return "".join(
        f"{number}\n{_clock(segment.start, ',')} --> {_clock(segment.end, ',')}\n{segment.text}\n\n"
        for number, segment in enumerate(transcript.segments, start=1)
    )


def _vtt(transcript: Transcript) -> str:
    return "WEBVTT\n\n" + "".join(
        f"{_clock(segment.start, '.')} --> {_clock(segment.end, '.')}\n{segment.text}\n\n"
        for segment in transcript.segments
    )


def _clock(moment: float, point: str) -> str:
    whole, milliseconds = divmod(round(moment * 1000), 1000)
    return f"{whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02}{point}{milliseconds:03}"
