"""Anything that may happen to quotas, in any order, on a real server against a small model of them."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import astuple, dataclass, field, replace
from datetime import UTC, date, datetime
from itertools import product
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import redis
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from gateway.errors import Refused
from gateway.policy.ids import began, request_id
from gateway.policy.limits import NOTHING, PERIODS, Amounts, Limit
from gateway.policy.metering import Expiry
from gateway.store.leases import Leases
from gateway.store.limits import LEASE_MS, Offer
from gateway.store.usage import Spent
from tests.store.conftest import rooms_on

START = 1_750_000_000_000  # 2025-06-15 15:06:40 UTC
ZONE = "Asia/Kathmandu"  # 5 h 45 min ahead
EPOCH = date(1970, 1, 1).toordinal()
UPSTREAMS = ("one", "two", "three")
MEASURES = ("usd", "audio_seconds", "characters", "requests")
Sums = Counter[tuple[str, str]]
Asked = Counter[str]  # by measure
Offered = list[tuple[str, Amounts]]

# -- the model


@dataclass
class Scope:
    zone: str
    limits: tuple[Limit, ...] = ()
    ids: tuple[int, ...] = (0, 0, 0, 0, 0)
    sums: Sums = field(default_factory=Counter)  # by period, or "held", and measure

    def at(self, ms: int) -> "Scope":
        """The scope at a moment: windows that are over, or far ahead because the clock was set back, begin anew."""
        local = datetime.fromtimestamp(ms // 1000, UTC).astimezone(ZoneInfo(self.zone))
        hour = (ms // 1000 + local.utcoffset().seconds % 3600) // 3600
        now = (ms // 60_000, hour, local.toordinal() - EPOCH, local.year * 12 + local.month - 1, 1)
        new = {per for per, one, was in zip(PERIODS, now, self.ids, strict=True) if not was - 1 <= one <= was}
        ids = tuple(one if per in new else was for per, one, was in zip(PERIODS, now, self.ids, strict=True))
        return replace(self, ids=ids, sums=Counter({what: n for what, n in self.sums.items() if what[0] not in new}))

    def over(self, asked: Asked) -> list[Limit]:
        return [
            one
            for one in self.limits
            if self.sums[one.per, one.measure] + self.sums["held", one.measure] + asked[one.measure] > one.amount
        ]

    def add(self, amounts: Asked, *periods: str, sign: int = 1) -> None:
        for per, (measure, amount) in product(periods, amounts.items()):
            self.sums[per, measure] += sign * amount


@dataclass
class Model:
    now: int = START
    scopes: dict[str, Scope] = field(default_factory=dict)
    held: dict[str, tuple[str, Asked]] = field(default_factory=dict)
    leases: dict[str, int] = field(default_factory=dict)
    expired: dict[str, tuple[str, Asked, dict[str, Scope]]] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)
    charged: set[tuple[str, str]] = field(default_factory=set)  # which failed attempts are: request, upstream

    def found(self, *names: str) -> dict[str, Scope]:
        return {name: self.scopes[name].at(self.now) for name in names}

    def move(self, rid: str, offers: Sequence[tuple[str, Asked]], spent: Asked | None = None) -> str | None:
        for upstream, asked in offers:
            source, had = self.held.get(rid, (upstream, Counter()))
            scopes = self.found("alice", "default", upstream, source)
            for name in ("alice", "default", source):
                scopes[name].add(had, "held", sign=-1)
            if not any(scopes[name].over(asked) for name in ("alice", "default", upstream)):
                for name in ("alice", "default", upstream):
                    scopes[name].add(asked, "held")
                if spent:
                    scopes[source].add(spent, *PERIODS)
                    self.charged.add((rid, source))
                self.scopes |= scopes
                self.held[rid] = (upstream, asked)
                return upstream
        return None

    def settle(self, rid: str, named: str, used: Asked, costs: Sequence[tuple[str, Asked]]) -> bool:
        if rid in self.done:
            return False
        self.done.add(rid)
        self.leases.pop(rid, None)
        held, expired = self.held.pop(rid, None), self.expired.pop(rid, None)
        upstream, had = held or (expired[0] if expired else named, Counter())
        for name, scope in self.found("alice", "default", upstream).items():
            if expired:
                old = dict(zip(PERIODS, expired[2][name].ids, strict=True))
                same = [per for per, now in zip(PERIODS, scope.ids, strict=True) if now == old[per]]
                scope.add(expired[1], *same, sign=-1)
            scope.add(had, "held", sign=-1)
            self.scopes[name] = scope
        for place, (name, amounts) in enumerate([("alice", used), ("default", used), *costs]):
            if (rid, name) not in self.charged or (place == 2 and name == upstream):
                self.scopes |= self.found(name)
                self.scopes[name].add(amounts, *PERIODS)
        return True

    def reap(self, policy: Expiry) -> set[str]:
        over = {rid for rid, till in self.leases.items() if till <= self.now}
        for rid in over:
            upstream, had = self.held.pop(rid)
            scopes = self.found("alice", "default", upstream)
            used = had if policy == "charge" else Counter()
            for scope in scopes.values():
                scope.add(had, "held", sign=-1)
                scope.add(used, *PERIODS)
            self.expired[rid] = (upstream, used, scopes)
            self.scopes |= scopes
            del self.leases[rid]
        return over


# -- what happens

quotas = st.builds(Limit, st.sampled_from(MEASURES[:3]), st.sampled_from(PERIODS), st.integers(20, 200))
counts = st.builds(Limit, st.just("requests"), st.sampled_from(PERIODS[2:]), st.integers(2, 20))
at_once = st.builds(Limit, st.just("concurrency"), st.just(""), st.integers(1, 6))
limits = st.lists(quotas | counts | at_once, max_size=3, unique_by=lambda limit: (limit.measure, limit.per))
amounts = st.builds(Amounts, usd=st.integers(0, 40), ms=st.integers(0, 40), characters=st.integers(0, 40))
upstreams = st.sampled_from(UPSTREAMS)
policies = st.sampled_from(["charge", "charge", "refund", "mark"])
offers = st.lists(st.tuples(upstreams, amounts), min_size=1, max_size=3, unique_by=lambda offer: offer[0])
times = st.one_of(
    *(st.sampled_from([1, LEASE_MS - 1, LEASE_MS, LEASE_MS]), st.integers(0, 2_000), st.integers(0, 90_000)),
    *(st.integers(0, 4 * 3_600_000), st.integers(0, 3 * 86_400_000), st.integers(0, 70 * 86_400_000)),
)


class Quotas(RuleBasedStateMachine):
    """The numbers are the model's always; limits hold as long as nobody uses more than was reserved (`kept`).

    In a third of the runs (`honest`) nobody does, and nobody comes back after it was taken for dead.
    """

    url = ""

    def __init__(self) -> None:
        super().__init__()
        with redis.Redis.from_url(self.url) as client:
            client.flushall()
        self.model, self.kept, self.honest, self.number = Model(), True, True, 0
        self.runner, self.stack = asyncio.Runner(), AsyncExitStack()
        self.rooms = self.runner.run(self.stack.enter_async_context(rooms_on(self.url)))
        self.leases = Leases(self.rooms.connection)

    def run(self, work: Any) -> Any:
        self.rooms.connection.now_ms = self.model.now
        return self.runner.run(work)

    def teardown(self) -> None:
        try:
            rows = self.run(self.rooms.raw.xrange("{ag}:usage"))
            billed = sum(int(row[b"cost_micro_usd"]) - int(row.get(b"takes_back", 0)) for _, row in rows)
            assert billed == (self.model.scopes["alice"].sums["total", "usd"] if rows else 0), "what the limits say"
        finally:
            self.run(self.stack.aclose())
            self.runner.close()

    @initialize(key=limits, team=limits, upstream=limits, honest=st.sampled_from([True, False, False]))
    def begin(self, key: list[Limit], team: list[Limit], upstream: list[Limit], honest: bool) -> None:
        zones = {"alice": ZONE, "default": ZONE, **dict.fromkeys(UPSTREAMS, "UTC")}
        self.model.scopes = {name: Scope(zone) for name, zone in zones.items()}
        self.honest = honest
        self.declare(key, team, upstream)

    def declare(self, *told: Sequence[Limit], revoked: bool = False) -> None:
        names = ("alice", "default", "one")
        for name, some in zip(names, told, strict=False):
            self.model.scopes[name].limits = tuple(some)
        key, team, upstream = (self.model.scopes[name].limits for name in names)
        self.run(self.rooms.declare(key=key, team=team, upstream=upstream, timezone=ZONE, revoked=revoked))

    # -- the world

    @rule(key=limits, team=limits, upstream=limits)
    def change_limits(self, key: list[Limit], team: list[Limit], upstream: list[Limit]) -> None:
        self.declare(key, team, upstream)
        self.kept = self.kept and not any(scope.at(self.model.now).over(Counter()) for scope in self.scopes())

    @rule(ms=times | st.integers(-90_000, 0))
    def wait(self, ms: int) -> None:
        """Or set the clock back."""
        self.model.now += ms

    # -- a request's life

    def rid(self) -> str:
        self.number += 1
        return request_id(self.model.now, self.number.to_bytes(10))

    def admitted(self, rid: str, offered: Offered) -> str:
        try:
            rooms, some = self.rooms, [Offer(*one) for one in offered]
            return str(
                self.run(rooms.limits.admit(rid, rooms.caller, rooms.presented, offers=some, began=began(rid))).upstream
            )
        except Refused as refused:
            return "full" if refused.name in ("quota", "rate_limit", "over_limit") else refused.name

    @rule(several=st.lists(offers, min_size=1, max_size=3))
    def admit(self, several: list[Offered]) -> None:
        for offered in several:
            rid = self.rid()
            expected = self.model.move(rid, all_plain(offered))
            assert self.admitted(rid, offered) == (expected or "full")
            if expected is not None:
                self.model.leases[rid] = self.model.now + LEASE_MS

    @precondition(lambda self: self.model.held)
    @rule(data=st.data(), offered=offers)
    def admit_again(self, data: st.DataObject, offered: Offered) -> None:
        """As a gateway does that got no answer; it may be settled before that comes to the store."""
        rid = data.draw(st.sampled_from(sorted(self.model.held) + sorted(self.model.done)))
        assert self.admitted(rid, offered) == (self.model.held[rid][0] if rid in self.model.held else "store_down")

    @precondition(lambda self: self.model.held)
    @rule(data=st.data(), offered=offers, source=upstreams, billed=st.sampled_from([True, True, False]))
    def switch(self, data: st.DataObject, offered: Offered, source: str, billed: bool) -> None:
        """From where it is; or from where it is not any more, because the answer of the last switch was lost."""
        rid = data.draw(st.sampled_from(sorted(self.model.held)))
        at, held = self.model.held[rid]
        if at not in [name for name, _ in offered]:
            source = at
        spent = Amounts(*(held[measure] for measure in MEASURES)) if billed else NOTHING
        some = [Offer(*one) for one in offered if one[0] != source]
        told = self.run(self.rooms.limits.switch(rid, self.rooms.caller, held=source, offers=some, spent=spent))
        if source == at:
            offered = [one for one in offered if one[0] != at]
            assert told == self.model.move(rid, all_plain(offered), plain(spent) if billed else None)
        else:
            assert told == at

    def settled(self, rid: str, named: str, used: Amounts, cost: Amounts, failed: Mapping[str, Amounts]) -> None:
        spent = [Spent(name, one) for name, one in failed.items()]
        words = {"usd": used.usd, "ms": used.ms, "characters": used.characters, "requests": used.requests}
        one = self.rooms.settlement(rid, named, began=began(rid), cost=cost, failed=spent, **words)
        told = self.run(self.rooms.usage.settle(one))
        assert told == self.model.settle(rid, named, plain(used), all_plain([(named, cost), *failed.items()]))

    @precondition(lambda self: self.model.held)
    @rule(data=st.data(), named=upstreams, part=st.sampled_from([0, 0.5, 1, 1]))
    def settle(self, data: st.DataObject, named: str, part: float) -> None:
        """For at most what was reserved, where that is held; if not `honest`, another upstream may have served."""
        rid = data.draw(st.sampled_from(sorted(self.model.held)))
        at, held = self.model.held[rid]
        named = at if self.honest else named
        self.kept = self.kept and named == at
        used = Amounts(*(int(part * held[measure]) for measure in MEASURES[:3]), requests=int(part > 0))
        self.settled(rid, named, used, used, {})

    @precondition(lambda self: self.model.done)
    @rule(data=st.data(), named=upstreams, used=amounts)
    def settle_once_more(self, data: st.DataObject, named: str, used: Amounts) -> None:
        self.settled(data.draw(st.sampled_from(sorted(self.model.done))), named, used, used, {named: used})

    @precondition(lambda self: not self.honest)
    @rule(
        data=st.data(),
        how=st.sampled_from(["late", "late", "late", "for more", "unknown"]),
        named=upstreams,
        used=amounts,
        cost=amounts,
        failed=st.dictionaries(upstreams, amounts, max_size=2),
        policy=policies,
        ms=times,
    )
    def settle_oddly(
        self,
        data: st.DataObject,
        how: str,
        named: str,
        used: Amounts,
        cost: Amounts,
        failed: dict[str, Amounts],
        policy: Expiry,
        ms: int,
    ) -> None:
        """What was taken for dead comes back; or more was used than reserved; or the store never knew of it."""
        if how == "late" and not self.model.expired and self.model.held:
            self.model.now = max(self.model.now, *self.model.leases.values())
            self.reap(policy)
            self.model.now += ms
        rids = {"late": self.model.expired, "for more": self.model.held}.get(how)
        rid, self.kept = data.draw(st.sampled_from(sorted(rids))) if rids else self.rid(), False
        self.settled(rid, named, used, cost, failed)

    # -- leases and keys

    @rule(policy=policies)
    def reap(self, policy: Expiry) -> None:
        assert {one.rid for one in self.run(self.leases.reap(policy))} == self.model.reap(policy)

    @precondition(lambda self: self.model.held)
    @rule(policy=policies, ms=st.sampled_from([-1, 0, 90_000]))
    def the_gateway_of_the_last_one_dies(self, policy: Expiry, ms: int) -> None:
        self.model.now = max(self.model.leases.values()) + ms
        self.reap(policy)
        assert len(self.model.held) <= (len(self.model.leases) if ms < 0 else 0)

    @precondition(lambda self: self.model.held)
    @rule(revoked=st.booleans())
    def revoked_for_a_while(self, revoked: bool) -> None:
        self.declare(revoked=True)
        assert self.admitted(self.rid(), [("two", Amounts())]) == "revoked_key"
        rid = max(self.model.held)
        assert self.run(self.leases.renew({rid: self.rooms.caller})) == {rid: "revoked"}
        self.model.leases[rid] = self.model.now + LEASE_MS
        self.declare()

    @precondition(lambda self: self.model.held)
    @rule(data=st.data())
    def renew(self, data: st.DataObject) -> None:
        rids = data.draw(st.lists(st.sampled_from(sorted(self.model.held)), unique=True))
        told = self.run(self.leases.renew({rid: self.rooms.caller for rid in [*rids, "lost"]}))
        assert told == {**dict.fromkeys(rids, "active"), "lost": "lost"}
        self.model.leases |= dict.fromkeys(rids, self.model.now + LEASE_MS)

    def scopes(self) -> list[Scope]:
        return list(self.model.scopes.values())

    @invariant()
    def the_numbers_are_the_model_s(self) -> None:
        for name, scope in self.model.scopes.items():
            found = self.run(self.rooms.numbers(name))
            sums = {per: tuple(scope.sums[per, measure] for measure in MEASURES) for per in ("held", *PERIODS)}
            assert (found.flying, found.ids) == (scope.sums["held", "concurrency"], scope.ids), name
            assert {"held": found.reserved, **found.used} == sums, name
            assert min(found.flying, *found.reserved) >= 0

    @invariant()
    def no_limit_is_exceeded(self) -> None:
        if self.kept:
            for scope in self.scopes():
                assert scope.at(self.model.now).over(Counter()) == []


def plain(one: Amounts) -> Asked:
    """Amounts as the model takes them. (What is used up counts no requests at once; nobody asks for that.)"""
    return Counter(dict(zip((*MEASURES, "concurrency"), (*astuple(one), 1), strict=True)))


def all_plain(offered: Iterable[tuple[str, Amounts]]) -> list[tuple[str, Asked]]:
    return [(name, plain(one)) for name, one in offered]


QUICK = {"max_examples": 100, "stateful_step_count": 30, "phases": [Phase.generate]}
LONG = {"max_examples": 200, "stateful_step_count": 100, "phases": [Phase.generate, Phase.shrink]}


@pytest.mark.parametrize(
    "effort",
    [QUICK, pytest.param(LONG, marks=[pytest.mark.soak, pytest.mark.timeout(900)])],
    ids=["3,000 steps", "20,000 steps"],
)
def test_quotas_are_the_model_s_whatever_happens(url, effort):
    machine = type("Machine", (Quotas,), {"url": url})
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    options = settings(deadline=None, database=None, suppress_health_check=checks, **effort)
    run_state_machine_as_test(machine, settings=options)
