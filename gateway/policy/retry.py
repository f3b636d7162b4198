"""After a failed attempt: once more elsewhere, or tell the caller, and what. Pure."""

from collections.abc import Mapping, Sequence

from gateway.errors import Refused, refuse
from gateway.upstreams.base import Outcome, Verdict

MAX_ATTEMPTS = 4
MAX_FAILED = 2
# TIMEOUT is missing on purpose: the upstream may have served, and billed, what we did not wait for.
ELSEWHERE = frozenset(
    {
        Verdict.CREDENTIALS,
        Verdict.EXHAUSTED,
        Verdict.NO_MODEL,
        Verdict.BUSY,
        Verdict.FAILED,
        Verdict.UNREACHABLE,
        Verdict.UNFIT,
    }
)
_ROWS: Mapping[Verdict, str] = {
    Verdict.CREDENTIALS: "upstream_refused",
    Verdict.EXHAUSTED: "upstreams_out_of_quota",
    Verdict.NO_MODEL: "upstream_refused",
    Verdict.BUSY: "upstream_busy",
    Verdict.FAILED: "upstream_failed",
    Verdict.UNREACHABLE: "upstream_unreachable",
    Verdict.TIMEOUT: "upstream_timeout",
    Verdict.UNFIT: "no_upstream",
}
MAX_WAIT = 59.0  # seconds; every SDK honours a Retry-After up to here


def again(outcomes: Sequence[Outcome], *, replayable: bool) -> bool:
    """Whether another attempt may be made. `replayable`: the body can be sent from its start, nothing was answered."""
    if not replayable or len(outcomes) >= MAX_ATTEMPTS or outcomes[-1].verdict not in ELSEWHERE:
        return False
    return sum(outcome.verdict is Verdict.FAILED for outcome in outcomes) < MAX_FAILED


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
    if last.verdict is Verdict.BUSY:
        waits = [outcome.retry_after for outcome in outcomes if outcome.retry_after is not None]
        wait = min(max(min(waits, default=1.0), 1.0), MAX_WAIT)
        return refuse("upstream_busy", retry_after=wait, wait=f"{wait:.0f}s")
    return refuse(_ROWS[last.verdict])
