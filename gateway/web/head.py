"""What may stand in the head of a request, whoever it is for. What could be read in two ways is refused. Pure.

Part of it is checked by llhttp: Content-Length, the framing of bodies, characters of names and values.
"""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache

from gateway.errors import Refused, refuse

MOST_BYTES = 32 * 1024  # of a head
MOST_FIELDS = 100
MOST_URL = 8 * 1024
VERSIONS = ("1.1", "1.0")
MODELS = "/v1/models/"

_HOST = re.compile(rb"(?:[A-Za-z0-9._~-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
_PATH = re.compile(r"/(?:(?:[A-Za-z0-9\-._~!$&'()*+,;=:@]|%[0-9A-Fa-f]{2})+(?:/|\Z))*")
_ESCAPED = re.compile(r"%(..)")
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_NEVER = frozenset({"%", "/", "\\", "\x7f", *map(chr, range(32))})
ONCE = (b"host", b"transfer-encoding")  # two Authorization headers: whoever reads keys refuses them


def wrong_line(method: bytes, version: str, url: bytes) -> Refused | None:
    """What is wrong with a request line, but for its path."""
    if version not in VERSIONS:
        return _bad("this is an HTTP/1.1 server")
    if method == b"CONNECT" or not url.startswith(b"/") or b"#" in url:
        return _bad("the target must be a path, as in POST /v1/audio/speech HTTP/1.1")
    return None


def long_url() -> Refused:
    """The refusal of a URL that has more than MOST_URL bytes."""
    return refuse("long_url", limit=MOST_URL)


def large_head(*, fields: bool = False) -> Refused:
    """The refusal of a head that has more than MOST_BYTES, or MOST_FIELDS."""
    return refuse("large_head", limit=f"{MOST_FIELDS} fields" if fields else f"{MOST_BYTES} bytes")


def wrong_path(path: str) -> Refused | None:
    """What is wrong with a path, as it came, that a router and a guard might read differently."""
    if path.startswith(MODELS):  # names of models may have slashes, which some SDKs escape
        path = path.replace("%2F", "/").replace("%2f", "/")
    normal = _PATH.fullmatch(path) and not any(part in (".", "..") for part in path.split("/"))
    if normal and "%" in path:
        escaped = [chr(int(digits, 16)) for digits in _ESCAPED.findall(path)]
        normal = not any(character in _UNRESERVED or character in _NEVER for character in escaped)
    return None if normal else _bad("the path must be in its normal form: no empty, dotted or needlessly escaped parts")


def wrong_fields(
    version: str, fields: Sequence[tuple[bytes, bytes]], values: Mapping[bytes, bytes], *, upgrade: bool
) -> Refused | None:
    """What is wrong with the fields of a head; their names are in lower case. `values`: the same, the last of each."""
    if len(values) < len(fields):
        names = [name for name, _ in fields]
        for name in ONCE:
            if names.count(name) > 1:
                return _bad(f"it has two {name.decode().title()} headers")
    host, coding = values.get(b"host"), values.get(b"transfer-encoding")
    if host is None:
        if version != "1.0":
            return _bad("it has no Host header")
    elif not _is_host(host):
        return _bad("its Host header is no name or address with or without a port")
    if coding is not None and (version == "1.0" or coding.lower() != b"chunked"):
        return _bad("Transfer-Encoding can be chunked, in HTTP/1.1, and nothing else")
    return _bad("it asks for another protocol, and none is spoken here") if upgrade else None


def expects(version: str, values: Mapping[bytes, bytes]) -> bool:
    """Whether the caller waits to be asked for the body, as HTTP/1.0 does not know."""
    return b"expect" in values and version != "1.0" and values[b"expect"].lower() == b"100-continue"


@lru_cache(maxsize=64)
def _is_host(host: bytes) -> bool:
    return _HOST.fullmatch(host) is not None


def _bad(why: str) -> Refused:
    return refuse("bad_request", why=why)
