"""How a request is written: RFC 9112, sections 3, 6 and 7.1."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import urlsplit

from gateway.relay.failures import Unreachable

_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_UNSAFE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_TARGET = re.compile(r"/[\x21-\x7e\x80-\xff]*")
PORTS = {"http": 80, "https": 443}
LAST_CHUNK = b"0\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where connections lead. `private`: its addresses may be of this machine or of a private network."""

    encrypted: bool
    host: str
    port: int
    private: bool = False


def split(url: str, *, private: bool = False) -> tuple[Origin, str, str]:
    """Origin, Host header and target (path and query, as they came) of a URL. Raises Unreachable."""
    at = url.find("/", url.find("://") + 3)
    base, target = (url, "/") if at < 0 else (url[:at], url[at:])
    return *_origin(base, private), target


@lru_cache(maxsize=1024)
def _origin(base: str, private: bool) -> tuple[Origin, str]:
    try:
        parts = urlsplit(base)
        host, port = parts.hostname, parts.port or PORTS[parts.scheme]
    except (KeyError, ValueError) as error:
        raise Unreachable(f"cannot read the address {base!r}") from error
    if not host:
        raise Unreachable(f"no host in {base!r}")
    name = f"[{host}]" if ":" in host else host
    return Origin(parts.scheme == "https", host, port, private), name if port == PORTS[
        parts.scheme
    ] else f"{name}:{port}"


def head(method: str, host: str, target: str, headers: Mapping[str, str], framing: str) -> bytes:
    """A request's head. `framing` is the header that says where the body ends, "" without a body.

    Raises Unreachable for what would not arrive as one header: names and values come from callers and files.
    """
    if not _NAME.fullmatch(method) or not _TARGET.fullmatch(target):
        raise Unreachable("the request cannot be written: its method or path has characters that must not be there")
    lines = [f"{method} {target} HTTP/1.1", f"host: {host}"]
    for name, value in headers.items():
        if not _NAME.fullmatch(name) or _UNSAFE.search(value):
            raise Unreachable(f"the header {name!r} cannot be written: it has characters that must not be there")
        lines.append(f"{name}: {value}")
    if framing:
        lines.append(framing)
    try:
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
    except UnicodeEncodeError as error:
        raise Unreachable("the request cannot be written: a header is not Latin-1") from error


def framing(length: int | None) -> str:
    """The header for a body of so many bytes, None where that is not known."""
    return "transfer-encoding: chunked" if length is None else f"content-length: {length}"


def chunk(data: bytes) -> tuple[bytes, bytes, bytes]:
    """A piece of a body whose length is not known, as it goes out."""
    return b"%x\r\n" % len(data), data, b"\r\n"
