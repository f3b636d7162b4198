"""Random changes to inputs, for where nothing tells which of them reach new code."""

import random
from collections.abc import Callable, Iterator, Sequence

LONGEST = 8_192
ODD = (b"\0", b"\r", b"\n", b" ", b"\t", b'"', b"\\", b"-", b"\x7f", b"\x80", b"\xff", b"\xc3\xa9", b"\xed\xa0\x80")


def mutants(seeds: Sequence[bytes], words: Sequence[bytes], dice: random.Random) -> Iterator[bytes]:
    """The seeds as they are, then changed ones without end."""
    yield from seeds
    while True:
        data = dice.choice(seeds)
        for _ in range(dice.choice((1, 1, 1, 2, 3, 6))):
            data = _changed(data, seeds, words, dice)
        yield data[:LONGEST]


def _changed(data: bytes, seeds: Sequence[bytes], words: Sequence[bytes], dice: random.Random) -> bytes:
    start = dice.randint(0, len(data))
    end = min(len(data), start + dice.choice((0, 1, 1, 2, 4, 16, 64)))
    other = dice.choice(seeds)
    at = dice.randint(0, len(other))
    new = dice.choice(
        (
            b"",  # cut out
            dice.choice(words),
            dice.choice(ODD),
            dice.randbytes(dice.randint(1, 4)),
            data[start:end] * dice.randint(2, 40),
            other[at : at + dice.randint(1, 80)],
            bytes(byte ^ (1 << dice.randrange(8)) for byte in data[start:end]),
        )
    )
    return data[:start] + new + data[end if dice.random() < 0.6 else start :]


def smaller(data: bytes, fails: Callable[[bytes], bool], *, tries: int = 400) -> bytes:
    """An input that fails as well and has less in it."""
    size = max(1, len(data) // 2)
    while size and tries:
        at = 0
        while at < len(data) and tries:
            less, tries = data[:at] + data[at + size :], tries - 1
            if fails(less):
                data = less
            else:
                at += size
        size //= 2
    return data
