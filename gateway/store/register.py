"""Keys and teams that operators make: the same functions behind the command and the pages under /admin/.

The scripts check before they write, and write each attempt down in the audit stream. What the configuration declares
is never changed here.
"""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from gateway.config.model import Config, Key, Team
from gateway.errors import Refused, refuse
from gateway.policy.keys import DRAW_BYTES, digest, mint, parse
from gateway.policy.limits import Limit
from gateway.store.connection import Connection
from gateway.store.durable import on_disk
from gateway.store.keys import Keys
from gateway.store.records import KeyRecord, TeamRecord, key_facts, limits_json, team_facts
from gateway.store.roll import Roll, unknown

LOOKS = 5


@dataclass(frozen=True, slots=True)
class Made:
    """A key with a new secret: its text is shown once and kept nowhere."""

    record: KeyRecord
    text: str = field(repr=False)


class Register:
    """Changes the records. Every function raises Refused: 503 when the store is away, else as it says.

    `door` is written down; `pepper` is the secret under which keys are digested.
    """

    def __init__(self, connection: Connection, config: Config, *, pepper: bytes, door: str) -> None:
        self.roll = Roll(connection, door=door)
        self._connection = connection
        self._config = config
        self._pepper = pepper

    async def make_key(self, key: Key) -> Made:
        """A new key. Raises Refused: 409 if its name is taken, 400 if its team does not exist."""
        if key.name in self._config.keys:
            raise await self._refused("keys.create", key.name, "config")
        text = mint(secrets.token_bytes(DRAW_BYTES))
        kid = parse(text).kid
        facts = {"kh": digest(self._pepper, text), "end": text[-4:], **key_facts(key)}
        if len(self._connection.shards) > 1 and await self.roll.find_key(key.name) is not None:
            raise await self._refused("keys.create", key.name, "taken")
        shard = self._connection.of(key.team)
        keys = [shard.name("names"), shard.name("k", kid), shard.name("t", key.team)]
        told = ["keys.create", key.name, kid, _version()]
        result = await self._run(shard, "register", keys, told, limits=key.limits, facts=facts)
        if result == "no_team" and key.team in self._config.teams:  # the gateway has not been started yet
            await Keys(self._connection, pepper=self._pepper).declare_team(self._config.teams[key.team])
            result = await self._run(shard, "register", keys, told, limits=key.limits, facts=facts)
        await self._done(shard, result, "key", key.name, team=key.team)
        return Made(await self._key(key.name, "keys.create"), text)

    async def change_key(self, called: str, change: Callable[[Key], Key], *, action: str = "change") -> KeyRecord:
        """Change what a key was made with. Raises Refused: 404, 409 if it may not be changed, 400 for its team."""
        result = "changed"
        for _ in range(LOOKS):
            record = await self._key(called, f"keys.{action}")
            key = change(record.key)
            shard = self._connection.of(record.key.team)
            if self._connection.of(key.team) is not shard:
                raise refuse("invalid", param="team", why="that team is in another shard of the store; make a new key")
            moved = [shard.name("t", key.team)] if key.team != record.key.team else []
            keys = [shard.name("k", record.kid), *moved]
            told = [f"keys.{action}", called, record.version, _version()]
            result = await self._run(shard, "amend", keys, told, limits=key.limits, facts=key_facts(key))
            if result != "changed":
                break
        await self._done(shard, result, "key", called, team=key.team)
        return await self._key(called, f"keys.{action}")

    async def rotate_key(self, called: str, *, overlap: float) -> Made:
        """A new secret for a key; the present one stays good for `overlap` seconds. Raises Refused (404, 409)."""
        record = await self._key(called, "keys.rotate")
        text = mint(secrets.token_bytes(DRAW_BYTES), kid=record.kid)
        args = [self.roll.door, "keys.rotate", called, _version(), digest(self._pepper, text), text[-4:]]
        shard = self._connection.of(record.key.team)
        keys = [shard.name("audit"), shard.name("k", record.kid)]
        answer = await shard.run("rotate", keys, [*args, round(overlap * 1000)])
        assert isinstance(answer, list)
        await self._done(shard, str(answer[0]), "key", called)
        return Made(await self._key(called, "keys.rotate"), text)

    async def revoke_key(self, called: str) -> KeyRecord:
        """End a key for good, from its next request on. Raises Refused (404, 409)."""
        record = await self._key(called, "keys.revoke")
        args = [self.roll.door, "keys.revoke", called, record.kid, "revoked", "admin"]
        shard = self._connection.of(record.key.team)
        result = await shard.run("revoke", [shard.name("audit"), shard.name("k", record.kid)], args)
        await self._done(shard, str(result), "key", called)
        return await self._key(called, "keys.revoke")

    async def make_team(self, team: Team) -> TeamRecord:
        """A new team. Raises Refused (409) if its name is taken."""
        if team.name in self._config.teams:
            raise await self._refused("teams.create", team.name, "config")
        shard = self._connection.of(team.name)
        keys = [shard.name("teams"), shard.name("t", team.name)]
        told = ["teams.create", team.name, team.name, _version()]
        result = await self._run(shard, "register", keys, told, limits=team.limits, facts=team_facts(team))
        await self._done(shard, result, "team", team.name)
        return await self._team(team.name, "teams.create")

    async def change_team(self, called: str, change: Callable[[Team], Team], *, action: str = "change") -> TeamRecord:
        """Change what a team was made with. Raises Refused: 404, 409 if it may not be changed."""
        result = "changed"
        for _ in range(LOOKS):
            record = await self._team(called, f"teams.{action}")
            team = change(record.team)
            told = [f"teams.{action}", called, record.version, _version()]
            shard = self._connection.of(called)
            keys = [shard.name("t", called)]
            result = await self._run(shard, "amend", keys, told, limits=team.limits, facts=team_facts(team))
            if result != "changed":
                break
        await self._done(shard, result, "team", called)
        return await self._team(called, f"teams.{action}")

    async def _run(
        self,
        shard: Connection,
        script: str,
        scopes: Sequence[str],
        told: Sequence[str],
        *,
        limits: Sequence[Limit],
        facts: dict[str, str],
    ) -> str:
        pairs = [text for pair in facts.items() for text in pair]
        args = [self.roll.door, *told, limits_json(limits), *pairs]
        return str(await shard.run(script, [shard.name("audit"), *scopes], args))

    async def _key(self, called: str, action: str) -> KeyRecord:
        record = await self.roll.find_key(called)
        if record is None:
            raise await self._refused(action, called, "none")
        return record

    async def _team(self, called: str, action: str) -> TeamRecord:
        record = await self.roll.find_team(called)
        if record is None:
            raise await self._refused(action, called, "none")
        return record

    async def _refused(self, action: str, called: str, result: str) -> Refused:
        """A refusal that no script has written down."""
        await self.roll.note(action, called, result)
        return self._refusal(result, action.partition("s.")[0], called)

    async def _done(self, shard: Connection, result: str, kind: str, called: str, *, team: str = "") -> None:
        """What a script says it did: on disk before anybody is told. Raises Refused where it did nothing."""
        if result == "no_team":
            raise refuse("invalid", param="team", why=f"no team is called '{team}'")
        if result != "ok":
            raise self._refusal(result, kind, called)
        await on_disk(shard)

    def _refusal(self, result: str, kind: str, called: str) -> Refused:
        if result == "config":
            return refuse("declared_in_file", kind=kind, called=called, file=self._config.file)
        if result == "taken":
            return refuse("name_taken", kind=kind, called=called)
        if result == "revoked":
            return refuse("is_revoked", called=called)
        return unknown(kind, called) if result == "none" else refuse("changed_meanwhile", kind=kind, called=called)


def _version() -> str:
    return secrets.token_hex(8)
