"""Which of several equals comes first: by weight, by what goes on there, and by how fast they are. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")
UNKNOWN = 1.0


@dataclass(slots=True)
class Outlook:
    """What is known of a candidate now.

    `shut`: it failed lately, others go first. `wait`: seconds for which it wants no requests. `full`: no more may be
    under way there. `drained`: operators have taken it out of use. `under_way` are at present, `pace` is what
    `policy/pace.py` makes of it, None: nobody knows.
    """

    shut: bool = False
    wait: float = 0.0
    full: bool = False
    drained: bool = False
    under_way: int = 0
    pace: float | None = None


GOOD = Outlook()


@dataclass(slots=True)
class Choice(Generic[T]):
    """One of several equals."""

    what: T
    weight: int
    outlook: Outlook


def order(choices: Sequence[Choice[T]], *, draw: Callable[[], float]) -> list[T]:
    """In which order to try them; `draw` gives numbers in [0, 1).

    Of equal weights, two are drawn and the one goes first where one more request costs less time (the power of two
    choices, by what is under way and peak EWMA). Different weights are shares, made smaller by that cost.
    """
    if len(choices) == 1:
        return [choices[0].what]
    known = [one.outlook.pace for one in choices if one.outlook.pace is not None]
    guess = min(known, default=UNKNOWN)

    def cost(one: Choice[T]) -> float:
        pace = guess if one.outlook.pace is None else one.outlook.pace
        return (one.outlook.under_way + 1) * max(pace, 1e-6)

    if len({one.weight for one in choices}) > 1:
        least = min(map(cost, choices))
        # Efraimidis and Spirakis: sorting by draw^(1/weight) is a weighted shuffle.
        drawn = sorted(choices, key=lambda one: -(draw() ** (cost(one) / least / one.weight)))
    else:
        drawn = sorted(choices, key=lambda _: draw())
        if cost(drawn[1]) < cost(drawn[0]):
            drawn[0], drawn[1] = drawn[1], drawn[0]
    return [one.what for one in drawn]
