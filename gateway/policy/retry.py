"""After a failed attempt: once more elsewhere, once more there, or tell the caller, and what. Pure."""

from collections.abc import Mapping, Sequence
from enum import StrEnum

from gateway.errors import Refused, refuse
from gateway.policy.cooling import LONGEST as LONGEST_WAIT
from gateway.policy.routing import busy
from gateway.upstreams.base import Outcome, Verdict

MAX_ATTEMPTS = 3
MAX_FAILED = 2
MAX_WAIT = 59.0  # seconds; every SDK honours a Retry-After up to here
BASE, LONGEST = 0.2, 5.0  # seconds of back-off
# TIMEOUT is missing on purpose: the upstream may have served, and billed, what we did not wait for.
ELSEWHERE = frozenset(
    {
        Verdict.CREDENTIALS,
        Verdict.EXHAUSTED,
        Verdict.NO_MODEL,
        Verdict.BUSY,
        Verdict.FAILED,
        Verdict.UNREACHABLE,
        Verdict.UNTRUSTED,
        Verdict.UNFIT,
    }
)
_ROWS: Mapping[Verdict, str] = {
    Verdict.CREDENTIALS: "upstream_refused",
    Verdict.EXHAUSTED: "upstreams_out_of_quota",
    Verdict.NO_MODEL: "upstream_refused",
    Verdict.FAILED: "upstream_failed",
    Verdict.UNREACHABLE: "upstream_unreachable",
    Verdict.UNTRUSTED: "upstream_untrusted",
    Verdict.TIMEOUT: "upstream_timeout",
    Verdict.UNFIT: "no_upstream",
}


class Next(StrEnum):
    """What follows a failed attempt."""

    ELSEWHERE = "elsewhere"
    SAME = "same"
    END = "end"


def follow(outcomes: Sequence[Outcome], *, others: bool, timeouts: bool = False) -> Next:
    """What follows the last of these attempts. `others`: there are upstreams that were not tried.

    `timeouts`: the operator wants what was not answered in time to be tried elsewhere, though it may be billed twice.
    """
    last = outcomes[-1]
    tried = sum(outcome.verdict is not Verdict.UNFIT for outcome in outcomes)  # who could not serve it was not tried
    failed = sum(outcome.verdict is Verdict.FAILED for outcome in outcomes)
    if tried >= MAX_ATTEMPTS or failed >= MAX_FAILED:
        return Next.END
    if others:
        again = last.verdict in ELSEWHERE or (timeouts and last.verdict is Verdict.TIMEOUT)
        return Next.ELSEWHERE if again else Next.END
    soon = last.retry_after is None or last.retry_after <= LONGEST
    if last.verdict is Verdict.UNREACHABLE:
        return Next.END if last.given else Next.SAME  # whoever had it may have done it
    passing = last.status is None or last.status >= 500  # a redirect leads to the same place tomorrow
    return Next.SAME if last.verdict is Verdict.FAILED and soon and passing else Next.END


def costly(outcome: Outcome) -> bool:
    """Whether an attempt gave its upstream work: what is tried again after it is bounded (`policy/budget.py`)."""
    return outcome.billed or outcome.verdict in (Verdict.FAILED, Verdict.TIMEOUT)


def pause(outcomes: Sequence[Outcome], *, draw: float) -> float:
    """Seconds to wait before the same upstream is asked again: full jitter, or what it said."""
    said = outcomes[-1].retry_after
    return said if said is not None else draw * min(LONGEST, BASE * 2.0 ** len(outcomes))


def answer(outcomes: Sequence[Outcome]) -> Refused:
    """What to tell the caller when no attempt served: the caller's own fault first, else the last word.

    An upstream's 401 and 403 are about our account there and are never told as if they were the caller's.
    """
    last = outcomes[-1]
    if last.verdict is Verdict.CALLER:
        refusal = refuse("upstream_said", param=last.param, message=last.message)
        refusal.status, refusal.type, refusal.code = last.status, last.type or "invalid_request_error", last.code
        if refusal.status is None or not (400 <= refusal.status < 500 or refusal.status == 501):
            refusal.status = 400
        return refusal
    waits = [min(outcome.retry_after, LONGEST_WAIT) for outcome in outcomes if outcome.retry_after is not None]
    if last.verdict is Verdict.BUSY:
        return busy(min(waits, default=1.0))
    refusal = refuse(_ROWS[last.verdict])
    if last.verdict is Verdict.FAILED and last.retry_after is not None:
        refusal.retry_after = max(1.0, min(waits))
    return refusal
