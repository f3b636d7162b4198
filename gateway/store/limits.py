"""Admission: one script each for asking, and for moving to another upstream."""

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Any, TypedDict

from gateway.errors import refuse
from gateway.policy.keys import Caller, Presented, refused_state
from gateway.policy.limits import MEASURES, NOTHING, PERIODS, RATES, Amounts, Denial, Limit, denied
from gateway.store.connection import Connection
from gateway.store.grants import Grants
from gateway.store.hours import hour_and_day

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


NOTHING_TOLD: Told = {"model": "", "route": ""}


class Stale(Exception):
    """The records of key or team have changed since the caller was read: read them again."""


class Limits:
    """What `admit.lua` and `switch.lua` decide."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._grants = Grants(connection)

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
        books = [shard.name("leases"), shard.name("held"), shard.name("done", hour_and_day(began)[0])]
        keys = [*_scopes(shard, caller), *books, *_upstreams(shard, offers)]
        args: list[str | int] = [rid, caller.digest, *caller.versions, LEASE_MS, "peek" if peek else "admit"]
        answer = await self._ask(shard, "admit", keys, [*args, *_rows(offers), told["model"], told["route"]])
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
        answer = await self._ask(shard, "switch", keys, [rid, held, *astuple(spent), *_rows(offers)])
        return str(answer[1]) if answer[0] == "ok" else None

    async def _ask(self, shard: Connection, script: str, keys: list[str], args: list[str | int]) -> list[Any]:
        """The script's answer; where a shard only lacks a part of an upstream's quota, that is drawn first."""
        answer: list[Any] = []
        for _ in range(FILLS):
            found = await shard.run(script, keys, args)
            assert isinstance(found, list)
            answer = found
            if answer[0] != "full" or not await self._grants.fill(shard, answer[1:]):
                break
        return answer


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


def _rows(offers: Sequence[Offer]) -> list[str | int]:
    found: list[str | int] = []
    for offer in offers:
        found += [offer.upstream, offer.amounts.usd, offer.amounts.ms, offer.amounts.characters]
    return found


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
