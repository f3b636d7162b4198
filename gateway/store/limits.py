"""Admission: one script each for asking, and for moving to another upstream."""

import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import astuple, dataclass
from functools import partial
from typing import Any, TypedDict

from gateway.errors import refuse
from gateway.policy.keys import Caller, Presented, refused_state
from gateway.policy.limits import MEASURES, NOTHING, PERIODS, RATES, Amounts, Denial, Limit, denied
from gateway.store.connection import Connection, refusal
from gateway.store.grants import Grants
from gateway.store.hours import hour_and_day
from gateway.store.together import Together

# Gateways renew the leases of what they run every few seconds; what is not renewed is gone with its gateway.
LEASE_MS = 60_000
FILLS = 20  # times that a shard asks for more before a request is refused for an upstream's limit
_MEASURES = tuple(MEASURES)


@dataclass(frozen=True, slots=True)
class Offer:
    """A candidate as the script sees it: the upstream's name, and what the request reserves there."""

    upstream: str
    amounts: Amounts


@dataclass(frozen=True, slots=True)
class Admission:
    """A request that may go, to `upstream`. The tightest limit on requests, -1 where there is none.

    `team_window` is the period in which the team has least left, "" without limits, `team_remaining` that part (0-1).
    """

    upstream: str
    limit: int = -1
    remaining: int = -1
    reset_ms: int = -1
    team_window: str = ""
    team_remaining: float = 1.0


class Told(TypedDict):
    """What a reservation says of its request."""

    model: str
    route: str


class Asked(Told):
    """A request as `admit.lua` reads it."""

    rid: str
    key: str
    team: str
    digest: str
    versions: tuple[str, str]
    hour: str
    offers: Sequence[Sequence[str | int]]
    peek: bool


NOTHING_TOLD: Told = {"model": "", "route": ""}


class Stale(Exception):
    """The records of key or team have changed since the caller was read: read them again."""


class Limits:
    """What `admit.lua` and `switch.lua` decide."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._grants = Grants(connection)
        self._admits = {one: Together[Asked, Any](partial(_admitted, one)) for one in connection.shards}

    def gone(self, caller: Caller) -> bool:
        """Whether the store is not there for a caller, as far as is known; see Connection."""
        return self._connection.of(caller.team).gone

    async def admit(
        self,
        rid: str,
        caller: Caller,
        presented: Presented,
        *,
        offers: Sequence[Offer],
        began: float = 0.0,
        told: Told = NOTHING_TOLD,
        peek: bool = False,
    ) -> Admission:
        """Check key and limits, reserve at the first upstream with room. `peek` checks alone.

        `began`: when the request did, seconds since 1970; it is settled in that hour. `told` is for the record that
        others write should this gateway die. Raises Refused (401, 429, 503), Stale.
        """
        shard = self._connection.of(caller.team)
        asked: Asked = {
            "rid": rid,
            "key": caller.kid,
            "team": caller.team,
            "digest": caller.digest,
            "versions": caller.versions,
            "hour": hour_and_day(began)[0],
            "offers": _rows(offers),
            "peek": peek,
            **told,
        }
        answer = await self._filled(shard, partial(self._admits[shard].ask, asked))
        word = answer[0]
        if word == "ok":
            limit, remaining, reset, window, left = (int(number) for number in answer[2:7])
            period = PERIODS[window - 1] if window > 0 else ""
            return Admission(str(answer[1]), limit, remaining, reset, team_window=period, team_remaining=left / 1000)
        if word == "stale":
            raise Stale
        if word == "over":
            raise refuse("store_down", retry_after=1)
        if word == "full":
            raise denied([_denial(row, caller) for row in answer[1:]])
        raise refused_state(str(answer[1]) if word == "state" else word, presented)

    async def switch(
        self, rid: str, caller: Caller, *, held: str, offers: Sequence[Offer], spent: Amounts = NOTHING
    ) -> str | None:
        """Move the reservation from upstream `held` to the first of `offers` with room; None where none has.

        `spent`: what the attempt there may cost all the same; it counts there from now on. Raises Refused (503).
        """
        shard = self._connection.of(caller.team)
        keys = [*_scopes(shard, caller), shard.name("held"), shard.name("u", held), *_upstreams(shard, offers)]
        args = [rid, held, *astuple(spent), json.dumps(_rows(offers))]
        answer = await self._filled(shard, partial(shard.run, "switch", keys, args))
        return str(answer[1]) if answer[0] == "ok" else None

    async def _filled(self, shard: Connection, ask: Callable[[], Awaitable[object]]) -> list[Any]:
        """The answer; where a shard only lacks a part of an upstream's quota, that is drawn first."""
        answer: list[Any] = []
        for _ in range(FILLS):
            found = await ask()
            assert isinstance(found, list)
            answer = found
            if answer[0] != "full" or not await self._grants.fill(shard, answer[1:]):
                break
        return answer


async def _admitted(shard: Connection, some: Sequence[Asked]) -> list[Any]:
    """What `admit.lua` says to each. Raises Refused (503)."""
    names = [
        parts
        for one in some
        for parts in (
            ("k", one["key"]),
            ("t", one["team"]),
            ("done", one["hour"]),
            *(("u", str(offer[0])) for offer in one["offers"]),
        )
    ]
    keys = [shard.name("leases"), shard.name("held"), *(shard.name(*parts) for parts in dict.fromkeys(names))]
    answers = await shard.run("admit", keys, [LEASE_MS, json.dumps(some)])
    assert isinstance(answers, list)
    return [refusal(answer[1]) if answer[0] == "error" else answer for answer in answers]


def limits_text(limits: Sequence[Limit], *, drawn: bool = False) -> list[object]:
    """Limits as `declare.lua` takes them. `drawn`: several shards draw from these quotas."""
    most = min((limit.amount for limit in limits if not limit.per), default=0)
    return [most, *(_row(limit, drawn) for limit in limits if limit.per)]


def _row(limit: Limit, drawn: bool) -> list[int | bool]:
    row = [_MEASURES.index(limit.measure) + 1, PERIODS.index(limit.per) + 1, limit.amount]
    if (limit.measure, limit.per) in RATES:
        return [*row, limit.burst or limit.amount]
    return [*row, False, True] if drawn else [*row]


def _scopes(shard: Connection, caller: Caller) -> tuple[str, str]:
    return shard.name("k", caller.kid), shard.name("t", caller.team)


def _upstreams(shard: Connection, offers: Sequence[Offer]) -> list[str]:
    return [shard.name("u", offer.upstream) for offer in offers]


def _rows(offers: Sequence[Offer]) -> list[list[str | int]]:
    return [[one.upstream, one.amounts.usd, one.amounts.ms, one.amounts.characters] for one in offers]


def _denial(row: Sequence[object], caller: Caller) -> Denial:
    scope, candidate = str(row[0]), str(row[1])
    measure, window, limit, used, asked, wait = (int(str(number)) for number in row[2:8])
    names = {"key": caller.name, "team": caller.team, "upstream": candidate}
    per = PERIODS[window - 1] if window else ""
    return Denial(
        scope,
        names[scope],
        Limit(_MEASURES[measure - 1], per, limit),
        used=used,
        asked=asked,
        wait_ms=None if wait < 0 else wait,
    )
