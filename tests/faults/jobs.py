"""Requests of which no two are alike, and a client that notes what came of each."""

import hashlib
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

from tests.media import make
from tests.wire import END, FORM, MODEL, Wire, dial, file, text

SECONDS = 0.1  # of audio in every upload: 10 micro-USD
SOUND = make("wav", SECONDS)
PART = re.compile(rb'; name="([^"]*)"')
JSON, BYTES = "application/json", "application/octet-stream"


class Place(Protocol):
    """A gateway: where it listens, and a key that it knows."""

    @property
    def origin(self) -> str:
        """Scheme, host and port."""

    @property
    def key(self) -> str:
        """The text of a key."""


@dataclass(frozen=True)
class Job:
    """One request. Its route and the length of its body tell it from all others: both stand in its record."""

    route: str
    target: str
    content_type: str
    body: bytes = field(repr=False)

    @cached_property
    def digest(self) -> str:
        """The hash of what it says."""
        return digest(self.content_type, self.body)


def digest(content_type: str, body: bytes) -> str:
    """The hash of a body; of a form, that of its names and values in their order, whatever stands between them."""
    if "boundary=" not in content_type:
        return hashlib.sha256(body).hexdigest()
    boundary = b"--" + content_type.partition("boundary=")[2].encode()
    said = hashlib.sha256()
    for part in body.split(boundary)[1:-1]:
        head, _, value = part.partition(b"\r\n\r\n")
        name = PART.search(head)
        said.update(name[1] if name else b"?")
        said.update(b"=%d:" % len(value))
        said.update(value)
    return said.hexdigest()


def _form(route: str, target: str, *parts: bytes) -> Job:
    return Job(route, f"/v1/audio/{target}", FORM, b"".join([*parts, END]))


KINDS: Mapping[str, Callable[[int], Job]] = {
    "fields first": lambda n: _form("transcription", "transcriptions", MODEL, text("prompt", "x" * n), file(SOUND)),
    "file first": lambda n: _form("transcription", "transcriptions", file(SOUND), text("prompt", "x" * n), MODEL),
    "unknown": lambda n: _form(
        "transcription", "transcriptions", MODEL, text("prompt", "x" * n), file(b"\x01" * 20_000, "x.bin")
    ),
    "translation": lambda n: _form("translation", "translations", MODEL, text("prompt", "x" * n), file(SOUND)),
    "speech": lambda n: Job(
        "speech", "/v1/audio/speech", JSON, b'{"model":"tts-1","voice":"x","input":"hello"}' + b" " * n
    ),
    "other": lambda n: Job("other", "/v1/audio/voices", BYTES, b"x" * (n + 1)),
}
"""How the requests of each kind are made; the number makes them unlike each other."""


@dataclass
class Told:
    """What a client was told of its job. `status` 0: nothing; `whole`: the answer came to its end."""

    job: Job
    key: str
    status: int = 0
    rid: str = ""
    whole: bool = False
    body: bytes = b""


async def ask(place: Place, told: Told, *, connected: Callable[[Wire], object] = lambda _: None) -> Told:
    """Send the job and note what is said to it; `connected` is told of the connection before anything is sent.

    Whoever cancels this hangs up.
    """
    job = told.job
    with suppress(ConnectionError, EOFError, OSError):
        async with dial(place) as wire:  # type: ignore[arg-type]
            connected(wire)
            size = f"Content-Length: {len(job.body)}"
            await wire.begin("POST", job.target, f"Content-Type: {job.content_type}", size, key=told.key)
            await wire.send(job.body)
            said = await wire.answer()
            told.status, told.rid, told.whole = said.status, said.headers.get("x-request-id", ""), said.whole
            told.body = bytes(said.body)
    return told
