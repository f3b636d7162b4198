"""The nouns of the upstream side, and how an answer is judged. Pure."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from enum import StrEnum
from fnmatch import fnmatchcase

from gateway.audio.request import ROUTES, Layout


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


# What a status means when no sign of the dialect matches.
_BY_STATUS: Mapping[int, Verdict] = {
    401: Verdict.CREDENTIALS,
    402: Verdict.EXHAUSTED,
    403: Verdict.CREDENTIALS,
    404: Verdict.CALLER,
    408: Verdict.TIMEOUT,
    429: Verdict.BUSY,
    501: Verdict.CALLER,
    504: Verdict.FAILED,  # its own upstream was too slow, and it has given up: unlike what we did not wait for
}
_MESSAGE = rb'"message"\s*:\s*"(?:[^"\\]|\\.)*"\s*,\s*'  # Go writes keys in alphabetical order
HIDDEN_ERROR = re.compile(rb'\s*\{\s*(?:"error"\s*:\s*\{|(?:' + _MESSAGE + rb')?"success"\s*:\s*false)')


def judge(kind: Kind, *, status: int, body: bytes, retry_after: str = "", date: str = "") -> Outcome:
    """What an answer that is no success means. `body` is its start (a few KB suffice), `date` its Date header."""
    said = _error_of(body)
    code = said.get("code")
    text = str(said.get("message") or body[:500].decode("utf-8", "replace"))
    code_text = "" if code is None else str(code)
    verdict = next((sign.verdict for sign in kind.signs if sign.matches(status, code_text, text)), None)
    if verdict is None:
        default = Verdict.CALLER if 400 <= status < 500 else Verdict.FAILED
        verdict = _BY_STATUS.get(status, default)
    return Outcome(
        verdict,
        status,
        _tidy(text),
        type=_tidy(str(said["type"]))[:100] if said.get("type") else None,
        code=_tidy(code_text)[:100] if code_text else None,
        param=_tidy(str(said["param"]))[:100] if said.get("param") else None,
        retry_after=_wait(retry_after, date),
    )


def _wait(retry_after: str, date: str) -> float | None:
    """Seconds that a Retry-After header asks for (RFC 9110, 10.2.3): a number, or a moment by its sender's clock."""
    if re.fullmatch(r"\d{1,300}(\.\d{1,300})?", retry_after):
        return float(retry_after)
    try:
        return max(0.0, (parsedate_to_datetime(retry_after) - parsedate_to_datetime(date)).total_seconds())
    except (ValueError, TypeError, OverflowError):
        return None


def _error_of(body: bytes) -> Mapping[str, object]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    error = found.get("error", found) if isinstance(found, dict) else {}
    if isinstance(error, str):
        return {"message": error}
    return error if isinstance(error, dict) else {}


LONGEST_MESSAGE = 1000  # characters that are searched for what must not be told
_HOST = re.compile(r"\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b|\b[\w-]+(?:\.[\w-]+)+\.[A-Za-z]{2,}\b", re.ASCII)


def _tidy(text: str) -> str:
    """An upstream's words, fit for a caller: no hosts, no keys, no request ids of hops that the caller cannot ask."""
    text = re.sub(r"\s*\(request id:[^)]*\)", "", text[:LONGEST_MESSAGE], flags=re.IGNORECASE)
    text = re.sub(r"[a-z]+://\S+", "[address]", text)
    text = re.sub(r"(?<![A-Za-z0-9])(?:sk|ag)[-_][A-Za-z0-9_*.\-]{4,}", "[key]", text)
    text = _HOST.sub("[address]", text)
    return " ".join(text.split())[:500] or "The upstream refused the request."


@dataclass(slots=True)
class Outgoing:
    """A request as it goes out. `length` None: the body's length is not known, it goes out chunked.

    `patience`: seconds to wait for the first byte of the answer, once all of it is sent.
    """

    method: str
    url: str
    headers: Mapping[str, str]
    length: int | None
    patience: float = 600.0


PASSED_ON = ("accept", "openai-beta")


def outgoing(
    upstream: Upstream, *, method: str, path: str, query: str, headers: Mapping[str, str], layout: Layout
) -> Outgoing:
    """What is sent to an upstream: our key, the form's own headers, and of the caller's only PASSED_ON.

    `path` begins with /v1; an upstream's base URL stands for that part. Answers are asked for uncompressed, so that
    their usage can be read.
    """
    url = upstream.base_url + path.removeprefix("/v1") + (f"?{query}" if query else "")
    out = {name: headers[name] for name in PASSED_ON if name in headers}
    out["accept-encoding"] = "identity"
    out["user-agent"] = "audiogate"
    if upstream.key is not None:
        out["authorization"] = f"Bearer {upstream.key}"
    if layout.content_type is not None:
        out["content-type"] = layout.content_type
    return Outgoing(method, url, out, layout.length)


# What of an upstream's headers a caller may see.
RETURNED = ("content-type", "content-length", "content-encoding", "content-disposition", "openai-processing-ms")
