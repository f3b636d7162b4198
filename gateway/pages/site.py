"""What pages read from, and change."""

from collections.abc import Callable
from dataclasses import dataclass

from gateway.config.model import Config
from gateway.parts import Parts
from gateway.store.books import Books
from gateway.store.connection import Connection
from gateway.store.register import Register
from gateway.store.sessions import Sessions
from gateway.web.guard import Guard


@dataclass(frozen=True, slots=True)
class Site:
    """The rooms below, under the configuration that counts now. `clock` gives seconds since 1970."""

    config: Config
    parts: Parts
    connection: Connection
    books: Books
    register: Register
    sessions: Sessions
    guard: Guard
    clock: Callable[[], float]
