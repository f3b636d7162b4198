"""Is an upstream usable? What the answer to a free question with our key says of it: the list of its models. Pure.

What is asked for costs nothing, so it shows whether requests would get there and whether our key is taken. It does not
show that a model serves: only a request does.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime

from gateway.upstreams.base import Upstream, Verdict
from gateway.upstreams.judging import HIDDEN_ERROR, judge, printable

MODELS = "/models"
CLOCK = 60.0  # seconds by which its clock may differ from ours
GLOB = frozenset("*?[")


@dataclass(frozen=True, slots=True)
class Heard:
    """What came back. `body` None: it was too long to be read; `ours`: seconds since 1970 as it came."""

    status: int
    body: bytes | None = b""
    date: str = ""
    location: str = ""
    ours: float = 0.0


@dataclass(frozen=True, slots=True)
class Checked:
    """Whether an upstream is usable.

    `verdict` is one word, which never changes its meaning: those of TROUBLES, `fine`, or what `judged` says. `message`
    is a sentence for operators that names the remedy. `ms`: until its answer began, of which `connect_ms` until there
    was a connection; None: it never came to that.
    """

    ok: bool
    verdict: str
    message: str
    ms: float | None = None
    connect_ms: float | None = None


# What may stand in the way before there is an answer. {where}: its row in the configuration, {host}, {why}.
TROUBLES: Mapping[str, str] = {
    "no_name": "The name {host} has no address: check {where}.base_url, and the DNS of this machine.",
    "not_allowed": "{host} is a private or special address: if that is meant, set {where}.allow_private: true.",
    "refused": "{host} refuses the connection: check the port in {where}.base_url, and that it runs.",
    "unreachable": "{host} cannot be reached ({why}): check {where}.base_url, and the way there from this machine.",
    "untrusted": "{host} could not prove that it is {host} ({why}): check {where}.base_url and this machine's clock; "
    "for an authority of your own set SSL_CERT_FILE.",
    "late": "{host} did not answer within {seconds:g} seconds: try again, or ask whoever runs it.",
    "broken": "{host} broke off or did not speak HTTP ({why}): check scheme and port in {where}.base_url.",
    "bad_key": "The key cannot be sent in a header: check {where}.key.",
}
# Verdicts on answers to requests, as far as they say the same of this one. {said}: its own words.
_ANSWERS: Mapping[Verdict, tuple[str, str]] = {
    Verdict.CREDENTIALS: ("key", "It does not accept our key ({said}): set {where}.key to one that is good there."),
    Verdict.EXHAUSTED: ("dry", "Our account there is used up ({said}): top it up, or drain the upstream."),
    Verdict.BUSY: ("busy", "It wants no requests just now ({said}): try again in a minute."),
    Verdict.TIMEOUT: ("late", "It answers that this took too long ({said}): try again, or ask whoever runs it."),
    Verdict.FAILED: ("failing", "It answers with an error of its own ({said}): try again, or ask whoever runs it."),
}


def trouble(upstream: Upstream, verdict: str, *, host: str, why: str = "", seconds: float = 0.0) -> Checked:
    """What stood in the way of an answer; `verdict` is a word of TROUBLES."""
    where = f"upstreams.{upstream.name}"
    return Checked(False, verdict, TROUBLES[verdict].format(host=host, where=where, why=why, seconds=seconds))


def judged(upstream: Upstream, heard: Heard) -> Checked:
    """What an answer says.

    Not ok: `key`, `dry`, `busy`, `late`, `failing`, `moved` (it leads elsewhere), `page` (no API is there). Ok: `fine`,
    `unchecked` (it has no such list), `models` (some of ours are not in it), `clock` (its clock and ours differ).
    """
    found = _refusal(upstream, heard) if _is_refusal(upstream, heard) else _list(upstream, heard)
    off = _off(heard)
    if not found.ok or abs(off) <= CLOCK:
        return found
    told = f"Its clock is {abs(off):.0f} seconds {'ahead of' if off > 0 else 'behind'} ours: set this machine's by NTP."
    return replace(found, verdict="clock", message=told if found.verdict == "fine" else f"{told} {found.message}")


def _is_refusal(upstream: Upstream, heard: Heard) -> bool:
    hidden = upstream.kind.hides_errors and HIDDEN_ERROR.match(heard.body or b"") is not None
    return hidden or not 200 <= heard.status < 300


def _refusal(upstream: Upstream, heard: Heard) -> Checked:
    where = f"upstreams.{upstream.name}"
    if 300 <= heard.status < 400:
        to = printable(heard.location[:200]) or "nowhere"
        return Checked(False, "moved", f"It leads to {to} ({heard.status}): set {where}.base_url to where it is now.")
    outcome = judge(upstream.kind, status=heard.status, body=heard.body or b"")
    if outcome.verdict not in _ANSWERS:
        return Checked(
            True,
            "unchecked",
            f"It can be reached. It has no list of models ({heard.status}), which would "
            "show whether our key is good: send it a request.",
        )
    if outcome.verdict is Verdict.CREDENTIALS and upstream.key is None:
        return Checked(False, "key", f"It wants a key ({heard.status}): set {where}.key.")
    word, text = _ANSWERS[outcome.verdict]
    return Checked(False, word, text.format(said=f"{heard.status}, {outcome.message.rstrip('.')}", where=where))


def _list(upstream: Upstream, heard: Heard) -> Checked:
    if heard.body is None:
        return Checked(True, "fine", "")
    try:
        found = json.loads(heard.body)
    except (ValueError, RecursionError):
        where = f"upstreams.{upstream.name}.base_url"
        return Checked(False, "page", f"What answers is no API: check {where}, which mostly ends in /v1.")
    listed = _ids(found)
    if not listed:
        return Checked(True, "fine", "")
    missing = sorted(set(_sent(upstream)) - listed)
    if not missing:
        return Checked(True, "fine", "")
    return Checked(
        True,
        "models",
        f"Its list of models has no {', '.join(missing)}. It may serve them all the same; "
        f"if not, check upstreams.{upstream.name}.models.",
    )


def _ids(found: object) -> set[str]:
    rows = found.get("data") if isinstance(found, dict) else None
    ids = [row.get("id") for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    return {one for one in ids if isinstance(one, str)}


def _sent(upstream: Upstream) -> list[str]:
    """The models that it is asked for by name."""
    names = [model if sent == "*" else sent for model, sent in upstream.models.items()]
    return [name for name in names if not GLOB & set(name)]


def _off(heard: Heard) -> float:
    """Seconds by which its clock is ahead of ours, 0 where it tells none."""
    try:
        return parsedate_to_datetime(heard.date).timestamp() - heard.ours
    except (ValueError, TypeError, OverflowError):
        return 0.0
