"""Anything that may happen to quotas, in any order, on a real server against a small model of them."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from copy import deepcopy
from dataclasses import astuple, dataclass, field, replace
from datetime import UTC, date, datetime
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
from gateway.policy.limits import PERIODS, Amounts, Limit
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
Numbers = tuple[int, ...]

# -- the model


@dataclass
class Scope:
    zone: str
    ids: Numbers = (0, 0, 0, 0, 0)
    flying: int = 0
    reserved: Numbers = (0, 0, 0, 0)
    used: list[Numbers] = field(default_factory=lambda: [(0, 0, 0, 0)] * 5)
    limits: tuple[Limit, ...] = ()

    def at(self, ms: int) -> "Scope":
        """The scope with the windows of a moment: those that are not the same begin anew."""
        local = datetime.fromtimestamp(ms // 1000, UTC).astimezone(ZoneInfo(self.zone))
        part = int(local.utcoffset().total_seconds()) % 3600  # type: ignore[union-attr]
        month = local.year * 12 + local.month - 1
        now = (ms // 60_000, (ms // 1000 + part) // 3600, local.toordinal() - EPOCH, month, 1)
        new = [one > was or one < was - 1 for one, was in zip(now, self.ids, strict=True)]
        ids = tuple(one if is_new else was for one, was, is_new in zip(now, self.ids, new, strict=True))
        used = [(0, 0, 0, 0) if is_new else old for old, is_new in zip(self.used, new, strict=True)]
        return replace(self, ids=ids, used=used)

    def over(self, asked: Numbers) -> list[Limit]:
        """The limits that do not have this much left."""
        level = {
            (name, per): self.used[window][place] + self.reserved[place] + asked[place]
            for place, name in enumerate(MEASURES)
            for window, per in enumerate(PERIODS)
        }
        level["concurrency", ""] = self.flying + asked[3]
        return [limit for limit in self.limits if level[limit.measure, limit.per] > limit.amount]

    def reserve(self, amounts: Numbers, sign: int) -> None:
        self.flying += sign
        self.reserved = plus(self.reserved, amounts, sign)

    def charge(self, amounts: Numbers, sign: int = 1, ids: Numbers | None = None) -> None:
        for window in range(5):
            if ids is None or ids[window] == self.ids[window]:
                self.used[window] = plus(self.used[window], amounts, sign)


def plus(one: Numbers, other: Numbers, sign: int) -> Numbers:
    return tuple(a + sign * b for a, b in zip(one, other, strict=True))


@dataclass
class Model:
    now: int = START
    revoked: bool = False
    scopes: dict[str, Scope] = field(default_factory=dict)
    held: dict[str, tuple[str, Numbers]] = field(default_factory=dict)
    leases: dict[str, int] = field(default_factory=dict)
    expired: dict[str, tuple[str, Numbers, dict[str, Numbers]]] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)

    def found(self, *names: str) -> dict[str, Scope]:
        return {name: deepcopy(self.scopes[name]).at(self.now) for name in names}

    def move(self, rid: str, offers: Sequence[tuple[str, Numbers]]) -> str | None:
        """Reserve at the first with room, and give up what is held elsewhere; all or nothing."""
        source, amounts = self.held.get(rid, ("", (0, 0, 0, 0)))
        for upstream, asked in offers:
            scopes = self.found("alice", "default", upstream, *([source] if source else []))
            for name in ("alice", "default", source) if source else ():
                scopes[name].reserve(amounts, -1)
            if not any(scopes[name].over(asked) for name in ("alice", "default", upstream)):
                for name in ("alice", "default", upstream):
                    scopes[name].reserve(asked, 1)
                self.scopes |= scopes
                self.held[rid] = (upstream, asked)
                return upstream
        return None

    def settle(self, rid: str, upstream: str, used: Numbers, cost: Numbers, failed: dict[str, Numbers]) -> bool:
        if rid in self.done:
            return False
        self.done.add(rid)
        held = self.held.pop(rid, None)
        expired = self.expired.pop(rid, None)
        self.leases.pop(rid, None)
        upstream = (held or expired or (upstream,))[0]
        scopes = self.found("alice", "default", upstream)
        for name, scope in scopes.items():
            if expired is not None:
                scope.charge(expired[1], -1, expired[2][name])
            if held is not None:
                scope.reserve(held[1], -1)
            scope.charge(cost if name == upstream else used)
        self.scopes |= scopes
        for name, amounts in failed.items():
            self.scopes |= self.found(name)
            self.scopes[name].charge(amounts)
        return True

    def reap(self, policy: Expiry) -> set[str]:
        over = {rid for rid, till in self.leases.items() if till <= self.now}
        for rid in over:
            upstream, amounts = self.held.pop(rid)
            used = amounts if policy == "charge" else (0, 0, 0, 0)
            scopes = self.found("alice", "default", upstream)
            for scope in scopes.values():
                scope.reserve(amounts, -1)
                scope.charge(used)
            self.expired[rid] = (upstream, used, {name: scope.ids for name, scope in scopes.items()})
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
offers = st.lists(st.tuples(upstreams, amounts), min_size=1, max_size=3, unique_by=lambda offer: offer[0])
times = st.one_of(
    *(st.integers(0, 1_500), st.integers(0, 90_000), st.integers(0, 4 * 3_600_000)),
    *(st.integers(0, 3 * 86_400_000), st.integers(0, 70 * 86_400_000)),
)


class Quotas(RuleBasedStateMachine):
    """Limits hold as long as nobody uses more than was reserved (`kept`), and the numbers are the model's always."""

    url = ""

    def __init__(self) -> None:
        super().__init__()
        with redis.Redis.from_url(self.url) as client:
            client.flushall()
        self.runner, self.stack = asyncio.Runner(), AsyncExitStack()
        self.rooms = self.run(self.stack.enter_async_context(rooms_on(self.url)))
        self.model, self.kept, self.number = Model(), True, 0
        self.leases = Leases(self.rooms.connection)
        self.spent = 0

    def run(self, work: Any) -> Any:
        self.rooms_now()
        return self.runner.run(work)

    def rooms_now(self) -> None:
        if hasattr(self, "rooms"):
            self.rooms.connection.now_ms = self.model.now

    def teardown(self) -> None:
        try:
            rows = self.run(self.rooms.raw.xrange("{ag}:usage"))
            billed = sum(int(row[b"cost_micro_usd"]) - int(row.get(b"takes_back", 0)) for _, row in rows)
            assert billed == self.spent
            if "alice" in self.model.scopes:
                assert billed == self.model.scopes["alice"].used[4][0], "the records say what the limits say"
        finally:
            self.run(self.stack.aclose())
            self.runner.close()

    @initialize(key=limits, team=limits, upstream=limits)
    def begin(self, key: list[Limit], team: list[Limit], upstream: list[Limit]) -> None:
        zones = {"alice": ZONE, "default": ZONE, **dict.fromkeys(UPSTREAMS, "UTC")}
        self.model.scopes = {name: Scope(zone) for name, zone in zones.items()}
        self.declared(key, team, upstream)

    def declared(self, key: Sequence[Limit], team: Sequence[Limit], upstream: Sequence[Limit]) -> None:
        scopes = self.model.scopes
        scopes["alice"].limits, scopes["default"].limits = tuple(key), tuple(team)
        scopes["one"].limits = tuple(upstream)
        told = {"key": key, "team": team, "upstream": upstream, "timezone": ZONE, "revoked": self.model.revoked}
        self.run(self.rooms.declare(**told))

    @rule(key=limits, team=limits, upstream=limits)
    def change_limits(self, key: list[Limit], team: list[Limit], upstream: list[Limit]) -> None:
        self.declared(key, team, upstream)
        self.kept = self.kept and not any(scope.at(self.model.now).over((0, 0, 0, 0)) for scope in self.scopes())

    @rule()
    def revoke_or_bring_back(self) -> None:
        self.model.revoked = not self.model.revoked
        scopes = self.model.scopes
        self.declared(*(scopes[name].limits for name in ("alice", "default", "one")))

    @rule(ms=times)
    def wait(self, ms: int) -> None:
        self.model.now += ms

    @rule(ms=st.integers(1, 90_000))
    def set_the_clock_back(self, ms: int) -> None:
        self.model.now -= ms

    @rule(offered=offers)
    def admit(self, offered: list[tuple[str, Amounts]]) -> None:
        self.number += 1
        rid = request_id(self.model.now, self.number.to_bytes(10))
        told = self.admitted(rid, offered)
        if self.model.revoked:
            assert told == "revoked_key"
            return
        expected = self.model.move(rid, [(name, astuple(one)) for name, one in offered])
        assert told == (expected or "full")
        if expected is not None:
            self.model.leases[rid] = self.model.now + LEASE_MS

    @precondition(lambda self: self.model.held and not self.model.revoked)
    @rule(data=st.data(), offered=offers)
    def admit_again(self, data: st.DataObject, offered: list[tuple[str, Amounts]]) -> None:
        rid = data.draw(st.sampled_from(sorted(self.model.held)))
        assert self.admitted(rid, offered) == self.model.held[rid][0]

    def admitted(self, rid: str, offered: list[tuple[str, Amounts]]) -> str:
        try:
            return str(self.run(self.rooms.admit(rid, offers=[Offer(*one) for one in offered])).upstream)
        except Refused as refused:
            return "full" if refused.name in ("quota", "rate_limit", "over_limit") else refused.name

    @precondition(lambda self: self.model.held)
    @rule(data=st.data(), offered=offers, source=st.sampled_from(["its own", "its own", *UPSTREAMS]))
    def switch(self, data: st.DataObject, offered: list[tuple[str, Amounts]], source: str) -> None:
        """From where it is; or from where it is not any more, because the answer of the last switch was lost."""
        rid = data.draw(st.sampled_from(sorted(self.model.held)))
        at = self.model.held[rid][0]
        source = at if source == "its own" else source
        if source == at:
            offered = [one for one in offered if one[0] != at]
        told = self.run(self.rooms.switch(rid, source, offers=[Offer(*one) for one in offered]))
        if source != at:
            assert told == (at if at in [name for name, _ in offered] else None)
        else:
            assert told == self.model.move(rid, [(name, astuple(one)) for name, one in offered])

    @rule(
        data=st.data(),
        named=upstreams,
        part=st.sampled_from([0, 0.5, 1, 1, 1, 2]),
        failed=st.dictionaries(upstreams, amounts, max_size=1),
    )
    def settle(self, data: st.DataObject, named: str, part: float, failed: dict[str, Amounts]) -> None:
        """In time or late, once more, for a request that was lost, at the right or another upstream."""
        model = self.model
        lost = request_id(model.now, (10**6 + self.number).to_bytes(10))
        rid = data.draw(st.sampled_from([*sorted(model.held), *sorted(model.expired), *sorted(model.done)[:3], lost]))
        held = model.held.get(rid)
        asked = held[1] if held else (10, 10, 10, 1)
        used = Amounts(*(int(part * amount) for amount in asked[:3]), int(part > 0))
        cost = replace(used, usd=used.usd + (3 if part > 1 else 0))
        self.kept = self.kept and (rid in model.done or (held is not None and part <= 1 and not failed))
        spent = [Spent(name, one) for name, one in failed.items()]
        one = self.rooms.settlement(rid, named, began=began(rid), cost=cost, failed=spent, **used_words(used))
        told = self.run(self.rooms.usage.settle(one))
        by_name = {name: astuple(amounts) for name, amounts in failed.items()}
        assert told == model.settle(rid, named, astuple(used), astuple(cost), by_name)
        self.spent = model.scopes["alice"].used[4][0]

    @rule(policy=st.sampled_from(["charge", "refund", "mark"]))
    def reap(self, policy: Expiry) -> None:
        assert {one.rid for one in self.run(self.leases.reap(policy))} == self.model.reap(policy)
        self.spent = self.model.scopes["alice"].used[4][0]

    @rule()
    def every_gateway_dies_and_is_reaped(self) -> None:
        self.model.now += LEASE_MS + 90_000
        self.reap("charge")
        assert not self.model.held

    @precondition(lambda self: self.model.held)
    @rule(data=st.data())
    def renew(self, data: st.DataObject) -> None:
        rids = data.draw(st.lists(st.sampled_from(sorted(self.model.held)), unique=True))
        state = "revoked" if self.model.revoked else "active"
        told = self.run(self.leases.renew({rid: self.rooms.caller for rid in [*rids, "lost"]}))
        assert told == {**dict.fromkeys(rids, state), "lost": "lost"}
        self.model.leases |= dict.fromkeys(rids, self.model.now + LEASE_MS)

    def scopes(self) -> list[Scope]:
        return list(self.model.scopes.values())

    @invariant()
    def the_numbers_are_the_model_s(self) -> None:
        for name, scope in self.model.scopes.items():
            found = self.run(self.rooms.numbers(name))
            assert (found.flying, found.reserved, found.ids) == (scope.flying, scope.reserved, scope.ids), name
            assert [found.used[per] for per in PERIODS] == scope.used, name
            assert min(found.flying, *found.reserved) >= 0

    @invariant()
    def no_limit_is_exceeded(self) -> None:
        if self.kept:
            for scope in self.scopes():
                assert scope.at(self.model.now).over((0, 0, 0, 0)) == []


def used_words(used: Amounts) -> dict[str, int]:
    return {"usd": used.usd, "ms": used.ms, "characters": used.characters, "requests": used.requests}


QUICK = {"max_examples": 25, "stateful_step_count": 40}
LONG = {"max_examples": 100, "stateful_step_count": 100}  # 10,000 steps


@pytest.mark.parametrize("effort", [QUICK, pytest.param(LONG, marks=pytest.mark.soak)], ids=["quick", "long"])
def test_quotas_are_the_model_s_whatever_happens(url, effort):
    machine = type("Machine", (Quotas,), {"url": url})
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    phases = [Phase.generate, Phase.shrink]
    options = {**effort, "suppress_health_check": checks, "phases": phases}
    run_state_machine_as_test(machine, settings=settings(deadline=None, database=None, **options))
