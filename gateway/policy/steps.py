"""How long each step of a request took, as one text in its record: written when it ends, read back for people. Pure.

    authenticate=0.2 receive=12.1 plan=0.1 admit=1.3 attempt=640.2(a:busy:0.1+20.3,b:served:22.4+617.8) relay=31.0

Milliseconds. Where there was more than one attempt they stand in brackets: upstream, verdict, when it began (counted
from the beginning of the step) and how long it took. A step that was gone back to stands there again. All but `settle`,
which comes behind the answer, add up to the latency.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

FIRST, SETTLE = "authenticate", "settle"
STOPPED = "stopped"
"""The verdict on an attempt that was ended before it came to one: its caller had gone, for instance."""

_STEP = re.compile(r"([a-z]{1,20})=([0-9]{1,12}\.[0-9])(?:\((.*)\))?")
_ATTEMPT = re.compile(r"([A-Za-z0-9._-]{1,64}):([a-z_]{1,20}):([0-9]{1,12}\.[0-9])\+([0-9]{1,12}\.[0-9])")


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt at an upstream. `began_ms` counts from the beginning of the request."""

    upstream: str
    verdict: str
    began_ms: float
    took_ms: float


@dataclass(frozen=True, slots=True)
class Step:
    """A step of a request. `began_ms` counts from the beginning of the request. One attempt alone is not listed."""

    name: str
    began_ms: float
    took_ms: float
    attempts: tuple[Attempt, ...] = ()


class Span(NamedTuple):
    """An attempt as its request knows it: from one moment to another, in seconds of the request's clock."""

    upstream: str
    verdict: str
    began: float
    ended: float


def written(
    started: float,
    marks: Iterable[tuple[str, float]],
    ended: float,
    *,
    attempts: Sequence[Span] = (),
    booked: float | None = None,
) -> str:
    """The text for a request that `started` and `ended` at these moments, in seconds of one clock.

    `marks` are the steps that it came to after the first one, and when. `booked` is when its bill was made.
    """
    text, step, since = "", FIRST, started
    for name, moment in (*marks, ("", ended)):
        text += f"{step}={(moment - since) * 1000:.1f}"
        if step == " attempt" and len(attempts) > 1:
            text += f"({','.join(_word(one, since) for one in attempts)})"
        step, since = f" {name}", moment
    return text if booked is None else f"{text} {SETTLE}={(booked - ended) * 1000:.1f}"


def read(text: str) -> Sequence[Step]:
    """The steps in such a text, in their order; none in an empty one. Words that do not read are passed over."""
    steps: list[Step] = []
    began = 0.0
    for word in text.split(" "):
        if match := _STEP.fullmatch(word):
            name, took, inside = match.groups("")
            steps.append(Step(name, began, float(took), tuple(_attempts(inside, began))))
            began = round(began + float(took), 1)
    return steps


def _word(one: Span, since: float) -> str:
    return f"{one.upstream}:{one.verdict}:{(one.began - since) * 1000:.1f}+{(one.ended - one.began) * 1000:.1f}"


def _attempts(inside: str, since: float) -> Iterator[Attempt]:
    for upstream, verdict, began, took in _ATTEMPT.findall(inside):
        yield Attempt(upstream, verdict, round(since + float(began), 1), float(took))
