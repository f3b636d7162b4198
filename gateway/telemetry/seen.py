"""A request that has ended, as much of it as telemetry tells."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from gateway.entry import Tried
from gateway.policy.tracing import Trace

NOBODY = "audiogate"  # the provider where the request came to no upstream


class Seen(NamedTuple):
    """Moments are in seconds of the gateway's clock; `began` is `started` in seconds since 1970."""

    record: Mapping[str, str | int]
    trace: Trace
    began: float
    started: float
    answered: float
    first_byte: float | None
    marks: Sequence[tuple[str, float]]
    tried: Sequence[Tried]

    @property
    def operation(self) -> str:
        """What it was for."""
        return str(self.record["route"])

    @property
    def provider(self) -> str:
        """The kind of the upstream that it was at last."""
        return self.tried[-1].candidate.upstream.kind.name if self.tried else NOBODY

    @property
    def model(self) -> str:
        """The model as its caller called it; "" where none was asked for or nobody has it."""
        return str(self.record["model"]) if self.record["upstream"] else ""

    @property
    def label(self) -> str:
        """The model as a value of a closed set: callers can make up names where the configuration has patterns."""
        if not self.model or not self.tried:
            return self.model and "other"
        return self.model if self.model in self.tried[-1].candidate.upstream.models else "other"

    def ended(self, one: Tried) -> float:
        """When the exchange of an attempt was over: that of the one which served, with the answer."""
        return self.answered if one.ended is None or one is self.served else one.ended

    @property
    def served(self) -> Tried | None:
        """The attempt whose answer was relayed."""
        return next((one for one in self.tried if one.verdict == "served"), None)

    @property
    def failed(self) -> str:
        """Why the request failed, "" where it did not or where that was its caller's doing."""
        return "" if 400 <= int(self.record["status"]) < 500 else str(self.record["error"])

    def fault(self, one: Tried) -> str:
        """How an attempt failed, "" if it did not: its verdict, or what its answer broke off with."""
        return self.failed if one is self.served else str(one.verdict)
