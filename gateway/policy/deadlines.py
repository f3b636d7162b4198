"""How long a request may take, step by step. Pure; all in seconds."""

MOST = 600.0  # the SDKs' own patience
LEAST = 30.0
PER_AUDIO_SECOND = 0.5
BYTES_PER_SECOND = 1_000_000
CHARACTERS_PER_SECOND = 15.0  # of speech
SLOWEST = 64.0  # bytes a second of sound: a tenth of what the lowest bit rate needs


def first_byte(*, audio: float, size: int) -> float:
    """How long the first byte of an answer may take, once an upstream has a request of `size` bytes with audio."""
    return min(MOST, LEAST + PER_AUDIO_SECOND * audio + size / BYTES_PER_SECOND)


def trickles(size: int, *, waited: float, idle: float) -> bool:
    """Whether an answer of sound that has brought `size` bytes in `waited` seconds is as good as none.

    `idle`: the seconds that an upstream may be silent; half of that is what it is given to get going.
    """
    return waited >= idle / 2 and size < SLOWEST * waited
