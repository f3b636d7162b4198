"""Which of the requests that come are refused while there is more to do than can be done. Those that run go on.

The sign is an event loop that is late and stays so: what counts is the least that it was late by within a moment, so
that a single long step does not look like a queue. While that is too much, less is taken on, by as much as it is too
much; once it is little again, a bit more is, step by step. Between the two bounds nothing changes.
"""

from typing import Final, Literal

Signal = Literal["requests", "lag"]

HIGH: Final = 0.05  # seconds that the loop may be late, again and again
LOW: Final = 0.02
SHARPEST: Final = 0.6  # what is left at least, at one step, of what was taken on
WIDER: Final = 1.08  # from one step to the next while the loop is in time
MORE: Final = 0.01
MOST_REFUSED: Final = 0.98  # so that it shows when the worst is over
FLOOR: Final = 8  # requests that are taken on however late the loop is


def next_share(share: float, *, lag: float) -> float:
    """The share of new requests (0 to 1) to refuse from now on, given the one before and how late the loop was."""
    taken = 1 - share
    if lag > HIGH:
        taken *= max(SHARPEST, HIGH / lag)
    elif lag < LOW:
        taken = min(1.0, taken * WIDER + MORE)
    return min(MOST_REFUSED, 1 - taken)


def refusal(*, serving: int, most: int, share: float, draw: float) -> Signal | None:
    """Why a request that comes now is refused, None: it is not.

    `serving` requests run, `most` may. `draw` is random, from 0 to 1.
    """
    if serving >= most:
        return "requests"
    if serving < FLOOR:
        return None
    return "lag" if draw < share else None


def wait(draw: float) -> float:
    """Seconds after which a refused caller shall come again: 1 to 3, so that not all come at once."""
    return 1 + 2 * draw
