"""Keys and teams in the store: declared from the configuration, read when a key first calls."""

import hashlib
import json
import secrets
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

from redis.exceptions import RedisError

from gateway.config.model import Config, Key, Team
from gateway.errors import refuse
from gateway.policy.keys import DRAW_BYTES, Caller, digest, mint, parse
from gateway.policy.limits import Limit
from gateway.store.connection import Connection, name
from gateway.store.limits import limits_text, upstream_key

REMEMBERED = 10_000
_KEY_FIELDS = ("name", "team", "kh", "st", "exp", "v", "models", "upstreams")
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
        at once, so that none is lost when a later step fails. Numbers already counted stay. Raises Refused (503).
        """
        for upstream, limits in config.upstream_limits.items():
            await self._write(upstream_key(upstream), limits, {})
        for team in config.teams.values():
            await self._write(name("t", team.name), team.limits, _team_facts(team))
        minted: list[Minted] = []
        kids: set[str] = set()
        for key in config.keys.values():
            text = key.text
            if text is None and (made := await self._mint(key.name)) is not None:
                minted.append(made)
                tell(made)
            kids.add(await self._declare_key(key, text))
        await self._forget_others(kids)
        self._seen.clear()
        return minted

    async def _read(self, kid: str) -> Caller | None:
        try:
            key = await self._connection.client.hmget(name("k", kid), _KEY_FIELDS)
            facts = dict(zip(_KEY_FIELDS, cast("list[str | None]", key), strict=True))
            if facts["kh"] is None:
                return None
            found = await self._connection.client.hmget(name("t", facts["team"] or ""), _TEAM_FIELDS)
            team = dict(zip(_TEAM_FIELDS, cast("list[str | None]", found), strict=True))
        except RedisError as error:
            raise refuse("store_down", retry_after=1) from error
        globs = tuple(names for names in (_names(facts["models"]), _names(team["models"])) if names is not None)
        return Caller(
            kid,
            facts["name"] or "",
            facts["team"] or "",
            facts["kh"],
            state=facts["st"] or "",
            expires=float(facts["exp"]) if facts["exp"] else None,
            models=globs,
            upstreams=_names(facts["upstreams"]),
            team_upstreams=_names(team["upstreams"]),
            versions=(facts["v"] or "", team["v"] or ""),
        )

    async def _mint(self, key: str) -> Minted | None:
        """A new key for a name that has none that works; of replicas that start at once one makes it."""
        client = self._connection.client
        try:
            kid = cast("str | None", await client.hget(name("names"), key)) or ""
            if kid and await client.hexists(name("k", kid), "kh"):
                return None
        except RedisError as error:
            raise refuse("store_down", retry_after=1) from error
        text = mint(secrets.token_bytes(DRAW_BYTES))
        new = parse(text).kid
        made = await self._connection.run("mint", [name("names"), name("k", new)], [key, kid, new, self.digest(text)])
        return Minted(key, text) if made else None

    async def _declare_key(self, key: Key, text: str | None) -> str:
        try:
            if text is None:
                kid = await self._connection.client.hget(name("names"), key.name)
            else:
                kid = parse(text).kid
                await self._connection.client.hset(name("names"), key.name, kid)
        except RedisError as error:
            raise refuse("store_down", retry_after=1) from error
        assert kid is not None
        facts = {
            "name": key.name,
            "team": key.team,
            "st": "revoked" if key.revoked else "active",
            "exp": "" if key.expires is None else repr(key.expires),
            "models": _text(key.models),
            "upstreams": _text(key.upstreams),
        }
        if text is not None:
            facts["kh"] = self.digest(text)
        await self._write(name("k", str(kid)), key.limits, facts)
        return str(kid)

    async def _forget_others(self, kids: set[str]) -> None:
        client = self._connection.client
        try:
            declared = cast("set[str]", await client.smembers(name("declared")))
            for kid in declared - kids:
                await client.hset(name("k", kid), mapping={"st": "revoked", "v": "gone"})
                await client.srem(name("declared"), kid)
            if kids:
                await client.sadd(name("declared"), *kids)
        except RedisError as error:
            raise refuse("store_down", retry_after=1) from error

    async def _write(self, scope: str, limits: Sequence[Limit], facts: Mapping[str, str]) -> None:
        rows = json.dumps(limits_text(limits))
        version = hashlib.sha256(json.dumps([rows, sorted(facts.items())]).encode()).hexdigest()[:16]
        args = [rows, "v", version]
        for field_name, value in facts.items():
            args += [field_name, value]
        await self._connection.run("declare", [scope], args)


def _team_facts(team: Team) -> dict[str, str]:
    return {"models": _text(team.models), "upstreams": _text(team.upstreams)}


def _text(names: tuple[str, ...] | None) -> str:
    return "" if names is None else json.dumps(names)


def _names(text: str | None) -> tuple[str, ...] | None:
    return tuple(str(one) for one in json.loads(text)) if text else None
