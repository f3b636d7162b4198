"""Keys and teams as the store holds them, and back.

A record is a hash: facts as texts (`st` state, `exp` expiry, `kh` digest of the secret, `end` its last characters,
`kh2` and `kh2x` the secret before the last rotation and its end in ms, `v` version), `limits` as they were written,
and what the scripts keep beside them: `c` and `s` (see `lua/scope.lua`).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gateway.config.model import UTC, Key, Team
from gateway.policy.limits import Limit
from gateway.policy.zones import offsets
from gateway.store.limits import limits_text

KEY_FIELDS = (
    *("name", "team", "models", "upstreams", "limits", "ips", "note", "exp", "exact"),
    *("st", "origin", "made", "end", "kh2x", "v"),
)
TEAM_FIELDS = ("models", "upstreams", "limits", "note", "timezone", "st", "origin", "made", "v")
Facts = Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """A key that there is: what it was asked for with, and what became of it.

    `state` is "active", "expired" or "revoked", `origin` "config" or "admin", `shown` all that may be shown of its
    text. Times are in seconds since 1970; `previous_until`: so long the secret before the last rotation is good.
    """

    kid: str
    key: Key
    state: str
    origin: str
    made: float | None
    shown: str
    previous_until: float | None
    version: str


@dataclass(frozen=True, slots=True)
class TeamRecord:
    """A team that there is. `state` is "active", or "dropped" when the configuration no longer names it."""

    team: Team
    state: str
    origin: str
    made: float | None
    version: str


def key_facts(key: Key) -> dict[str, str]:
    """What the record of a key says of what was asked for."""
    return {
        "name": key.name,
        "team": key.team,
        "st": "revoked" if key.revoked else "active",
        "exp": "" if key.expires is None else repr(key.expires),
        "ips": names_text(key.ips),
        "exact": "1" if key.exact else "",
        **_facts(key),
    }


def team_facts(team: Team) -> dict[str, str]:
    """The same for a team; `z` is its time zone as the scripts read it."""
    zone = "" if team.timezone == UTC else json.dumps(offsets(team.timezone))
    return {"st": "active", "timezone": team.timezone, "z": zone, **_facts(team)}


def limits_json(limits: Sequence[Limit]) -> str:
    """Limits as the scripts take them."""
    return json.dumps(limits_text(limits))


def read_key(kid: str, facts: Facts, *, now: float) -> KeyRecord | None:
    """A key from its facts, None if there is no such record; `now` by the store's clock."""
    if not facts["v"]:
        return None
    expires = float(facts["exp"]) if facts["exp"] else None
    previous = int(facts["kh2x"] or 0) / 1000
    key = Key(
        facts["name"] or "",
        facts["team"] or "",
        models=read_names(facts["models"]),
        upstreams=read_names(facts["upstreams"]),
        limits=_limits(facts["limits"]),
        expires=expires,
        revoked=facts["st"] == "revoked",
        ips=read_names(facts["ips"]),
        note=facts["note"] or "",
        exact=bool(facts["exact"]),
    )
    state = "revoked" if key.revoked else "expired" if expires is not None and expires <= now else "active"
    return KeyRecord(
        kid,
        key,
        state=state,
        origin=facts["origin"] or "config",
        made=_made(facts),
        shown=f"ag_{kid}_…{facts['end'] or ''}",
        previous_until=previous if previous > now else None,
        version=facts["v"],
    )


def read_team(name: str, facts: Facts) -> TeamRecord | None:
    """A team from its facts, None if there is no such record."""
    if not facts["v"]:
        return None
    team = Team(
        name,
        read_names(facts["models"]),
        read_names(facts["upstreams"]),
        _limits(facts["limits"]),
        facts["note"] or "",
        facts["timezone"] or UTC,
    )
    return TeamRecord(team, facts["st"] or "active", facts["origin"] or "config", made=_made(facts), version=facts["v"])


def names_text(names: tuple[str, ...] | None) -> str:
    """A list of names as one fact; None is not the empty list."""
    return "" if names is None else json.dumps(names)


def read_names(text: str | None) -> tuple[str, ...] | None:
    """The list of names in a fact."""
    return tuple(str(one) for one in json.loads(text)) if text else None


def _facts(one: Key | Team) -> dict[str, str]:
    return {
        "models": names_text(one.models),
        "upstreams": names_text(one.upstreams),
        "limits": json.dumps([[limit.measure, limit.per, limit.amount, limit.burst] for limit in one.limits]),
        "note": one.note,
    }


def _limits(text: str | None) -> tuple[Limit, ...]:
    return tuple(Limit(str(row[0]), str(row[1]), int(row[2]), int(row[3])) for row in json.loads(text or "[]"))


def _made(facts: Facts) -> float | None:
    return float(facts["made"]) if facts["made"] else None
