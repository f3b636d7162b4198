"""The nouns of the upstream side. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase

from gateway.audio.request import ROUTES


class Verdict(StrEnum):
    """What an upstream's answer means for the request, and for the upstream."""

    SERVED = "served"
    CALLER = "caller"  # the request itself is wrong: passed on, never tried again
    CREDENTIALS = "credentials"  # our key at this upstream is bad; the caller's is fine
    EXHAUSTED = "exhausted"  # our account at this upstream has run dry
    NO_MODEL = "no_model"  # this upstream has no way to serve the model
    BUSY = "busy"
    FAILED = "failed"
    UNREACHABLE = "unreachable"
    UNTRUSTED = "untrusted"  # it could not prove that it is the one it should be
    TIMEOUT = "timeout"
    UNFIT = "unfit"  # a field that came late asks for what this upstream cannot do


@dataclass(frozen=True, slots=True)
class Sign:
    """A row of a dialect: answers with this status, code and text mean this verdict. Empty fields match all."""

    verdict: Verdict
    status: int | None = None
    code: str = ""
    text: str = ""

    def matches(self, status: int, code: str, text: str) -> bool:
        """Whether an answer shows this sign. `text` is matched as a regular expression, ignoring case."""
        return (
            (self.status is None or self.status == status)
            and (not self.code or self.code == code)
            and (not self.text or re.search(self.text, text, re.IGNORECASE) is not None)
        )


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What an upstream can do: routes by name, `response_format` values of transcripts, containers it can read.

    `stream`: answers transcriptions as events when asked. `chunked`: takes request bodies without Content-Length.
    `containers` None means all.
    """

    routes: frozenset[str] = frozenset(ROUTES)
    formats: frozenset[str] = frozenset({"json", "text", "srt", "verbose_json", "vtt", "diarized_json"})
    containers: frozenset[str] | None = None
    stream: bool = True
    chunked: bool = True


@dataclass(frozen=True, slots=True)
class Kind:
    """An upstream kind: what its servers can do unless told otherwise, and the signs its errors show.

    `hides_errors`: some of its errors come with status 200. `balance`: they tell what is left of our money.
    """

    name: str
    can: Capabilities
    signs: tuple[Sign, ...] = ()
    hides_errors: bool = False
    balance: bool = False


@dataclass(frozen=True, slots=True)
class Upstream:
    """One server that requests can go to: origin and key are one unit and never mixed.

    `models` maps what callers say to what this upstream calls it; a key may be a glob, whose value "*" means "the
    same name". Lower `priority` goes first; `weight` shares out requests within a priority. `first_byte_timeout` None:
    by the audio's length. `retry_timeouts`: what it does not answer in time is tried elsewhere, though it may bill it.
    `max_requests` may be under way there at once. `allow_private`: its address may be a private one. `balance`: it is
    asked now and then what is left of our money.
    """

    name: str
    kind: Kind
    base_url: str
    models: Mapping[str, str]
    can: Capabilities
    key: str | None = field(default=None, repr=False)
    priority: int = 1
    weight: int = 1
    connect_timeout: float = 5.0
    first_byte_timeout: float | None = None
    idle_timeout: float = 60.0
    retry_timeouts: bool = False
    max_requests: int = 1024
    allow_private: bool = False
    balance: bool = False

    def sent_model(self, model: str) -> str | None:
        """What this upstream calls `model`, None if it does not serve it."""
        exact = self.models.get(model)
        if exact is not None:
            return model if exact == "*" else exact
        for pattern, name in self.models.items():
            if fnmatchcase(model, pattern):
                return model if name == "*" else name
        return None


@dataclass(slots=True)
class Outcome:
    """An attempt's end: the verdict, and what the upstream said (status None: it said nothing).

    `billed`: it had the whole request and never said how that ended, so it may well bill it. `given`: it had any of it.
    """

    verdict: Verdict
    status: int | None = None
    message: str = ""
    type: str | None = None
    code: str | None = None
    param: str | None = None
    retry_after: float | None = None
    billed: bool = False
    given: bool = True
