"""One request in the books: its facts as they become known, and the record that is kept of it."""

from dataclasses import dataclass, field

from gateway.audio.request import OTHER, AudioRequest, Endpoint
from gateway.audio.usage import NoTap, Tap
from gateway.call import Call
from gateway.policy.keys import Caller
from gateway.policy.limits import NOTHING, Amounts
from gateway.policy.metering import Metered
from gateway.policy.routing import Candidate
from gateway.policy.steps import FIRST, STOPPED, Span, written
from gateway.policy.tracing import Trace
from gateway.store.limits import Told
from gateway.upload import Upload
from gateway.upstreams.base import Verdict


@dataclass(frozen=True, slots=True)
class Failed:
    """An attempt that served nobody: where, how it ended, and what the operator may have to pay for it."""

    upstream: str
    verdict: Verdict
    cost: Amounts


@dataclass(slots=True)
class Tried:
    """An attempt, from its beginning on: where, and how it ended once it has (`status`: what the upstream answered).

    `span`: its id in the request's trace, where the upstream was told of it.
    """

    candidate: Candidate
    began: float
    ended: float | None = None
    verdict: str = STOPPED
    status: int | None = None
    span: int = 0

    def end(self, verdict: Verdict, status: int | None, now: float) -> float:
        """It has come to this; the seconds that it took."""
        self.verdict, self.status, self.ended = verdict, status, now
        return now - self.began


@dataclass(slots=True)
class Entry:
    """One request, as its facts become known. `answered`, `first_byte` and what is in `marks` are monotonic.

    `executed`: an upstream has served it, or may have, so it is charged. `marks`: the steps that it came to, and when.
    `trace`: whose trace it is part of, where upstreams are told of that.
    `held` is what the store reserved for it at its present candidate, `away`: the store did not answer for it.
    """

    call: Call
    endpoint: Endpoint = OTHER
    caller: Caller | None = None
    candidate: Candidate | None = None
    held: Amounts = NOTHING
    away: bool = False
    admitted: bool = False
    executed: bool = False
    status: int = 0
    error: str = ""
    marks: list[tuple[str, float]] = field(default_factory=list)
    tried: list[Tried] = field(default_factory=list)
    failed: list[Failed] = field(default_factory=list)
    sent: int = 0
    answered: float | None = None
    first_byte: float | None = None
    upstream_request: str = ""
    upload: Upload | None = None
    trace: Trace | None = None
    tap: Tap = field(default_factory=NoTap)

    @property
    def rid(self) -> str:
        """The request's id."""
        return self.call.rid

    def at(self, step: str, now: float) -> None:
        """It has come to this step."""
        self.marks.append((step, now))

    @property
    def step(self) -> str:
        """The step where it is, or where it ended."""
        return self.marks[-1][0] if self.marks else FIRST

    def attempt(self, candidate: Candidate, now: float) -> Tried:
        """An attempt begins."""
        self.tried.append(one := Tried(candidate, now))
        return one

    @property
    def told(self) -> Told:
        """What its reservation says of it."""
        return Told(model=self.request.model or "", route=self.endpoint.name)

    @property
    def upstream(self) -> str:
        """The name of the upstream that it is at."""
        return self.candidate.upstream.name if self.candidate is not None else ""

    @property
    def request(self) -> AudioRequest:
        """What is known of the request."""
        return self.upload.request if self.upload is not None else AudioRequest(self.endpoint)

    def steps(self, booked: float) -> str:
        """How long its steps took, see `policy/steps.py`. `booked` is when its bill was made."""
        assert self.answered is not None
        attempts: list[Span] = []
        if len(self.tried) > 1:
            for one in self.tried:
                ended = self.answered if one.ended is None else one.ended
                attempts.append(Span(one.candidate.upstream.name, one.verdict, one.began, ended))
        return written(
            self.call.started,
            self.marks,
            self.answered,
            attempts=attempts,
            booked=booked if self.admitted else None,
        )

    def record(self, found: Metered, used: Amounts, paid: Amounts, *, booked: float) -> dict[str, str | int]:
        """What is kept of the request, in the log and in the store.

        `used` is what its caller is charged, `paid` what the operator pays for the attempt that served it; `booked` is
        when that was known.
        """
        request, caller, candidate = self.request, self.caller, self.candidate
        assert self.answered is not None
        return {
            "id": self.call.rid,
            "at": f"{self.call.began:.3f}",
            "route": self.endpoint.name,
            "method": self.call.method,
            "path": self.call.path,
            "status": self.status,
            "error": self.error,
            "step": self.step,
            "key": caller.kid if caller is not None else "",
            "key_name": caller.name if caller is not None else "",
            "team": caller.team if caller is not None else "",
            "model": request.model or "",
            "model_sent": candidate.model if candidate is not None else "",
            "upstream": self.upstream,
            "upstream_request": self.upstream_request,
            "attempts": len(self.tried),
            "audio_ms": used.ms,
            "characters": used.characters,
            "input_tokens": found.usage.input_tokens,
            "output_tokens": found.usage.output_tokens,
            "source": found.source,
            "disputed": int(found.disputed),
            "cost_micro_usd": used.usd,
            "upstream_micro_usd": paid.usd + sum(one.cost.usd for one in self.failed),
            "failed": " ".join(f"{one.upstream}:{one.verdict}:{one.cost.usd}" for one in self.failed),
            "bytes_in": self.upload.received if self.upload is not None else 0,
            "bytes_out": self.sent,
            "latency_ms": round((self.answered - self.call.started) * 1000),
            "first_byte_ms": round((self.first_byte - self.call.started) * 1000) if self.first_byte is not None else -1,
            "steps_ms": self.steps(booked),
        }
