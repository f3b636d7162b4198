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
from gateway.store.connection import Connection
from gateway.store.durable import on_disk
from gateway.store.grants import divided
from gateway.store.layout import check_shards
from gateway.store.limits import limits_text
from gateway.store.records import key_facts, limits_json, read_names, team_facts

REMEMBERED = 10_000
LOOKS = 5
_KEY_FIELDS = ("name", "team", "kh", "st", "exp", "v", "models", "upstreams", "ips", "kh2", "kh2x", "exact")
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

        Raises Refused (401, 503). What is remembered never refuses anybody: before that the store is asked, and whether
        a key has expired goes by its clock.
        """
        shown = self.digest(presented.text)
        if not fresh and presented.kid in self._seen:
            with suppress(Refused):
                found = await self.find(presented.kid)
                return check_holder(found, presented, presented_digest=shown, now=now, peer=peer)
        found = await self.find(presented.kid, fresh=True)
        return check_holder(found, presented, presented_digest=shown, now=0.0, peer=peer)

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
        is left alone. It is on disk when this returns, and each key before it is told. Raises Refused (503),
        SetupError where a name of theirs is declared.
        """
        await check_shards(self._connection, config)
        for upstream, limits in config.upstream_limits.items():
            await self._declare_upstream(upstream, limits)
        for team in config.teams.values():
            await self.declare_team(team)
        await self._drop_other_teams(config)
        minted: list[Minted] = []
        kids: set[tuple[str, str]] = set()
        for key in config.keys.values():
            shard = self._connection.of(key.team)
            if key.text is None and (made := await self._mint(shard, key.name)) is not None:
                minted.append(made)
                await on_disk(shard)
                tell(made)
            kids.add((shard.tag, await self._declare_key(shard, key)))
        await self._forget_others(kids)
        self._seen.clear()
        await on_disk(self._connection, *self._connection.shards)
        return minted

    async def declare_team(self, team: Team) -> None:
        """Write a team of the configuration. Raises Refused (503), SetupError where operators made one of its name."""
        shard = self._connection.of(team.name)
        keys = [shard.name("t", team.name), shard.name("teams"), shard.name("audit")]
        facts = {"origin": "config", **team_facts(team)}
        if await self._write(shard, team.name, keys, rows=limits_json(team.limits), facts=facts) == "admin":
            raise SetupError(f"teams.{team.name}: a team of this name was made by hand; choose another in the file.")

    async def _declare_upstream(self, upstream: str, limits: Sequence[Limit]) -> None:
        rows = limits_json(limits)
        await self._write(self._connection, upstream, [self._connection.name("u", upstream)], rows=rows, facts={})
        if len(self._connection.shards) > 1:
            rows = json.dumps(limits_text(divided(limits, len(self._connection.shards)), drawn=True))
            for shard in self._connection.shards:
                await self._write(shard, upstream, [shard.name("u", upstream)], rows=rows, facts={})

    async def _facts(self, kid: str) -> tuple[Connection, dict[str, str | None]] | None:
        """The record of a key and where it stands; a key that has changed its shard is revoked in the old one."""
        found = []
        for shard in self._connection.shards:
            async with shard.asking("find"):
                key = await shard.client.hmget(shard.name("k", kid), _KEY_FIELDS)
            facts = dict(zip(_KEY_FIELDS, cast("list[str | None]", key), strict=True))
            if facts["kh"] is not None:
                found.append((shard, facts))
        return min(found, key=lambda one: one[1]["st"] != "active", default=None)

    async def _read(self, kid: str) -> Caller | None:
        if (known := await self._facts(kid)) is None:
            return None
        shard, facts = known
        assert facts["kh"] is not None
        async with shard.asking("find"):
            pipe = shard.client.pipeline(transaction=False)
            pipe.hmget(shard.name("t", facts["team"] or ""), _TEAM_FIELDS)
            pipe.time()
            found, clock = await pipe.execute()
        team = dict(zip(_TEAM_FIELDS, cast("list[str | None]", found), strict=True))
        globs = tuple(names for names in (read_names(facts["models"]), read_names(team["models"])) if names is not None)
        ips, until = read_names(facts["ips"]), int(facts["kh2x"] or 0) / 1000
        now, expires = int(clock[0]) + int(clock[1]) / 1_000_000, float(facts["exp"]) if facts["exp"] else None
        return Caller(
            kid,
            facts["name"] or "",
            facts["team"] or "",
            facts["kh"],
            state="expired"
            if expires is not None and expires <= now and facts["st"] == "active"
            else facts["st"] or "",
            expires=expires,
            models=globs,
            upstreams=read_names(facts["upstreams"]),
            team_upstreams=read_names(team["upstreams"]),
            versions=(facts["v"] or "", team["v"] or ""),
            ips=None if ips is None else networks(ips),
            previous=(facts["kh2"] or "") if until > now else "",
            previous_until=until,
            exact=bool(facts["exact"]),
        )

    async def _mint(self, shard: Connection, key: str) -> Minted | None:
        """A new key for a name that has none that works; of replicas that start at once one makes it."""
        async with shard.asking("names"):
            kid = cast("str | None", await shard.client.hget(shard.name("names"), key)) or ""
            if kid and await shard.client.hexists(shard.name("k", kid), "kh"):
                return None
        text = mint(secrets.token_bytes(DRAW_BYTES))
        new = parse(text).kid
        args = [key, kid, new, self.digest(text), text[-4:]]
        made = await shard.run("mint", [shard.name("names"), shard.name("k", new)], args)
        return Minted(key, text) if made else None

    async def _declare_key(self, shard: Connection, key: Key) -> str:
        facts = {"origin": "config", **key_facts(key)}
        if key.text is not None:
            facts |= {"kh": self.digest(key.text), "end": key.text[-4:]}
        rows = limits_json(key.limits)
        for _ in range(LOOKS):
            async with shard.asking("names"):
                had = cast("str | None", await shard.client.hget(shard.name("names"), key.name)) or ""
            kid = had if key.text is None else parse(key.text).kid
            scopes = [shard.name("k", kid), shard.name("names"), shard.name("declared"), shard.name("k", had or kid)]
            answer = await shard.run(
                "declare_key",
                [*scopes, shard.name("audit")],
                [rows, key.name, kid, had, _version(rows, facts), *_pairs(facts)],
            )
            if answer == "ok":
                return kid
            if answer == "admin":
                raise SetupError(f"keys.{key.name}: a key of this name or id was made by hand; choose another one.")
        raise refuse("store_down", retry_after=1)

    async def _forget_others(self, kids: set[tuple[str, str]]) -> None:
        for shard in self._connection.shards:
            async with shard.asking("names"):
                declared = cast("set[str]", await shard.client.smembers(shard.name("declared")))
                names = cast("dict[str, str]", await shard.client.hgetall(shard.name("names")))
            called = {kid: key for key, kid in names.items()}
            for kid in (one for one in declared if (shard.tag, one) not in kids):
                keys = [shard.name("audit"), shard.name("k", kid), shard.name("declared")]
                args = ["config", "keys.revoke", called.get(kid, kid), kid, "revoked", "config"]
                await shard.run("revoke", keys, args)

    async def _drop_other_teams(self, config: Config) -> None:
        """Teams that the file no longer names: keys that operators made in them go on as they are."""
        for shard in self._connection.shards:
            async with shard.asking("names"):
                teams = cast("dict[str, str]", await shard.client.hgetall(shard.name("teams")))
                others = [team for team in teams if team not in config.teams]
                found = {team: await shard.client.hmget(shard.name("t", team), ["origin", "st"]) for team in others}
            for team, (origin, state) in found.items():
                if (origin, state) == ("config", "active"):
                    args = ["config", "teams.drop", team, team, "dropped", "config"]
                    await shard.run("revoke", [shard.name("audit"), shard.name("t", team)], args)

    @staticmethod
    async def _write(
        shard: Connection, called: str, keys: Sequence[str], *, rows: str, facts: Mapping[str, str]
    ) -> str:
        return str(await shard.run("declare", keys, [rows, called, _version(rows, facts), *_pairs(facts)]))


def _pairs(facts: Mapping[str, str]) -> list[str]:
    return [text for pair in facts.items() for text in pair]


def _version(rows: str, facts: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps([rows, sorted(facts.items())]).encode()).hexdigest()[:16]
