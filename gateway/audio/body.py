"""Bodies that are no forms: a JSON object we read the model from, and bytes we only pass on. Pure.

Together with `form.py` these are the readers of `READERS`: fed with the body piece by piece, they say when the
request can be routed, what to keep of it, and how it goes out.
"""

import json
import math
import re
from codecs import BOM_UTF8
from collections.abc import Callable, Mapping
from itertools import islice
from typing import Never, Protocol

from gateway.audio.form import FormReader
from gateway.audio.request import AudioRequest, Endpoint, Layout, checked_model
from gateway.errors import refuse

MAX_JSON = 1024 * 1024
MAX_DEPTH = 64
# Nothing else happens while an object is read, so one that is all structure must not take long.
MAX_TOKENS = 8192
MAX_DIGITS = 400
_TOKEN = re.compile(rb'[,\[{]|"(?>[^"\\]+|\\.?)*+"?', re.DOTALL)
TOO_DEEP = "it nests too deep"


class Reader(Protocol):
    """What an upload needs of whatever reads its body."""

    request: AudioRequest  # as far as it is known; final after close()
    routable: bool  # model and format are known well enough to choose an upstream
    blocked: bool  # the audio comes before the model: routable only at the end
    file_at: int  # where the audio begins in what is kept
    file_size: int | None  # its bytes, once it has ended

    def feed(self, data: bytes) -> bytes:
        """Read a piece; return the bytes to keep. Raises Refused."""

    def close(self) -> None:
        """The body has ended. Raises Refused if it is not whole."""

    def layout(self, model: str) -> Layout:
        """How the body goes out to an upstream that calls the model `model`."""


class JsonReader:
    """A small JSON object with `model` and `input` (POST /audio/speech)."""

    blocked = False
    file_at = 0
    file_size: int | None = None

    def __init__(
        self, endpoint: Endpoint, content_type: str, *, body_size: int | None, max_bytes: int, token: str = ""
    ) -> None:
        del token
        media = content_type.partition(";")[0].strip().lower()
        if media != "application/json":
            raise refuse("bad_content_type", expected="application/json", got=media[:80] or "none")
        self._limit = min(MAX_JSON, max_bytes)
        self.request = AudioRequest(endpoint, response_format=endpoint.default_format)
        self.routable = False
        self._body = bytearray()
        self._fields: dict[str, object] = {}
        self._check_size(body_size or 0)

    def feed(self, data: bytes) -> bytes:
        """Collect the body; nothing is kept before the end."""
        self._check_size(len(self._body) + len(data))
        self._body += data
        return b""

    def close(self) -> None:
        """Parse the object and read what routing and metering need of it."""
        self._fields = _parse(bytes(self._body))
        endpoint = self.request.endpoint
        model, text = checked_model(self._string("model")), self._string("input")
        value = self._fields.get("response_format", endpoint.default_format)
        if value not in endpoint.formats:
            why = f"'{str(value)[:40]}' is none of {', '.join(endpoint.formats)}"
            raise refuse("invalid", param="response_format", why=why)
        stream = self._fields.get("stream_format") == "sse"
        self.request = AudioRequest(endpoint, model, str(value), stream, characters=len(text))
        self.routable = True

    def layout(self, model: str) -> Layout:
        """The bytes as they came, or with the model's name replaced where it is another."""
        body = bytes(self._body)
        if model != self.request.model:
            body = json.dumps({**self._fields, "model": model}, ensure_ascii=False).encode()
        return Layout("application/json", (), body, len(body))

    def _check_size(self, size: int) -> None:
        if size > self._limit:
            raise refuse("too_large", limit=self._limit, got=size)

    def _string(self, name: str) -> str:
        value = self._fields.get(name)
        if value is None or value == "":
            raise refuse("missing", param=name)
        if not isinstance(value, str):
            raise refuse("invalid", param=name, why="it must be a string")
        return value


class RawReader:
    """Any other body: every byte is kept and passed on, nothing of it is read."""

    blocked = False
    file_at = 0
    file_size: int | None = None

    def __init__(
        self, endpoint: Endpoint, content_type: str, *, body_size: int | None, max_bytes: int, token: str = ""
    ) -> None:
        self.request = AudioRequest(endpoint)
        self.routable = True
        self._content_type, self._body_size, self._kept, self._ended = content_type, body_size, 0, False
        del max_bytes, token  # the upload counts; nothing is written anew

    def feed(self, data: bytes) -> bytes:
        """Keep everything."""
        self._kept += len(data)
        return data

    def close(self) -> None:
        """The length is known now."""
        self._ended = True

    def layout(self, model: str) -> Layout:
        """The bytes as they came."""
        del model
        return Layout(self._content_type or None, length=self._kept if self._ended else self._body_size)


READERS: Mapping[str, Callable[..., Reader]] = {"form": FormReader, "json": JsonReader, "raw": RawReader}


def reader_for(endpoint: Endpoint, content_type: str, *, body_size: int | None, max_bytes: int, token: str) -> Reader:
    """The reader of this endpoint's bodies; `token` is something that the caller cannot know.

    Raises Refused (400) for a content type it cannot read.
    """
    make = READERS[endpoint.reader]
    return make(endpoint, content_type, body_size=body_size, max_bytes=max_bytes, token=token)


def _parse(body: bytes) -> dict[str, object]:
    try:
        if body.startswith(BOM_UTF8):
            raise ValueError("Unexpected UTF-8 BOM (decode using utf-8-sig): line 1 column 1 (char 0)")
        if _complex(body):
            raise ValueError(f"it has more than {MAX_TOKENS} strings, commas and brackets")
        found = _DECODER.decode(body.decode())
        if body.count(b"{") + body.count(b"[") >= MAX_DEPTH:
            _check_depth(found, MAX_DEPTH)
        if b"\\u" in body:
            json.dumps(found, ensure_ascii=False).encode()  # a lone surrogate has no UTF-8 form
    except (ValueError, RecursionError) as error:
        why = TOO_DEEP if isinstance(error, RecursionError) else str(error)[:200]
        raise refuse("bad_json", why=why) from None
    if not isinstance(found, dict):
        raise refuse("bad_json", why="it is not an object")
    if len({key.lower() for key in found}) != len(found):  # some servers take no notice of case
        raise refuse("bad_json", why="a key is given twice, in upper and lower case")
    return found


def _complex(body: bytes) -> bool:
    """More tokens than we read; what looks like some within a string counts as nothing."""
    if sum([body.count(mark) for mark in (b",", b"[", b"{", b'"')]) <= MAX_TOKENS:
        return False
    return next(islice(_TOKEN.finditer(body), MAX_TOKENS, None), None) is not None


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is given twice")
    return found


def _check_depth(value: object, left: int) -> None:
    if left == 0:
        raise ValueError(TOO_DEEP)
    for one in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _check_depth(one, left - 1)


def _no_constant(name: str) -> Never:
    raise ValueError(f"{name} is not JSON")


def _short(text: str) -> str:
    if len(text) > MAX_DIGITS:
        raise ValueError(f"a number has more than {MAX_DIGITS} digits")
    return text


def _whole(text: str) -> int:
    return int(_short(text))


def _finite(text: str) -> float:
    value = float(_short(text))
    if not math.isfinite(value):
        raise ValueError(f"{text[:40]} is out of range")
    return value


_DECODER = json.JSONDecoder(
    object_pairs_hook=_unique, parse_constant=_no_constant, parse_int=_whole, parse_float=_finite
)
