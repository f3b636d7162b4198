"""Who was let in lately, and what was let go while the store is away; the rule is in `policy/grace.py`."""

from collections import Counter, OrderedDict
from collections.abc import Callable

from gateway.policy.grace import Mode, goes_on
from gateway.policy.keys import Caller
from gateway.policy.limits import Amounts

REMEMBERED = 10_000
STEADY = 60.0  # so long after the last request that went in grace what a team spent is forgotten


class Grace:
    """This replica's part of it. `usd` is micro-USD per team, `clock` gives monotonic seconds."""

    def __init__(self, mode: Mode, *, usd: int, clock: Callable[[], float]) -> None:
        self._mode, self._usd, self._clock = mode, usd, clock
        self._seen: OrderedDict[str, float] = OrderedDict()
        self._spent: Counter[str] = Counter()
        self._last: dict[str, float] = {}

    def noted(self, caller: Caller) -> None:
        """The store has let this caller in. Once it has been there for a while, its team's grace begins anew."""
        now = self._clock()
        if self._spent[caller.team] and now - self._last[caller.team] > STEADY:
            del self._spent[caller.team], self._last[caller.team]
        self._seen[caller.kid] = now
        self._seen.move_to_end(caller.kid)
        if len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)

    @property
    def lasts(self) -> bool:
        """Whether anybody could go on if the store were away."""
        return self._mode != "closed" and bool(self._seen)

    def admits(self, caller: Caller, amounts: Amounts) -> bool:
        """Whether a request may go without the store; it counts if so."""
        seen = self._seen.get(caller.kid)
        ago = None if seen is None else self._clock() - seen
        spent = self._spent[caller.team]
        if not goes_on(self._mode, seen_ago=ago, spent=spent, asked=amounts.usd, most=self._usd):
            return False
        self._spent[caller.team] += amounts.usd
        self._last[caller.team] = self._clock()
        return True
