"""What the application hands to its doors."""

from collections.abc import Callable
from dataclasses import dataclass

from gateway.errors import Refused
from gateway.parts import Parts
from gateway.web.porter import Porter

DESK = "audiogate.desk"


@dataclass(frozen=True, slots=True)
class Desk:
    """It is found as DESK in the state of the application's lifespan scope.

    `clock` gives seconds since 1970, `name` the id of a request that begins then. `shed` tells whether one that comes
    now has to be refused, and how. `porter` minds the doors.
    """

    parts: Parts
    clock: Callable[[], float]
    name: Callable[[float], str]
    shed: Callable[[], Refused | None]
    porter: Porter
