"""Who is signed in to the pages: kept in the store, so that every replica knows them and signing out ends it for good.

The browser holds a random text; only its digest is kept. Who signs in again and again fills nothing: of each holder,
and of the operators, MOST sessions are kept, and the oldest give way.
"""

import hashlib
import json
import secrets
from dataclasses import dataclass, field

from gateway.store.connection import Connection

SECONDS = 12 * 3600
BYTES = 32
MOST = 100


@dataclass(frozen=True, slots=True)
class Session:
    """Somebody signed in: as key `kid`, "" for an operator. `proof` is the digest of what they showed then."""

    kid: str
    proof: str = field(repr=False)


class Sessions:
    """All that there are. Every function raises Refused (503) when the store is away."""

    def __init__(self, connection: Connection) -> None:
        self._store = connection

    async def begin(self, session: Session) -> str:
        """A new one, for SECONDS; returns the text that stands for it."""
        text = secrets.token_urlsafe(BYTES)
        name, known = self._name(text), self._known(session)
        told = json.dumps({"kid": session.kid, "proof": session.proof})
        async with self._store.asking("session"):
            seconds, micros = await self._store.client.time()
            pipe = self._store.client.pipeline(transaction=False)
            pipe.set(name, told, ex=SECONDS)
            pipe.zadd(known, {name: seconds * 1_000_000 + micros})
            pipe.expire(known, SECONDS)
            pipe.zrange(known, 0, -1 - MOST)
            pipe.zremrangebyrank(known, 0, -1 - MOST)
            *_, oldest, _ = await pipe.execute()
            for one in oldest:
                await self._store.client.expire(one, 0)
        return text

    async def find(self, text: str) -> Session | None:
        """The session that a text stands for, None if there is none (any more)."""
        async with self._store.asking("session"):
            found = await self._store.client.get(self._name(text))
        return None if found is None else Session(**json.loads(found))

    async def end(self, text: str) -> None:
        """It is over."""
        session = await self.find(text)
        if session is None:
            return
        async with self._store.asking("session"):
            await self._store.client.expire(self._name(text), 0)  # DEL is not among the rights that we ask for
            await self._store.client.zrem(self._known(session), self._name(text))

    def _name(self, text: str) -> str:
        return self._store.name("session", hashlib.sha256(text.encode()).hexdigest())

    def _known(self, session: Session) -> str:
        """All of a holder: names by when they began, in microseconds since 1970."""
        return self._store.name("sessions", session.kid)
