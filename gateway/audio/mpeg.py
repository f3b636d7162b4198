"""Frame headers of MPEG audio, layers 2 and 3, and the tags around them (ISO 11172-3, ISO 13818-3, ID3v2). Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

_BIT_RATES: Mapping[tuple[int, int], tuple[int, ...]] = {
    (1, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (1, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (2, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
"""kb/s by (version, layer) and the header's index minus one."""

_VERSIONS: Mapping[int, tuple[int, int]] = {3: (1, 1), 2: (2, 2), 0: (2, 4)}
"""By the header's two bits: which table of bit rates, and what divides the sampling rates (2.5 divides by four)."""

_RATES = (44_100, 48_000, 32_000)
_LAYERS: Mapping[int, int] = {1: 3, 2: 2}


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame. `bit_rate` in bits per second, `rate` in samples per second, `size` in bytes with its header."""

    version: int
    layer: int
    bit_rate: int
    rate: int
    size: int

    @property
    def samples(self) -> int:
        """Samples per channel."""
        return 576 if (self.version, self.layer) == (2, 3) else 1152


def frame(head: bytes, at: int = 0) -> Frame | None:
    """The frame whose header starts at `at`, or None. Free-format frames (no bit rate) count as none."""
    if len(head) < at + 4 or head[at] != 0xFF or head[at + 1] & 0xE0 != 0xE0:
        return None
    version = _VERSIONS.get(head[at + 1] >> 3 & 3)
    layer = _LAYERS.get(head[at + 1] >> 1 & 3)
    bits, rate, emphasis = head[at + 2] >> 4, head[at + 2] >> 2 & 3, head[at + 3] & 3
    if version is None or layer is None or bits in (0, 15) or rate == 3 or emphasis == 2:
        return None
    table, divisor = version
    bit_rate = _BIT_RATES[table, layer][bits - 1] * 1_000
    found = Frame(table, layer, bit_rate, _RATES[rate] // divisor, 0)
    size = found.samples // 8 * bit_rate // found.rate + (head[at + 2] >> 1 & 1)
    return Frame(table, layer, bit_rate, found.rate, size)


def tag_size(head: bytes) -> int:
    """Bytes of the ID3v2 tag at the start, 0 if there is none."""
    if len(head) < 10 or head[:3] != b"ID3":
        return 0
    size = 0
    for byte in head[6:10]:
        size = size << 7 | byte & 0x7F
    return 10 + size + (10 if head[5] & 0x10 else 0)


def frames(head: bytes, at: int) -> Iterator[Frame]:
    """The frames that follow one another from `at` on, all of one version, layer and rate."""
    first = found = frame(head, at)
    while found is not None and first is not None:
        if (found.version, found.layer, found.rate) != (first.version, first.layer, first.rate):
            return
        yield found
        at += found.size
        found = frame(head, at)


def first_frame(head: bytes, at: int = 0) -> int | None:
    """Where, from `at` on, the first frame begins that another one follows; None if nowhere.

    A file cut out of a longer one starts in the middle of a frame.
    """
    at = head.find(b"\xff", at)
    while at >= 0:
        pair = frames(head, at)
        if next(pair, None) is not None and next(pair, None) is not None:
            return at
        at = head.find(b"\xff", at + 1)
    return None


def declared_frames(head: bytes, at: int) -> int | None:
    """How many frames follow, as an encoder's first frame (Xing, Info or VBRI) at `at` says; 0 if it does not say.

    None when the frame at `at` is no such frame.
    """
    for mark in (b"Xing", b"Info"):
        found = head.find(mark, at, at + 44)
        if found >= 0:
            return int.from_bytes(head[found + 8 : found + 12]) if head[found + 7 : found + 8] > b"\0" else 0
    if head[at + 36 : at + 40] == b"VBRI":
        return int.from_bytes(head[at + 50 : at + 54])
    return None
