"""Who is calling: the text of a key, its digest, and what its holder may use. Pure.

A key reads `ag_<id>_<secret><check>`: id 10, secret 32 and checksum 6 characters of base62. The prefix lets secret
scanners find it, the id is public (logs, usage), the checksum turns typing errors away without asking the store.
Only an HMAC-SHA-256 of the text is kept, under a pepper that is not in the store.
"""

import hashlib
import hmac
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from gateway.errors import Refused, refuse
from gateway.policy.terms import moment

Network = IPv4Network | IPv6Network

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
ID_LENGTH, SECRET_LENGTH, CHECK_LENGTH = 10, 32, 6
DRAW_BYTES = 33  # for mint(): 8 for the id, 25 for the secret (2^200 > 62^32)
_FORM = re.compile(r"ag_([0-9A-Za-z]{10})_([0-9A-Za-z]{32})([0-9A-Za-z]{6})")


@dataclass(slots=True)
class Presented:
    """A key as it was shown to us: its public id and its text."""

    kid: str
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Caller:
    """A key's holder: what the store knows of key and team, merged.

    `models` are globs of the key and of its team, both must match; None means all. `upstreams` are names in the order
    of choice; None means all. `expires` is in seconds since 1970. `versions` are of the key's and the team's record.
    `ips` are the networks that it may be used from, None means any. `previous` is the digest of the secret before the
    last rotation, good until `previous_until` (seconds since 1970); `outdated` tells that this caller still uses it,
    and then it is `digest`. `exact`: no limit of theirs may ever be exceeded, see `policy/metering.py`.
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
    ips: tuple[Network, ...] | None = None
    previous: str = field(default="", repr=False)
    previous_until: float = 0.0
    outdated: bool = False
    exact: bool = False

    def may_use_model(self, model: str) -> bool:
        """Whether key and team both allow this model."""
        return all(any(fnmatchcase(model, glob) for glob in globs) for globs in self.models)

    def may_use_upstream(self, name: str) -> bool:
        """Whether key and team both allow this upstream."""
        own, team = self.upstreams, self.team_upstreams
        return (own is None or name in own) and (team is None or name in team)

    def may_call_from(self, peer: str) -> bool:
        """Whether the key may be used from this address ("" if nobody knows it)."""
        if self.ips is None:
            return True
        try:
            address = ip_address(peer)
        except ValueError:
            return False
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return any(address in network for network in self.ips)


def read_key(authorization: Sequence[str]) -> Presented:
    """The key in a request's Authorization headers. Raises Refused (401) unless it is one well-formed bearer key."""
    text = _bearer(authorization)
    if not text:
        raise refuse("no_key")
    if len(authorization) > 1:
        raise refuse("bad_key", shown="two Authorization headers")
    return parse(text)


def check_admin(authorization: Sequence[str], token: str) -> None:
    """Whether the operator's token was shown, and nothing else. Raises Refused (401)."""
    given = hashlib.sha256(_bearer(authorization).encode()).digest()  # digests, so that lengths take no time either
    right = hmac.compare_digest(given, hashlib.sha256(token.encode()).digest())
    if not (right and token and len(authorization) == 1):
        raise refuse("bad_admin_token")


def networks(texts: Sequence[str]) -> tuple[Network, ...]:
    """Networks from their texts (CIDR). Raises ValueError."""
    return tuple(ip_network(text) for text in texts)


def parse(text: str) -> Presented:
    """A key's text taken apart. Raises Refused (401) if it is not one of ours or mistyped."""
    match = _FORM.fullmatch(text)
    if match is None or not hmac.compare_digest(match[3], _check(text[:-CHECK_LENGTH])):
        raise refuse("bad_key", shown=shown(text))
    return Presented(match[1], text)


def mint(draw: bytes, *, kid: str = "") -> str:
    """A new key from DRAW_BYTES bytes of a secure random source; with the id `kid` if one is given."""
    assert len(draw) == DRAW_BYTES
    start = f"ag_{kid or _base62(draw[:8], ID_LENGTH)}_{_base62(draw[8:], SECRET_LENGTH)}"
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


def check_holder(
    caller: Caller | None, presented: Presented, *, presented_digest: str, now: float, peer: str
) -> Caller:
    """The caller if the key is right, active, not expired and used from where it may be. Raises Refused (401).

    `now` is in seconds since 1970, `peer` the caller's address. The secret before a rotation is right as long as the
    store names it; whether it still does is the store's to say, by its own clock.
    """
    if caller is None:
        raise refuse("bad_key", shown=shown(presented.text))
    if not hmac.compare_digest(caller.digest, presented_digest):
        if not hmac.compare_digest(caller.previous, presented_digest):
            raise refuse("bad_key", shown=shown(presented.text))
        caller = replace(caller, digest=presented_digest, outdated=True)
    if caller.state != "active":
        raise refused_state("expired" if caller.state == "expired" else "revoked", presented)
    if caller.expires is not None and caller.expires <= now:
        raise refused_state("expired", presented)
    if not caller.may_call_from(peer):
        raise refuse("bad_address", shown=shown(presented.text), address=peer or "unknown")
    return caller


def notice(caller: Caller | None) -> dict[str, str]:
    """The header that tells a caller of a rotated key to use the new one; none for others."""
    if caller is None or not caller.outdated:
        return {}
    return {"x-audiogate-key": f"rotated; use the new key before {moment(caller.previous_until)}"}


def refused_state(state: str, presented: Presented) -> Refused:
    """The refusal for a key that is no longer good."""
    names = {"revoked": "revoked_key", "expired": "expired_key"}
    return refuse(names.get(state, "bad_key"), shown=shown(presented.text))


def _bearer(authorization: Sequence[str]) -> str:
    """What the first Authorization header bears, "" if it bears nothing."""
    scheme, _, text = authorization[0].strip().partition(" ") if authorization else ("", "", "")
    return text.strip() if scheme.lower() == "bearer" else ""


def _check(text: str) -> str:
    return _base62(zlib.crc32(text.encode()).to_bytes(4, "big"), CHECK_LENGTH)


def _base62(data: bytes, length: int) -> str:
    number, letters = int.from_bytes(data, "big"), []
    for _ in range(length):
        number, rest = divmod(number, 62)
        letters.append(ALPHABET[rest])
    return "".join(letters)
