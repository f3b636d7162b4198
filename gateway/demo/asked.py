"""What a request asks for, checked: forms and JSON to frozen values, or the `Problem` that OpenAI would tell."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from starlette.datastructures import FormData

from gateway.demo.problems import Problem, invalid, missing, no_model
from gateway.demo.sound import CONTENT_TYPES

HEARING: Mapping[str, Collection[str]] = {
    "whisper-1": ("json", "text", "srt", "verbose_json", "vtt"),
    "gpt-4o-transcribe": ("json", "text"),
    "gpt-4o-mini-transcribe": ("json", "text"),
    "gpt-4o-transcribe-diarize": ("json", "text", "diarized_json"),
}
"""Transcription models and the response formats each of them has."""

SPEAKING: Collection[str] = ("tts-1", "tts-1-hd", "gpt-4o-mini-tts")
"""Speech models."""

VOICES: Collection[str] = (
    *("alloy", "ash", "ballad", "coral", "echo", "fable", "onyx"),
    *("nova", "sage", "shimmer", "verse", "marin", "cedar"),
)
"""Voices by OpenAI's names; here they all sound the same."""

_LONGEST_TEXT = 4096  # characters
_GRANULARITIES = ("word", "segment")


@dataclass(frozen=True, slots=True)
class Hear:
    """A transcription or translation. `granularities` counts for verbose_json alone."""

    upload: bytes
    model: str
    response_format: str
    granularities: frozenset[str]
    stream: bool


@dataclass(frozen=True, slots=True)
class Speak:
    """A speech; `events` asks for server-sent events in place of the bare file."""

    text: str
    response_format: str
    speed: float
    events: bool


async def hear(form: FormData) -> Hear:
    """What the form of a transcription or translation asks for.

    Raises `Problem`.
    """
    model = _text(form, "model")
    if model is None:
        raise missing("model")
    formats = HEARING.get(model)
    if formats is None:
        raise no_model(model)
    file = form.get("file")
    if file is None or isinstance(file, str):
        raise missing("file")
    response_format = _text(form, "response_format") or "json"
    if response_format not in formats:
        choice = " or ".join(f"'{name}'" for name in formats)
        message = f"response_format '{response_format}' is not compatible with model '{model}'. Use {choice} instead."
        raise Problem(400, message, param="response_format", code="unsupported_value")
    _number(_text(form, "temperature"), param="temperature", lowest=0, highest=1)
    return Hear(
        upload=await file.read(),
        model=model,
        response_format=response_format,
        granularities=_granularities(form, response_format),
        stream=_text(form, "stream") == "true" and model != "whisper-1",
    )


def speak(body: bytes) -> Speak:
    """What the JSON of a speech request asks for.

    Raises `Problem`.
    """
    fields = _object(body)
    for param in ("model", "input", "voice"):
        if fields.get(param) is None:
            raise missing(param)
    model, text, voice = fields["model"], fields["input"], fields["voice"]
    if model not in SPEAKING:
        raise no_model(str(model))
    if not isinstance(text, str) or not text.strip():
        raise invalid("input", "it must be a text that is not empty.")
    if len(text) > _LONGEST_TEXT:
        raise Problem(400, f"String should have at most {_LONGEST_TEXT} characters", param="input")
    if not isinstance(voice, dict) and voice not in VOICES:
        raise invalid("voice", f"it must be one of {', '.join(VOICES)}.")
    response_format = fields.get("response_format") or "mp3"
    if not isinstance(response_format, str) or response_format not in CONTENT_TYPES:
        raise invalid("response_format", f"it must be one of {', '.join(CONTENT_TYPES)}.")
    events = fields.get("stream_format") == "sse"
    if events and model != "gpt-4o-mini-tts":
        raise invalid("stream_format", f"'sse' is not supported by {model}.")
    speed = _number(fields.get("speed"), param="speed", lowest=0.25, highest=4)
    return Speak(text=text, response_format=response_format, speed=1.0 if speed is None else speed, events=events)


def _object(body: bytes) -> dict[str, object]:
    try:
        fields = json.loads(body)
    except ValueError as broken:
        raise Problem(400, "We could not parse the JSON body of your request.") from broken
    if not isinstance(fields, dict):
        raise Problem(400, "We could not parse the JSON body of your request: it must be an object.")
    return fields


def _text(form: FormData, name: str) -> str | None:
    """A text field; an empty one counts as not given, as curl's `-F language=` means it."""
    value = form.get(name)
    return value if isinstance(value, str) and value else None


def _number(value: object, *, param: str, lowest: float, highest: float) -> float | None:
    if value is None:
        return None
    try:
        number = float(str(value))
    except ValueError as broken:
        raise invalid(param, "it must be a number.") from broken
    if not lowest <= number <= highest:
        raise invalid(param, f"it must be between {lowest} and {highest}.")
    return number


def _granularities(form: FormData, response_format: str) -> frozenset[str]:
    name = "timestamp_granularities"
    given = frozenset(str(value) for value in (*form.getlist(f"{name}[]"), *form.getlist(name)))
    if unknown := given.difference(_GRANULARITIES):
        raise invalid(name, f"{', '.join(sorted(unknown))} is not one of {', '.join(_GRANULARITIES)}.")
    if "word" in given and response_format != "verbose_json":
        raise invalid(name, "word timestamps need response_format verbose_json.")
    return given or frozenset({"segment"})
