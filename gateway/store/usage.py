"""What was used: each request settled once."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from gateway.errors import Refused, refuse
from gateway.policy.limits import Amounts
from gateway.store.connection import Connection, refusal
from gateway.store.hours import hour_and_day

SETTLED_TTL = 24 * 3600
HOURS_TTL = 90 * 24 * 3600
DAYS_TTL = 400 * 24 * 3600
LOOKS = 5
AT_ONCE = 128  # settlements in one call: the server does nothing else meanwhile


@dataclass(frozen=True, slots=True)
class Spent:
    """What an attempt that failed cost all the same, at this upstream."""

    upstream: str
    amounts: Amounts


@dataclass(slots=True)
class Settlement:
    """A request's end, for the store.

    `used` is charged to the limits of key and team, `cost` to those of the upstream, and what failed attempts cost to
    those of theirs. `sums` (name to amount) are added to the usage of the hour and day in which the request began
    (`began`, seconds since 1970). `record` is kept as it is: fields and values in turn, as the text of a JSON list.
    `on`: the scopes (key, team, upstream) that it is reserved on, where these are not those that it names.
    """

    rid: str
    kid: str
    team: str
    model: str
    upstream: str
    route: str
    began: float
    used: Amounts
    cost: Amounts
    sums: Mapping[str, int]
    record: str
    failed: tuple[Spent, ...] = ()
    on: tuple[str, str, str] | None = None
    text: str = field(default="", init=False, repr=False, compare=False)  # see `written`


def flat(record: str) -> str:
    """The text of a JSON object whose values are texts and numbers, as that of a list of its fields and values."""
    if "\\" in record:  # a quote in a value may be followed by anything
        return json.dumps([part for pair in json.loads(record).items() for part in pair])
    pairs = record[1:-1].replace('": ', '", ')
    return f"[{pairs}]"


def written(one: Settlement) -> str:
    """A settlement as the scripts read it and the journal keeps it: a JSON object."""
    if one.text:
        return one.text
    hour, day = hour_and_day(one.began)
    facts = {
        "rid": one.rid,
        "kid": one.kid,
        "team": one.team,
        "model": one.model,
        "upstream": one.upstream,
        "route": one.route,
        "began": one.began,
        "hour": hour,
        "day": day,
        "used": _four(one.used),
        "cost": _four(one.cost),
        "failed": [[spent.upstream, *_four(spent.amounts)] for spent in one.failed],
        "sums": list(one.sums.items()),
        "on": one.on or _scopes(one),
    }
    one.text = f'{json.dumps(facts)[:-1]}, "record": {one.record}}}'
    return one.text


def read(text: str) -> Settlement:
    """What was written."""
    facts = json.loads(text)
    names = {name: facts[name] for name in ("rid", "kid", "team", "model", "upstream", "route", "began")}
    return Settlement(
        **names,
        used=Amounts(*facts["used"]),
        cost=Amounts(*facts["cost"]),
        failed=tuple(Spent(name, Amounts(*amounts)) for name, *amounts in facts["failed"]),
        sums=dict(facts["sums"]),
        record=json.dumps(facts["record"]),
    )


class Usage:
    """Settled requests."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def settle(self, one: Settlement) -> bool:
        """Charge and record a request; False if that was done before. Raises Refused (503): ask again."""
        (found,) = await self.settle_all([one])
        if isinstance(found, Refused):
            raise found
        return found

    async def settle_all(self, some: Sequence[Settlement]) -> list[bool | Refused]:
        """The same for many; for each whether it was done now, or why not. One that fails leaves the others alone.

        The reservation is released where it is held, even if that is not the upstream that the settlement names.
        """
        found: dict[str, bool | Refused] = {}
        shards: dict[Connection, list[Settlement]] = {}
        for one in some:
            shards.setdefault(self._connection.of(one.team), []).append(one)
        for shard, mine in shards.items():
            for at in range(0, len(mine), AT_ONCE):
                left = mine[at : at + AT_ONCE]
                for _ in range(LOOKS):
                    left = await _settled(shard, left, found) if left else left
        late = refuse("store_down", retry_after=1)  # it moves while we look: later
        return [found.get(one.rid, late) for one in some]


async def _settled(shard: Connection, some: Sequence[Settlement], found: dict[str, bool | Refused]) -> list[Settlement]:
    """Ask for these; `found` has what became of them. Returns those that are reserved elsewhere."""
    keys = dict.fromkeys(shard.name(*parts) for one in some for parts in _touched(one))
    books = [shard.name(part) for part in ("leases", "held", "usage")]
    asked = f"[{','.join(written(one) for one in some)}]"
    try:
        answers = await shard.run("settle", [*books, *keys], [SETTLED_TTL, HOURS_TTL, DAYS_TTL, asked])
        assert isinstance(answers, list)
    except Refused as no:
        found.update((one.rid, no) for one in some)
        return []
    again = []
    for one, answer in zip(some, answers, strict=True):
        if answer[0] == "error":
            found[one.rid] = refusal(answer[1])
        elif answer[0] == "elsewhere":
            upstream, *scopes = map(str, answer[1:])
            key, team = (name.removeprefix(shard.name("")) for name in scopes)
            again.append(replace(one, on=(key, team, f"u:{upstream}")))
        else:
            found[one.rid] = answer[0] == "settled"
    return again


def _scopes(one: Settlement) -> tuple[str, str, str]:
    return f"k:{one.kid}", f"t:{one.team}", f"u:{one.upstream}"


def _touched(one: Settlement) -> list[tuple[str, ...]]:
    """The names of the keys that settling it may change."""
    hour, day = hour_and_day(one.began)
    scopes = {*(one.on or ()), *_scopes(one), *(f"u:{spent.upstream}" for spent in one.failed)}
    return [*((scope,) for scope in scopes), ("done", hour), ("hour", hour), ("day", day), ("expired", hour)]


def _four(some: Amounts) -> list[int]:
    return [some.usd, some.ms, some.characters, some.requests]
