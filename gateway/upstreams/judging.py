"""How an upstream's answer is judged that is no success: by the signs of its kind, then by its status. Pure."""

import json
import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

from gateway.upstreams.base import Kind, Outcome, Verdict

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


def printable(text: str) -> str:
    """A text of somebody else's with a space for what cannot be shown, or would move a terminal's cursor."""
    return text if text.isprintable() else "".join(one if one.isprintable() else " " for one in text)


def _tidy(text: str) -> str:
    """An upstream's words, fit for a caller: no hosts, no keys, no request ids of hops that the caller cannot ask."""
    text = printable(text[:LONGEST_MESSAGE])
    text = re.sub(r"\s*\(request id:[^)]*\)", "", text, flags=re.IGNORECASE)
    text = re.sub(r"[a-z]+://\S+", "[address]", text)
    text = re.sub(r"(?<![A-Za-z0-9])(?:sk|ag)[-_][A-Za-z0-9_*.\-]{4,}", "[key]", text)
    text = _HOST.sub("[address]", text)
    return " ".join(text.split())[:500] or "The upstream refused the request."
