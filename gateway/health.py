"""What this process has seen of the upstreams lately.

The rules are in `policy/circuit.py` (one model at one upstream), `policy/cooling.py` (an upstream as a whole),
`policy/pace.py` (how fast they are) and, for wallets, in `upstreams/balance.py`.
"""

import logging
import random
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from gateway.metrics import Metrics
from gateway.policy.circuit import Circuit
from gateway.policy.cooling import Cooling
from gateway.policy.pace import Pace
from gateway.policy.picking import Outlook
from gateway.policy.routing import Candidate
from gateway.upstreams.balance import Balance
from gateway.upstreams.base import Outcome, Verdict

log = logging.getLogger("audiogate")
REMEMBERED = 1000  # models at upstreams, since patterns let callers make up any number of them
FAILURES = frozenset({Verdict.FAILED, Verdict.UNREACHABLE, Verdict.UNTRUSTED, Verdict.TIMEOUT})
UNKNOWN = Balance()
SLOW = FAILURES | {Verdict.BUSY}


@dataclass(slots=True)
class _Seen:
    """One model at one upstream."""

    circuit: Circuit = field(default_factory=Circuit)
    pace: Pace = field(default_factory=Pace)


@dataclass(frozen=True, slots=True)
class UpstreamState:
    """How an upstream does, as far as this process has seen it.

    `state`: the first of these that it is. `rests`: seconds until it is asked like the others again; `resting` are its
    models that rest alone. `pace`: seconds of work per second of audio, as it was last (None: nothing was seen).
    `ejections`: how often a model of it was laid to rest since this process began. `drained`: since when, in seconds
    since 1970. `balance`: what is gone by there, as it was told `balance_age` seconds ago.
    """

    state: Literal["drained", "resting", "dry", "up"]
    rests: float = 0.0
    resting: tuple[str, ...] = ()
    under_way: int = 0
    pace: float | None = None
    ejections: int = 0
    drained: float | None = None
    balance: Balance = UNKNOWN
    balance_age: float = 0.0


class Health:
    """What was seen of models and upstreams, which wallets are dry, and which upstreams operators have drained.

    `clock` gives monotonic seconds, `draw` numbers in [0, 1), `under_way` how many requests are at an upstream now.
    `exhausted` is told the name of an upstream that refused a request for want of money.
    """

    def __init__(
        self,
        upstreams: Iterable[str],
        *,
        clock: Callable[[], float],
        metrics: Metrics,
        draw: Callable[[], float] = random.random,
        under_way: Callable[[str], int] = lambda _: 0,
    ) -> None:
        self._cooling = {name: Cooling() for name in upstreams}
        self._seen: dict[tuple[str, str], _Seen] = {}
        self._wallets: dict[str, tuple[Balance, float]] = {}
        self._drained: Mapping[str, float] = {}
        self._told_drained: frozenset[str] = frozenset()
        self._ejections: Counter[str] = Counter()
        self._clock, self._draw, self._under_way = clock, draw, under_way
        self._metrics = metrics
        self.exhausted: Callable[[str], None] = lambda _: None
        self.report()

    def follow(self, upstreams: Iterable[str], *, anew: Collection[str] = ()) -> None:
        """These are the upstreams from now on. What was seen of those that stay is kept, but for those in `anew`:
        they are other servers under a known name, or have another key.
        """
        kept = {name: one for name, one in self._cooling.items() if name not in anew}
        self._cooling = {name: kept.get(name) or Cooling() for name in upstreams}
        known = kept.keys() & self._cooling.keys()
        self._seen = {(name, model): one for (name, model), one in self._seen.items() if name in known}
        self._wallets = {name: one for name, one in self._wallets.items() if name in known}
        self._ejections = Counter({name: count for name, count in self._ejections.items() if name in known})
        self._tell_drained()
        self.report()

    def outlook(self, candidate: Candidate) -> Outlook:
        """What to expect of a candidate now."""
        upstream, now = candidate.upstream, self._clock()
        name = upstream.name
        under_way, cooling, seen = (
            self._under_way(name),
            self._cooling.get(name),
            self._seen.get((name, candidate.model)),
        )
        found = Outlook(under_way=under_way, full=under_way >= upstream.max_requests, drained=name in self._drained)
        if cooling is not None:
            found.wait = cooling.wait(now)
            found.shut = self._is_dry(name) or now < cooling.rests_until
        if seen is not None:
            found.shut = found.shut or seen.circuit.shut(now)
            found.pace = seen.pace.now(now)
        return found

    def begin(self, candidate: Candidate) -> bool:
        """An attempt is to begin: whether it should, now that others may have come before it."""
        upstream, now = candidate.upstream, self._clock()
        seen = self._seen.get((upstream.name, candidate.model))
        if upstream.name in self._drained or self._under_way(upstream.name) >= upstream.max_requests:
            return False
        if seen is not None and seen.circuit.shut(now):
            return False
        if seen is not None:
            seen.circuit.begin(now)
        return True

    def note(self, upstream: str, model: str, outcome: Outcome, *, took: float = 0.0, audio: float = 0.0) -> None:
        """An attempt has ended; nothing to see where that upstream is gone meanwhile.

        One that served `took` so many seconds until its answer began, for so many seconds of audio.
        """
        cooling = self._cooling.get(upstream)
        if cooling is None:
            return
        now, seen, verdict = self._clock(), self._of(upstream, model), outcome.verdict
        before = now < cooling.rests_until, now < cooling.told_until, seen.circuit.out
        rested = seen.circuit.rests_until
        cooling.note(outcome, now)
        if verdict is Verdict.SERVED:
            seen.circuit.served(now)
            seen.pace.note(now, took=took, audio=audio)
        if verdict in FAILURES:
            seen.circuit.failed(now, draw=self._draw())
            self._ejections[upstream] += seen.circuit.rests_until > rested
        if verdict in SLOW:
            seen.pace.penalise(now)
        if (now < cooling.rests_until, now < cooling.told_until, seen.circuit.out) != before:
            self._tell(upstream, model, outcome, seen.circuit, was_out=before[2])
        if verdict is Verdict.EXHAUSTED:
            self.exhausted(upstream)

    def wallet(self, upstream: str, left: Balance) -> None:
        """What to go by at `upstream`, which holds until it is told otherwise."""
        if upstream not in self._cooling:
            return
        was_dry, before = self._is_dry(upstream), self._wallets.get(upstream)
        if before is None or before[0] is not left:
            self._wallets[upstream] = left, self._clock()
        if left.dry != was_dry:
            told = "is dry: it goes last" if left.dry else "is dry no more"
            log.warning("our wallet at upstream %s %s", upstream, told)
            self.report()

    def drain(self, since: Mapping[str, float]) -> None:
        """These are drained, and no others: by name, since when, in seconds since 1970."""
        self._drained = since
        self._tell_drained()

    def state(self, name: str) -> UpstreamState:
        """How an upstream does."""
        now, cooling = self._clock(), self._cooling.get(name, Cooling())
        seen = {model: one for (upstream, model), one in self._seen.items() if upstream == name}
        shut = {model: one.circuit.rests_until for model, one in seen.items() if one.circuit.shut(now)}
        latest = max((one.pace for one in seen.values()), key=lambda pace: pace.at, default=Pace())
        until = max(cooling.rests_until, cooling.told_until, *shut.values())
        resting = until > now or shut
        drained, (left, told) = self._drained.get(name), self._wallets.get(name, (UNKNOWN, now))
        return UpstreamState(
            "drained" if drained is not None else "resting" if resting else "dry" if self._is_dry(name) else "up",
            rests=max(0.0, until - now),
            resting=tuple(sorted(shut)),
            under_way=self._under_way(name),
            pace=latest.value,
            ejections=self._ejections[name],
            drained=drained,
            balance=left,
            balance_age=now - told,
        )

    def report(self) -> None:
        """Tell the metrics; to be called now and then, since a rest ends by itself."""
        resting = self._resting()
        for name in self._cooling:
            self._metrics.upstream_state(
                name, resting=name in resting, dry=self._is_dry(name), drained=name in self._drained
            )

    def unhealthy(self) -> frozenset[str]:
        """The upstreams that rest now, if only with one model, or have a dry wallet."""
        return frozenset(self._resting() | {name for name in self._wallets if self._is_dry(name)})

    def _tell_drained(self) -> None:
        """What is drained that was not, or the other way round; upstreams that are not there (yet) are no news."""
        now = frozenset(name for name in self._cooling if name in self._drained)
        for name in sorted(now - self._told_drained):
            log.warning("upstream %s is drained: what is under way there ends, nothing new goes there", name)
        for name in sorted((self._told_drained - now) & self._cooling.keys()):
            log.warning("upstream %s is drained no more: requests may go there again", name)
        if now != self._told_drained:
            self._told_drained = now
            self.report()

    def _is_dry(self, name: str) -> bool:
        wallet = self._wallets.get(name)
        return wallet is not None and wallet[0].dry

    def _resting(self) -> set[str]:
        now = self._clock()
        cool = {name for name, one in self._cooling.items() if now < max(one.rests_until, one.told_until)}
        return cool | {name for (name, _), one in self._seen.items() if one.circuit.shut(now)}

    def _of(self, upstream: str, model: str) -> _Seen:
        seen = self._seen.get((upstream, model))
        if seen is None:
            if len(self._seen) >= REMEMBERED:
                self._seen.clear()
            seen = self._seen[upstream, model] = _Seen()
        return seen

    def _tell(self, upstream: str, model: str, outcome: Outcome, circuit: Circuit, *, was_out: bool) -> None:
        self.report()
        if outcome.verdict is Verdict.CREDENTIALS:
            log.error("upstream %s does not accept our key: %s", upstream, outcome.message)
        elif circuit.out and not was_out:
            log.warning("%s at upstream %s fails (%s): others go first", model or "audio", upstream, outcome.verdict)
        elif was_out and not circuit.out:
            log.warning("%s at upstream %s serves again", model or "audio", upstream)
