"""How long an upload may last, guessed from its first bytes, to reserve quota before the rest has arrived. Pure.

The guess leans high and the bill never rests on it: what was counted when the upload is complete replaces it. A
header may be forged, so it cannot push the guess below what the bytes need at the highest rate its container knows.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from gateway.audio import mpeg
from gateway.audio.container import AMR, FLAC, MP3, MPGA, OGG, WAV, WEBM, sniff

LOWEST = 8_000
"""Bits per second of the slowest sound people upload: the lowest rate of MP3, and about where AAC stops being speech.
Codecs that go on below it in silence are put right at settlement."""

_LOWEST: Mapping[str, int] = {
    OGG.name: 6_000,  # Opus speaks from 6 kb/s on (RFC 7587, section 3.1.1)
    WEBM.name: 6_000,
    AMR.name: 4_750,  # its lowest mode
    FLAC.name: 32_000,  # asked only when the header does not say how many samples there are
}

SPARSEST = 16
"""Bits per second below which there is no sound: silence in FLAC takes about as many. A file that claims to last longer
than that lies."""

_HIGHEST_PCM = 192_000 * 32 * 8
_HIGHEST_MPEG = 384_000


@dataclass(frozen=True, slots=True)
class Estimate:
    """Seconds to reserve, and whether the file's header or only its length in bytes told them."""

    seconds: float
    source: Literal["header", "bytes"]


def estimate_seconds(head: bytes, *, total_bytes: int | None, max_bytes: int) -> Estimate:
    """What to reserve for a file that begins with `head` (`container.HEAD_BYTES` of it, or all of it).

    `total_bytes` is the length of the file where known; otherwise it may grow to `max_bytes` and counts as that long.
    """
    size = max(len(head), max_bytes if total_bytes is None else total_bytes)
    container = sniff(head)
    name = "" if container is None else container.name
    read = _READERS.get(name)
    seconds = None if read is None else read(head, size)
    if seconds is None:
        return Estimate(size * 8 / _LOWEST.get(name, LOWEST), "bytes")
    return Estimate(min(seconds, most_seconds(size)), "header")


def most_seconds(size: int) -> float:
    """The longest that a file of `size` bytes can last, whatever it claims."""
    return size * 8 / SPARSEST


def _wav(head: bytes, size: int) -> float | None:
    """By the byte rate, over all bytes behind the header: the declared size of the data is not asked."""
    at, per_second = 12, 0
    while len(head) >= at + 8 and head[at : at + 4] != b"data":
        if head[at : at + 4] == b"fmt ":
            per_second = _bytes_per_second(head[at + 8 : at + 24])
        length = int.from_bytes(head[at + 4 : at + 8], "little")
        at += 8 + length + (length & 1)
    if per_second == 0:
        return None
    start = min(at + 8, size) if head[at : at + 4] == b"data" else 0
    return max((size - start) / per_second, size * 8 / _HIGHEST_PCM)


def _bytes_per_second(fmt: bytes) -> int:
    """Of a WAVE format chunk. Uncompressed sound says it twice; the lower number makes the longer file."""
    kind = int.from_bytes(fmt[0:2], "little")
    rate = int.from_bytes(fmt[4:8], "little")
    declared = int.from_bytes(fmt[8:12], "little")
    uncompressed = kind in (1, 3, 6, 7, 0xFFFE)  # PCM, float, A-law, µ-law, extensible
    return min(declared, rate * int.from_bytes(fmt[12:14], "little")) if uncompressed else declared


def _mpeg(head: bytes, size: int) -> float | None:
    """By the bit rate of the first frames; the encoder's own count of frames only where it makes the file longer."""
    at = mpeg.first_frame(head, mpeg.tag_size(head))
    if at is None:
        return None
    declared = mpeg.declared_frames(head, at)
    seen = list(mpeg.frames(head, at))
    first, sound = seen[0], seen if declared is None else seen[1:]
    rates = [one.bit_rate for one in sound]
    bit_rate = sum(rates) / len(rates)
    if len(set(rates)) > 1 and not declared:
        bit_rate = 32_000 if first.version == 1 else 8_000  # variable: the start says nothing about the rest
    counted = (declared or 0) * first.samples / first.rate
    # Frames that were counted by a stranger last no longer than the bytes at the lowest rate of the format.
    longest = size * 8 / (32_000 if first.version == 1 else 8_000)
    return max((size - at) * 8 / bit_rate, min(counted, longest), size * 8 / _HIGHEST_MPEG)


def _flac(head: bytes, size: int) -> float | None:
    """By the number of samples in STREAMINFO, and no less than the bytes would last uncompressed."""
    info = int.from_bytes(head[18:26])
    rate, total = info >> 44, info & (1 << 36) - 1
    uncompressed = rate * ((info >> 41 & 7) + 1) * ((info >> 36 & 31) + 1)
    if len(head) < 26 or rate == 0 or total == 0:
        return None
    return max(total / rate, size * 8 / uncompressed)


_READERS: Mapping[str, Callable[[bytes, int], float | None]] = {
    WAV.name: _wav,
    MP3.name: _mpeg,
    MPGA.name: _mpeg,
    FLAC.name: _flac,
}
