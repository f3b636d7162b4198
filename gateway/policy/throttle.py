"""How often somebody may show a wrong token before they have to wait. Pure: who tried, when, and what follows."""

from dataclasses import dataclass, field

from gateway.policy.addresses import neighbourhood

MOST = 5  # wrong ones
WITHIN = 60.0  # seconds
MOST_PEERS = 10_000  # who is remembered; beyond that the one that failed longest ago is forgotten


@dataclass(slots=True)
class Throttle:
    """Wrong tokens by the address that they came from. Moments are monotonic seconds."""

    _failed: dict[str, list[float]] = field(default_factory=dict)

    def wait(self, peer: str, now: float) -> float:
        """Seconds until this address may try again, 0 if it may now."""
        failed = self._recent(neighbourhood(peer), now)
        return failed[-MOST] + WITHIN - now if len(failed) >= MOST else 0.0

    def failed(self, peer: str, now: float) -> None:
        """A wrong one came from this address."""
        who = neighbourhood(peer)
        recent = self._recent(who, now)
        self._failed.pop(who, None)  # whoever fails goes to the end
        self._failed[who] = [*recent, now]
        if len(self._failed) > MOST_PEERS:
            del self._failed[next(iter(self._failed))]

    def _recent(self, who: str, now: float) -> list[float]:
        return [moment for moment in self._failed.get(who, ()) if now - moment < WITHIN]
