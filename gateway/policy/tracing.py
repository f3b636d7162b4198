"""Whose trace a request belongs to, whether it is kept, and what upstreams are told of it (W3C Trace Context). Pure."""

import re
from typing import NamedTuple

HEADER = "traceparent"
_FORM = re.compile("([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_SAMPLED = 1


class Trace(NamedTuple):
    """A trace, and in it the span of one request. `parent` is the caller's span, 0 where there is none."""

    trace: int
    span: int
    parent: int
    kept: bool


def joined(header: str, *, trace: int, span: int, share: float) -> Trace:
    """The trace that a request belongs to: its caller's if its header is well-formed, whose word on keeping it counts.

    Else the new one that is given, of which a `share` (0 to 1) is kept.
    """
    match = _FORM.fullmatch(header)
    if match is None or match[1] == "ff" or (match[1] == "00" and match[5]):
        return Trace(trace, span, 0, _within(trace, share))
    theirs, parent = int(match[2], 16), int(match[3], 16)
    if not theirs or not parent:
        return Trace(trace, span, 0, _within(trace, share))
    return Trace(theirs, span, parent, bool(int(match[4], 16) & _SAMPLED))


def header(trace: Trace, span: int) -> str:
    """What whoever is called for this span is told."""
    return f"00-{trace.trace:032x}-{span:016x}-{trace.kept:02x}"


def _within(trace: int, share: float) -> bool:
    """The same for every gateway that sees the trace: its last 64 bits are random."""
    return trace % 2**64 < share * 2**64
