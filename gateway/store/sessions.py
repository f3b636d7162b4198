"""Who is signed in to the pages: kept in the store, so that every replica knows them and signing out ends it for good.

The browser holds a random text; only its digest is kept.
"""

import hashlib
import json
import secrets
from dataclasses import dataclass, field

from gateway.store.connection import Connection

SECONDS = 12 * 3600
BYTES = 32


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
        told = json.dumps({"kid": session.kid, "proof": session.proof})
        async with self._store.asking("session"):
            await self._store.client.set(self._name(text), told, ex=SECONDS)
        return text

    async def find(self, text: str) -> Session | None:
        """The session that a text stands for, None if there is none (any more)."""
        async with self._store.asking("session"):
            found = await self._store.client.get(self._name(text))
        return None if found is None else Session(**json.loads(found))

    async def end(self, text: str) -> None:
        """It is over."""
        async with self._store.asking("session"):
            await self._store.client.delete(self._name(text))

    def _name(self, text: str) -> str:
        return self._store.name("session", hashlib.sha256(text.encode()).hexdigest())
