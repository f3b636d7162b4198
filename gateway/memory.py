"""How memory is given back: by the C library to the system, and by Python where objects hold each other in circles."""

import ctypes
import gc
from typing import Final

MMAP_THRESHOLD, TRIM_THRESHOLD, TOP_PAD = -3, -1, -2  # what glibc calls them (malloc.h)
KEPT: Final = {
    MMAP_THRESHOLD: 32 * 1024 * 1024,  # no piece has pages of its own; glibc knows no more than that
    TRIM_THRESHOLD: 16 * 1024 * 1024,  # so much may lie free
    TOP_PAD: 1024 * 1024,  # and is asked for beyond what is needed
}
CREATED: Final = 20_000  # objects, from one look for circles to the next


def keep() -> bool:
    """Tell the C library of this process to keep some of what is free; whether it understood, as only glibc does.

    Pieces of bodies come and go by the megabyte. What one leaves free it would hand back to the system at once, to be
    given it again, page by page, for the next one: thousands of page faults for one upload.
    """
    try:
        tell = ctypes.CDLL(None).mallopt
    except (OSError, TypeError, AttributeError):
        return False
    return all(tell(name, size) for name, size in KEPT.items())


def look_seldom() -> None:
    """Let Python look for circles less often, and never among what is there by now; to be called before serving.

    A request makes a thousand objects and hardly a circle.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(CREATED, 10, 10)
