"""Keys and teams that the configuration declares, brought into the store; and who holds a key that is shown."""

import hashlib
import json
import secrets
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import cast

from gateway.config.model import Config, Key, Team
from gateway.errors import Refused, SetupError, refuse
from gateway.policy.keys import DRAW_BYTES, Caller, Presented, check_holder, digest, mint, networks, parse
from gateway.policy.limits import Limit
from gateway.store.connection import Connection, name
from gateway.store.limits import upstream_key
from gateway.store.records import key_facts, limits_json, read_names, team_facts

REMEMBERED = 10_000
LOOKS = 5
_KEY_FIELDS = ("name", "team", "kh", "st", "exp", "v", "models", "upstreams", "ips", "kh2", "kh2x")
_TEAM_FIELDS = ("v", "models", "upstreams")


@dataclass(frozen=True, slots=True)
class Minted:
    """A key made just now: its text is shown once and kept nowhere."""

    name: str
    text: str = field(repr=False)


class Keys:
    """The records of keys and teams. `pepper` is the secret under which keys are digested."""

    def __init__(self, connection: Connection, *, pepper: bytes) -> None:
        self._connection = connection
        self._pepper = pepper
        self._seen: OrderedDict[str, Caller] = OrderedDict()

    def digest(self, text: str) -> str:
        """What the store keeps of a key's text."""
        return digest(self._pepper, text)

    async def holder(self, presented: Presented, *, now: float, peer: str, fresh: bool = False) -> Caller:
        """Who shows this key, from memory unless `fresh`: `now` in seconds since 1970, `peer` their address.

        Raises Refused (401, 503). What is remembered never refuses anybody: before that the store is asked.
        """
        shown = self.digest(presented.text)
        if not fresh and presented.kid in self._seen:
            with suppress(Refused):
                found = await self.find(presented.kid)
                return check_holder(found, presented, presented_digest=shown, now=now, peer=peer)
        found = await self.find(presented.kid, fresh=True)
        return check_holder(found, presented, presented_digest=shown, now=now, peer=peer)

    async def find(self, kid: str, *, fresh: bool = False) -> Caller | None:
        """The holder of key `kid`, from memory unless `fresh`; None if there is none. Raises Refused (503).

        What is remembered only serves planning: admission compares versions and the store has the last word.
        """
        if not fresh and kid in self._seen:
            self._seen.move_to_end(kid)
            return self._seen[kid]
        caller = await self._read(kid)
        self._seen.pop(kid, None)
        if caller is not None:
            self._seen[kid] = caller
            if len(self._seen) > REMEMBERED:
                self._seen.popitem(last=False)
        return caller

    async def declare(self, config: Config, *, tell: Callable[[Minted], None] = lambda _: None) -> list[Minted]:
        """Write what the configuration declares; keys that it no longer names stop working.

        Returns the keys that were made because the configuration names them without a text; `tell` is told of each
        at once, so that none is lost when a later step fails. Numbers already counted stay, and what operators made
        is left alone. Raises Refused (503), SetupError where a name of theirs is declared.
        """
        for upstream, limits in config.upstream_limits.items():
            await self._write(upstream, [upstream_key(upstream)], limits, {})
        for team in config.teams.values():
            await self.declare_team(team)
        await self._drop_other_teams(config)
        minted: list[Minted] = []
        kids: set[str] = set()
        for key in config.keys.values():
            if key.text is None and (made := await self._mint(key.name)) is not None:
                minted.append(made)
                tell(made)
            kids.add(await self._declare_key(key))
        await self._forget_others(kids)
        self._seen.clear()
        return minted

    async def declare_team(self, team: Team) -> None:
        """Write a team of the configuration. Raises Refused (503), SetupError where operators made one of its name."""
        keys = [name("t", team.name), name("teams"), name("audit")]
        if await self._write(team.name, keys, team.limits, {"origin": "config", **team_facts(team)}) == "admin":
            raise SetupError(f"teams.{team.name}: a team of this name was made by hand; choose another in the file.")

    async def _read(self, kid: str) -> Caller | None:
        async with self._connection.asking("find"):
            key = await self._connection.client.hmget(name("k", kid), _KEY_FIELDS)
            facts = dict(zip(_KEY_FIELDS, cast("list[str | None]", key), strict=True))
            if facts["kh"] is None:
                return None
            pipe = self._connection.client.pipeline(transaction=False)
            pipe.hmget(name("t", facts["team"] or ""), _TEAM_FIELDS)
            pipe.time()
            found, clock = await pipe.execute()
        team = dict(zip(_TEAM_FIELDS, cast("list[str | None]", found), strict=True))
        globs = tuple(names for names in (read_names(facts["models"]), read_names(team["models"])) if names is not None)
        ips, until = read_names(facts["ips"]), int(facts["kh2x"] or 0) / 1000
        return Caller(
            kid,
            facts["name"] or "",
            facts["team"] or "",
            facts["kh"],
            state=facts["st"] or "",
            expires=float(facts["exp"]) if facts["exp"] else None,
            models=globs,
            upstreams=read_names(facts["upstreams"]),
            team_upstreams=read_names(team["upstreams"]),
            versions=(facts["v"] or "", team["v"] or ""),
            ips=None if ips is None else networks(ips),
            previous=(facts["kh2"] or "") if until > int(clock[0]) + int(clock[1]) / 1_000_000 else "",
            previous_until=until,
        )

    async def _mint(self, key: str) -> Minted | None:
        """A new key for a name that has none that works; of replicas that start at once one makes it."""
        client = self._connection.client
        async with self._connection.asking("names"):
            kid = cast("str | None", await client.hget(name("names"), key)) or ""
            if kid and await client.hexists(name("k", kid), "kh"):
                return None
        text = mint(secrets.token_bytes(DRAW_BYTES))
        new = parse(text).kid
        args = [key, kid, new, self.digest(text), text[-4:]]
        made = await self._connection.run("mint", [name("names"), name("k", new)], args)
        return Minted(key, text) if made else None

    async def _declare_key(self, key: Key) -> str:
        facts = {"origin": "config", **key_facts(key)}
        if key.text is not None:
            facts |= {"kh": self.digest(key.text), "end": key.text[-4:]}
        rows = limits_json(key.limits)
        for _ in range(LOOKS):
            async with self._connection.asking("names"):
                had = cast("str | None", await self._connection.client.hget(name("names"), key.name)) or ""
            kid = had if key.text is None else parse(key.text).kid
            keys = [name("k", kid), name("names"), name("declared"), name("k", had or kid), name("audit")]
            answer = await self._connection.run(
                "declare_key", keys, [rows, key.name, kid, had, _version(rows, facts), *_pairs(facts)]
            )
            if answer == "ok":
                return kid
            if answer == "admin":
                raise SetupError(f"keys.{key.name}: a key of this name or id was made by hand; choose another one.")
        raise refuse("store_down", retry_after=1)

    async def _forget_others(self, kids: set[str]) -> None:
        async with self._connection.asking("names"):
            declared = cast("set[str]", await self._connection.client.smembers(name("declared")))
            names = cast("dict[str, str]", await self._connection.client.hgetall(name("names")))
        called = {kid: key for key, kid in names.items()}
        for kid in declared - kids:
            keys = [name("audit"), name("k", kid), name("declared")]
            args = ["config", "keys.revoke", called.get(kid, kid), kid, "revoked", "config"]
            await self._connection.run("revoke", keys, args)

    async def _drop_other_teams(self, config: Config) -> None:
        """Teams that the file no longer names: keys that operators made in them go on as they are."""
        async with self._connection.asking("names"):
            teams = cast("dict[str, str]", await self._connection.client.hgetall(name("teams")))
            others = [team for team in teams if team not in config.teams]
            found = {team: await self._connection.client.hmget(name("t", team), ["origin", "st"]) for team in others}
        for team, (origin, state) in found.items():
            if (origin, state) == ("config", "active"):
                args = ["config", "teams.drop", team, team, "dropped", "config"]
                await self._connection.run("revoke", [name("audit"), name("t", team)], args)

    async def _write(self, called: str, keys: Sequence[str], limits: Sequence[Limit], facts: Mapping[str, str]) -> str:
        rows = limits_json(limits)
        args = [rows, called, _version(rows, facts), *_pairs(facts)]
        return str(await self._connection.run("declare", keys, args))


def _pairs(facts: Mapping[str, str]) -> list[str]:
    return [text for pair in facts.items() for text in pair]


def _version(rows: str, facts: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps([rows, sorted(facts.items())]).encode()).hexdigest()[:16]
