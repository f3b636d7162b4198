"""What a store URL says, before anything is connected.

    redis://[user:password@]host[:port][/db]                    one server
    unix:///path/of/socket                                      one server
    redis+sentinel://[user:password@]host[:port],…/SERVICE[/db] the master that Sentinels watch under this name
    redis+cluster://[user:password@]host[:port],…               the node of a cluster that serves our slot

`rediss` in place of `redis` encrypts. Options may follow as ?name=value: those of the library, such as ssl_ca_certs,
are for every server, `sentinel_username` and `sentinel_password` for the Sentinels.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

from redis.asyncio.connection import parse_url

from gateway.errors import SetupError

Address = tuple[str, int]
Kind = Literal["one", "sentinel", "cluster"]

PORTS = {"sentinel": 26379, "cluster": 6379}
UNREADABLE = (
    "store.url cannot be read; write redis://host:port, rediss://…, unix:///path, redis+sentinel://host:port/SERVICE "
    "or redis+cluster://host:port."
)
_SEVERAL = re.compile(
    r"(?P<scheme>rediss?)\+(?P<kind>sentinel|cluster)://((?P<user>[^/?#]*)@)?(?P<hosts>[^/?#@]+)"
    r"(/(?P<path>[^?#]*))?(\?(?P<query>[^#]*))?"
)


@dataclass(frozen=True, slots=True)
class Target:
    """Where to connect to. `options` are the library's, for every server; `login` is the user of the Sentinels."""

    kind: Kind
    encrypted: bool
    options: Mapping[str, Any] = field(repr=False)
    addresses: tuple[Address, ...] = ()
    service: str = ""
    login: Mapping[str, str] = field(default_factory=dict, repr=False)


def read(url: str) -> Target:
    """The meaning of a URL. Raises SetupError, ValueError where it cannot be read."""
    if match := _SEVERAL.fullmatch(url):
        parts = {name: text or "" for name, text in match.groupdict().items()}
        return _sentinel(parts) if parts["kind"] == "sentinel" else _cluster(parts)
    options = dict(parse_url(url))
    options.pop("connection_class", None)
    return Target("one", urlsplit(url).scheme == "rediss", options)


def _sentinel(parts: Mapping[str, str]) -> Target:
    service, _, db = parts["path"].partition("/")
    if not service:
        raise SetupError(
            "store.url names no master; write redis+sentinel://host:port/SERVICE, with the Sentinels' name for it."
        )
    options = _options(parts) | {"db": int(db or 0)}
    login = {
        name: options.pop(f"sentinel_{name}") for name in ("username", "password") if f"sentinel_{name}" in options
    }
    return Target(
        "sentinel", parts["scheme"] == "rediss", options, _addresses(parts), service=unquote(service), login=login
    )


def _cluster(parts: Mapping[str, str]) -> Target:
    options = _options(parts)
    if parts["path"].strip("0") or options.get("db"):
        raise SetupError("store.url names a database, and a cluster has none; leave it out.")
    return Target("cluster", parts["scheme"] == "rediss", options, _addresses(parts))


def _options(parts: Mapping[str, str]) -> dict[str, Any]:
    options = dict(parse_url(f"{parts['scheme']}://{parts['user']}@?{parts['query']}"))
    options.pop("connection_class", None)
    return options


def _addresses(parts: Mapping[str, str]) -> tuple[Address, ...]:
    found = [urlsplit(f"//{text}") for text in parts["hosts"].split(",")]
    if not all(one.hostname for one in found):
        raise ValueError
    return tuple((one.hostname or "", one.port or PORTS[parts["kind"]]) for one in found)
