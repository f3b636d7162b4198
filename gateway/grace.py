"""Who was let in lately, and what was let go while the store is away; the rule is in `policy/grace.py`."""

from collections import Counter, OrderedDict
from collections.abc import Callable

from gateway.policy.grace import Mode, goes_on
from gateway.policy.keys import Caller
from gateway.policy.limits import Amounts

REMEMBERED = 10_000


class Grace:
    """This replica's part of it. `usd` is micro-USD per team, `clock` gives monotonic seconds."""

    def __init__(self, mode: Mode, *, usd: int, clock: Callable[[], float]) -> None:
        self._mode, self._usd, self._clock = mode, usd, clock
        self._seen: OrderedDict[str, float] = OrderedDict()
        self._spent: Counter[str] = Counter()

    def noted(self, kid: str) -> None:
        """The store has let a key in: it is there, and the grace begins anew."""
        self._spent.clear()
        self._seen[kid] = self._clock()
        self._seen.move_to_end(kid)
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
        return True
