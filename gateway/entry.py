"""One request in the books: its facts as they become known, and the record that is kept of it."""

from dataclasses import dataclass, field

from gateway.audio.request import OTHER, AudioRequest, Endpoint
from gateway.audio.usage import NoTap, Tap
from gateway.call import Call
from gateway.policy.keys import Caller
from gateway.policy.limits import NOTHING, Amounts
from gateway.policy.metering import Metered
from gateway.policy.routing import Candidate
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
class Entry:
    """One request, as its facts become known. `answered` and `first_byte` are monotonic.

    `executed`: an upstream has served it, or may have, so it is charged. `step` is where it is, or where it ended.
    `held` is what the store reserved for it at its present candidate, `away`: the store did not answer for it.
    """

    call: Call
    endpoint: Endpoint = OTHER
    step: str = "authenticate"
    caller: Caller | None = None
    candidate: Candidate | None = None
    held: Amounts = NOTHING
    away: bool = False
    admitted: bool = False
    executed: bool = False
    status: int = 0
    error: str = ""
    attempts: int = 0
    failed: list[Failed] = field(default_factory=list)
    upstream_seconds: float = 0.0
    sent: int = 0
    answered: float | None = None
    first_byte: float | None = None
    upstream_request: str = ""
    upload: Upload | None = None
    tap: Tap = field(default_factory=NoTap)

    @property
    def rid(self) -> str:
        """The request's id."""
        return self.call.rid

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

    def record(self, found: Metered, used: Amounts, paid: Amounts) -> dict[str, str | int]:
        """What is kept of the request, in the log and in the store.

        `used` is what its caller is charged, `paid` what the operator pays for the attempt that served it.
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
            "attempts": self.attempts,
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
        }
