"""Who is calling: the text of a key, its digest, and what its holder may use. Pure.

A key reads `ag_<id>_<secret><check>`: id 10, secret 32 and checksum 6 characters of base62. The prefix lets secret
scanners find it, the id is public (logs, usage), the checksum turns typing errors away without asking the store.
Only an HMAC-SHA-256 of the text is kept, under a pepper that is not in the store.
"""

import hmac
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from gateway.errors import Refused, refuse

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
ID_LENGTH, SECRET_LENGTH, CHECK_LENGTH = 10, 32, 6
DRAW_BYTES = 33  # for mint(): 8 for the id, 25 for the secret (2^200 > 62^32)
_FORM = re.compile(r"ag_([0-9A-Za-z]{10})_([0-9A-Za-z]{32})([0-9A-Za-z]{6})")


@dataclass(frozen=True, slots=True)
class Presented:
    """A key as it was shown to us: its public id and its text."""

    kid: str
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Caller:
    """A key's holder: what the store knows of key and team, merged.

    `models` are globs of the key and of its team, both must match; None means all. `upstreams` are names in the order
    of choice; None means all. `expires` is in seconds since 1970. `versions` are of the key's and the team's record.
    """

    kid: str
    name: str
    team: str
    digest: str = field(repr=False)
    state: str = "active"
    expires: float | None = None
    models: tuple[tuple[str, ...], ...] = ()
    upstreams: tuple[str, ...] | None = None
    team_upstreams: tuple[str, ...] | None = None
    versions: tuple[str, str] = ("", "")

    def may_use_model(self, model: str) -> bool:
        """Whether key and team both allow this model."""
        return all(any(fnmatchcase(model, glob) for glob in globs) for globs in self.models)

    def may_use_upstream(self, name: str) -> bool:
        """Whether key and team both allow this upstream."""
        return all(names is None or name in names for names in (self.upstreams, self.team_upstreams))


def read_key(authorization: Sequence[str]) -> Presented:
    """The key in a request's Authorization headers. Raises Refused (401) unless it is one well-formed bearer key."""
    words = [value.strip().partition(" ") for value in authorization]
    if not words or not words[0][2].strip() or words[0][0].lower() != "bearer":
        raise refuse("no_key")
    text = words[0][2].strip()
    if len(words) > 1:
        raise refuse("bad_key", shown="two Authorization headers")
    return parse(text)


def parse(text: str) -> Presented:
    """A key's text taken apart. Raises Refused (401) if it is not one of ours or mistyped."""
    match = _FORM.fullmatch(text)
    if match is None or not hmac.compare_digest(match[3], _check(text[:-CHECK_LENGTH])):
        raise refuse("bad_key", shown=shown(text))
    return Presented(match[1], text)


def mint(draw: bytes) -> str:
    """A new key from DRAW_BYTES bytes of a secure random source."""
    assert len(draw) == DRAW_BYTES
    start = f"ag_{_base62(draw[:8], ID_LENGTH)}_{_base62(draw[8:], SECRET_LENGTH)}"
    return start + _check(start)


def digest(pepper: bytes, text: str) -> str:
    """What is kept of a key: HMAC-SHA-256 in hexadecimal."""
    return hmac.new(pepper, text.encode(), "sha256").hexdigest()


def shown(text: str) -> str:
    """A key as messages and logs may show it."""
    match = _FORM.fullmatch(text)
    if match is not None:
        return f"ag_{match[1]}_…{text[-4:]}"
    return f"{text[:3]}***{text[-2:]}" if len(text) > 12 and text.isascii() and text.isprintable() else "***"


def check_holder(caller: Caller | None, presented: Presented, *, presented_digest: str, now: float) -> Caller:
    """The caller if the key is right, active and not expired; `now` in seconds since 1970. Raises Refused (401)."""
    if caller is None or not hmac.compare_digest(caller.digest, presented_digest):
        raise refuse("bad_key", shown=shown(presented.text))
    if caller.state != "active":
        raise refused_state("revoked", presented)
    if caller.expires is not None and caller.expires <= now:
        raise refused_state("expired", presented)
    return caller


def refused_state(state: str, presented: Presented) -> Refused:
    """The refusal for a key that is no longer good."""
    names = {"revoked": "revoked_key", "expired": "expired_key"}
    return refuse(names.get(state, "bad_key"), shown=shown(presented.text))


def _check(text: str) -> str:
    return _base62(zlib.crc32(text.encode()).to_bytes(4, "big"), CHECK_LENGTH)


def _base62(data: bytes, length: int) -> str:
    number, letters = int.from_bytes(data, "big"), []
    for _ in range(length):
        number, rest = divmod(number, 62)
        letters.append(ALPHABET[rest])
    return "".join(letters)
