"""The steps of a request as places on a line. Pure; `templates/request.html` draws them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from gateway.policy.steps import SETTLE, Attempt, read

WIDTH = 1000
LEAST = 3.0  # of the width, lest a short step cannot be seen
SERVED = "served"
STEPS: Mapping[str, str] = {
    "authenticate": "whose key it is, and its turn on the connection",
    "receive": "the body, until it can be routed",
    "plan": "where it may go",
    "admit": "limits, and the reservation",
    "attempt": "upstreams, up to the head of the answer",
    "relay": "the answer, to its last byte",
    SETTLE: "the bill, behind the answer",
    "replay": "the answer of an earlier request with the same Idempotency-Key",
    "first byte": "all there was before the answer began",
    "answer": "from its first byte to its last",
    "in all": "there was no first byte of an answer",
}


@dataclass(frozen=True, slots=True)
class Row:
    """A line of it: what it is and how long it took, its place from the left, and how it ended if it is an attempt.

    `cost` is what a failed attempt may cost all the same, in millionths of a US dollar.
    """

    name: str
    what: str
    took_ms: float
    x: float
    width: float
    verdict: str = ""
    cost: int = 0


def timeline(record: Mapping[str, str]) -> Sequence[Row]:
    """The steps in a record, attempts behind the step they belong to; what is known where it has none."""
    spans = list(_spans(record))
    end = max((began + took for _, _, began, took, _ in spans), default=0.0) or 1.0
    failed = spent(record)
    rows = []
    for name, what, began, took, verdict in spans:
        width = max(LEAST, took / end * WIDTH)
        x = min(began / end * WIDTH, WIDTH - width)
        place = next((place for place, one in enumerate(failed) if one[:2] == (name, verdict)), None)
        cost = 0 if place is None else failed.pop(place)[2]
        rows.append(Row(name, what, took, round(x, 1), round(width, 1), verdict, cost))
    return rows


def spent(record: Mapping[str, str]) -> list[tuple[str, str, int]]:
    """The attempts that served nobody: upstream, verdict, and their cost in millionths of a US dollar."""
    parts = [word.rsplit(":", 2) for word in record.get("failed", "").split()]
    return [(one[0], one[1], int(one[2])) for one in parts if len(one) == 3 and one[2].isdecimal()]


def _spans(record: Mapping[str, str]) -> Iterator[tuple[str, str, float, float, str]]:
    """Name, what it is, when it began, how long it took, and the verdict on it."""
    steps = read(record.get("steps_ms", ""))
    for step in steps:
        yield step.name, STEPS.get(step.name, ""), step.began_ms, step.took_ms, ""
        yield from map(_attempt, step.attempts)
    if not steps:
        yield from _known(record)


def _attempt(one: Attempt) -> tuple[str, str, float, float, str]:
    return one.upstream, "", one.began_ms, one.took_ms, one.verdict


def _known(record: Mapping[str, str]) -> Iterator[tuple[str, str, float, float, str]]:
    """What older records tell."""
    took, first = float(record.get("latency_ms") or 0), float(record.get("first_byte_ms") or -1)
    if first >= 0:
        yield "first byte", STEPS["first byte"], 0.0, first, ""
        yield "answer", STEPS["answer"], first, max(took - first, 0.0), ""
    elif took:
        yield "in all", STEPS["in all"], 0.0, took, ""
