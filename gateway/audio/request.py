"""The routes we know and the few facts of a request that we read; all else is passed on untouched. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from gateway.audio.container import Container
from gateway.errors import refuse

PREFIX = "/v1/audio/"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What sets one route apart, as data.

    `reader` names how the body is read; `needs_file` whether a file part must be there; `formats` are the values
    that `response_format` may take (empty: not ours to check), `default_format` is what absence means.
    Source: the API reference of POST /audio/transcriptions, /audio/translations and /audio/speech.
    """

    name: str
    reader: Literal["form", "json", "raw"]
    formats: tuple[str, ...] = ()
    default_format: str = ""


OTHER = Endpoint("other", "raw")
ENDPOINTS: Mapping[tuple[str, str], Endpoint] = {
    ("POST", "/v1/audio/transcriptions"): Endpoint(
        "transcription", "form", ("json", "text", "srt", "verbose_json", "vtt", "diarized_json"), "json"
    ),
    ("POST", "/v1/audio/translations"): Endpoint(
        "translation", "form", ("json", "text", "srt", "verbose_json", "vtt"), "json"
    ),
    ("POST", "/v1/audio/speech"): Endpoint("speech", "json", ("mp3", "opus", "aac", "flac", "wav", "pcm"), "mp3"),
}
ROUTES = (*(endpoint.name for endpoint in ENDPOINTS.values()), OTHER.name)
FORMATS = tuple(dict.fromkeys(value for endpoint in ENDPOINTS.values() for value in endpoint.formats))


_SEGMENT = re.compile(r"[A-Za-z0-9_\-.~:@!$&'()*+,;=]+")


def endpoint_for(method: str, path: str) -> Endpoint:
    """The row of a request; every path under /v1/audio/ that has none is passed through.

    `path` is as it came, not decoded. Raises Refused (404) for one that an upstream might read as another: dots that
    climb, empty or encoded segments. Our key at the upstream would open what lies there.
    """
    known = ENDPOINTS.get((method, path))
    if known is not None:
        return known
    segments = path.removeprefix(PREFIX).removesuffix("/").split("/")
    # Some servers take no notice of parameters, empty segments and case: read so, a known route would go unmeasured.
    names = [part.partition(";")[0].lower() for part in segments]
    plain = PREFIX + "/".join(name for name in names if name)
    disguised = (method, plain) in ENDPOINTS
    if disguised or not all(_SEGMENT.fullmatch(part) and part.strip(".") for part in segments):
        raise refuse("no_route", method=method, path=path)
    return OTHER


@dataclass(slots=True)
class AudioRequest:
    """What planning and metering need to know of a request, as far as it has been read.

    `seconds` is the estimate to reserve (audio going in, seconds) and `seconds_from` what told it ("header",
    "bytes", or "packets" where they were counted before), `characters` the Unicode code points to be spoken,
    `container` what the file is by its first bytes.
    """

    endpoint: Endpoint
    model: str | None = None
    response_format: str = ""
    stream: bool = False
    seconds: float = 0.0
    seconds_from: str = ""
    characters: int = 0
    container: Container | None = None


LONGEST_MODEL = 128


def checked_model(name: str) -> str:
    """The name of a model. Raises Refused (400) for one that no model has; names are kept with the usage."""
    if len(name) > LONGEST_MODEL:
        raise refuse("invalid", param="model", why=f"it is longer than {LONGEST_MODEL} characters")
    return name


READ = frozenset({"model", "response_format", "stream"})
TRUE = frozenset({"true", "1"})


def with_field(request: AudioRequest, name: str, value: bytes) -> AudioRequest:
    """The request with what this text field of a form tells; fields outside READ tell nothing.

    Raises Refused (400) for a value that means nothing.
    """
    if name not in READ:
        return request
    try:
        text = value.decode()
    except UnicodeDecodeError:
        raise refuse("invalid", param=name, why="it is not UTF-8 text") from None
    if name == "model":
        return replace(request, model=checked_model(text))
    if name == "stream":
        return replace(request, stream=text.strip().lower() in TRUE)
    formats = request.endpoint.formats
    if text not in formats:
        raise refuse("invalid", param=name, why=f"'{text[:40]}' is none of {', '.join(formats)}")
    return replace(request, response_format=text)


@dataclass(slots=True)
class Layout:
    """How a spooled body goes out: the spool's bytes with `splices` put in, then `closing`.

    A splice is (offset in the spool, bytes put in there). `length` is the whole in bytes, None while it cannot be
    known; when the real length turns out smaller, `padding` bytes behind `closing` make up for it.
    """

    content_type: str | None
    splices: tuple[tuple[int, bytes], ...] = ()
    closing: bytes = b""
    length: int | None = None
