"""A request as it came in, whoever brought it."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from gateway.audio.request import Layout
from gateway.errors import Refused

Pour = Callable[[Callable[[bytes], None], Callable[[], None]], None]


class Digest(Protocol):
    """Whoever wants to know a body by what it says: told what is kept of it, and at its end what goes out behind."""

    def update(self, data: bytes) -> None:
        """More of it."""

    def end(self, layout: Layout) -> None:
        """It is whole, and goes out in this layout under the model's own name."""


@dataclass(slots=True)
class Call:
    """A request as it came in. `headers` have lower-case names, `authorization` all values of that header.

    `peer` is the caller's address, "" if it has none. `size` is the Content-Length, None without one. `began` is in
    seconds since 1970, `started` monotonic. `stop` ends the request as if its caller had gone; `why` is set where we
    ended it.

    `read` gives the next piece of the body, b"" at its end; it raises Refused("client_gone") when the caller goes away
    before that. `pour` gives what is left of the body to its first argument as it comes, b"" at the end, and calls the
    second one instead when the caller goes away.

    `token` is what the boundary of its form is made of ("": something of its own) and `digest` follows its body.
    `ended` is told, once, whether the request was executed.
    """

    rid: str
    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    authorization: tuple[str, ...]
    peer: str
    size: int | None
    read: Callable[[], Awaitable[bytes]]
    pour: Pour
    began: float
    started: float
    stop: Callable[[], None]
    why: Refused | None = None
    token: str = ""
    digest: Digest | None = None
    ended: Callable[[bool], None] | None = None

    @property
    def has_body(self) -> bool:
        """Whether a body comes with it."""
        return bool(self.size) or "transfer-encoding" in self.headers
