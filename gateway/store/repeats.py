"""What requests with an Idempotency-Key did: who claims it, what came of that, and the answer that is kept.

A claim stands beside its API key, under the digest of what the caller named it. It has a lease, and a day to live
from when it was last said something of. What is known of it decides:

| state | what it means |
|---|---|
| `claimed` | the request is under way; once its lease has run out: its gateway is gone, and it may have been served |
| `kept` | it was served, here is its answer |
| `lost` | it was served, or may have been, and there is no answer |

What was certainly not served is forgotten at once, and may be claimed again. All else is never done twice.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, cast

from gateway.policy.keys import Caller
from gateway.store.connection import Connection

State = Literal["mine", "under_way", "kept", "lost"]
Headers = Sequence[tuple[str, str]]

KEPT_SECONDS = 24 * 3600
MOST_ASKED = 100  # times that an answer is given again
MOST_BYTES = 8 * 1024 * 1024  # of one answer
KEY_BYTES, ALL_BYTES = 64 * 1024 * 1024, 512 * 1024 * 1024  # of all that is kept for an API key, and in a shard
MEMORY_BYTES = 64 * 1024 * 1024  # of answers that this process holds, on their way to the store or back


@dataclass(frozen=True, slots=True)
class Place:
    """Where a claim stands: the shard of its team, the id of its API key, and the name that the caller gave it."""

    shard: Connection
    kid: str
    name: str

    @property
    def key(self) -> str:
        """The name of the claim in the store."""
        return self.shard.name("once", self.kid, self.name)


@dataclass(frozen=True, slots=True)
class Found:
    """What the store knows of a claim. `token` is its secret; `why` it is lost, one word of `finish.lua`'s callers.

    `print` is the fingerprint of the request that made it, "" if not known; `owner` the id of that request.
    """

    state: State
    token: str = field(default="", repr=False)
    print: str = ""
    owner: str = ""
    why: str = ""
    status: int = 0
    headers: Headers = ()
    size: int = 0


@dataclass(frozen=True, slots=True)
class Mine:
    """A claim that we made: the request `owner` is being served, its secret is `token`."""

    place: Place
    owner: str
    token: str = field(repr=False)


class Repeats:
    """What `claim.lua` and `finish.lua` do. `room`: bytes of answers that this process may still hold."""

    def __init__(self, connection: Connection) -> None:
        self.room = MEMORY_BYTES
        self._connection = connection

    def place(self, caller: Caller, named: str) -> Place:
        """Where the claim of this caller stands that they call `named`."""
        return Place(self._connection.of(caller.team), caller.kid, hashlib.sha256(named.encode()).hexdigest()[:32])

    async def claim(self, mine: Mine, *, lease: float) -> Found:
        """Claim it for `lease` seconds, or learn what became of the request that did. Raises Refused (503)."""
        args: list[str | int] = [mine.owner, mine.token, int(lease * 1000), KEPT_SECONDS, MOST_ASKED]
        answer = await mine.place.shard.run("claim", [mine.place.key], args)
        assert isinstance(answer, list)
        state, *facts = map(str, answer)
        if len(facts) < 2:
            return Found(cast("State", state), "".join(facts))
        token, print_, owner, why, status, headers, size = facts
        pairs = tuple((str(name), str(value)) for name, value in json.loads(headers or "[]"))
        return Found(cast("State", state), token, print_, owner, why, int(status or 0), pairs, int(size or 0))

    async def free(self, mine: Mine) -> None:
        """It was not served: whoever comes next may try. Raises Refused (503)."""
        await self._finish(mine, "free")

    async def lose(self, mine: Mine, why: str, *, print_: str) -> None:
        """It was served, or may have been, and its answer is not to be had. Raises Refused (503)."""
        await self._finish(mine, "lost", print_=print_, why=why)

    async def keep(self, mine: Mine, answer: tuple[int, Headers, bytes], *, print_: str) -> bool:
        """It was served, with this status, headers and body; False where there is no room. Raises Refused (503)."""
        return await self._finish(mine, "kept", print_=print_, answer=answer) == "kept"

    async def body(self, place: Place) -> bytes | None:
        """The body of the answer that is kept, None if it is gone meanwhile. Raises Refused (503)."""
        async with place.shard.asking("replay"):
            text = cast("str | None", await place.shard.client.hget(place.key, "body"))
        return None if text is None else text.encode("latin-1")

    @staticmethod
    async def _finish(
        mine: Mine, what: str, *, print_: str = "", why: str = "", answer: tuple[int, Headers, bytes] = (0, (), b"")
    ) -> str:
        shard, (status, headers, body) = mine.place.shard, answer
        keys = [mine.place.key, shard.name("kept", mine.place.kid), shard.name("kept")]
        # Any bytes are text in this encoding; the connection only carries text.
        told: list[str | int] = [print_, why, status, json.dumps(list(headers)), body.decode("latin-1")]
        args: list[str | int] = [mine.owner, mine.token, what, KEPT_SECONDS, *told, KEY_BYTES, ALL_BYTES]
        return str(await shard.run("finish", keys, args))
