"""What an upload is, by its first bytes; its name and declared type are a stranger's words. Pure.

Each row's extension and content type are what upstreams accept for such bytes: several of them choose a parser by the
lower-case extension of the file part, and the API's own list knows neither `.mov` nor `.mkv`.
"""

import re
from dataclasses import dataclass
from typing import Final

from gateway.audio import mpeg

HEAD_BYTES: Final = 4_096
"""With this many bytes (or the whole file) an answer of None is final; with fewer, only a container is an answer."""


@dataclass(frozen=True, slots=True)
class Container:
    """A kind of file. `extension` is lower-case and has no dot."""

    name: str
    extension: str
    content_type: str


WAV = Container("wav", "wav", "audio/wav")
MP3 = Container("mp3", "mp3", "audio/mpeg")
MPGA = Container("mpga", "mp3", "audio/mpeg")  # layer 2; upstreams that refuse .mpga read it as .mp3
MPEG = Container("mpeg", "mpeg", "video/mpeg")
MP4 = Container("mp4", "mp4", "video/mp4")
M4A = Container("m4a", "m4a", "audio/mp4")
MOV = Container("mov", "mp4", "video/mp4")
OGG = Container("ogg", "ogg", "audio/ogg")
FLAC = Container("flac", "flac", "audio/flac")
WEBM = Container("webm", "webm", "audio/webm")
MATROSKA = Container("matroska", "webm", "audio/webm")
AAC = Container("aac", "aac", "audio/aac")
AIFF = Container("aiff", "aiff", "audio/aiff")
AMR = Container("amr", "amr", "audio/amr")
CAF = Container("caf", "caf", "audio/x-caf")

CONTAINERS = (WAV, MP3, MPGA, MPEG, MP4, M4A, MOV, OGG, FLAC, WEBM, MATROSKA, AAC, AIFF, AMR, CAF)
"""Every container that `sniff` knows."""

_MAGIC: tuple[tuple[int, bytes, int, bytes, Container], ...] = (
    (0, b"RIFF", 8, b"WAVE", WAV),
    (0, b"RF64", 8, b"WAVE", WAV),
    (0, b"ID3", 0, b"", MP3),
    (0, b"fLaC", 0, b"", FLAC),
    (0, b"OggS", 0, b"", OGG),
    (0, b"\0\0\1\xba", 0, b"", MPEG),
    (4, b"ftyp", 8, b"M4A", M4A),
    (4, b"ftyp", 8, b"M4B", M4A),
    (4, b"ftyp", 8, b"qt  ", MOV),
    (4, b"ftyp", 8, b"", MP4),
    (4, b"moov", 0, b"", MOV),
    (4, b"mdat", 0, b"", MOV),
    (4, b"wide", 0, b"", MOV),
    (0, b"FORM", 8, b"AIFF", AIFF),
    (0, b"FORM", 8, b"AIFC", AIFF),
    (0, b"#!AMR", 0, b"", AMR),
    (0, b"caff", 4, b"\0\1", CAF),
)
"""Two marks, each with its offset, and what a file that bears both is. The first row that fits wins."""


def sniff(head: bytes) -> Container | None:
    """What the file that begins with `head` is, or None. Call again with more bytes up to `HEAD_BYTES`."""
    for at, mark, at_too, mark_too, container in _MAGIC:
        if head.startswith(mark, at) and len(head) >= at_too + 4 and head.startswith(mark_too, at_too):
            return container
    if head.startswith(b"\x1aE\xdf\xa3"):
        return _ebml(head)
    if _is_adts(head):
        return AAC
    return _mpeg_audio(head)


def safe_extension(filename: str) -> str | None:
    """The lower-case extension of a stranger's file name, at most five letters and digits; None for anything else."""
    _stem, dot, extension = filename.rpartition(".")
    if dot and re.fullmatch(r"[A-Za-z0-9]{1,5}", extension):
        return extension.lower()
    return None


def _ebml(head: bytes) -> Container | None:
    """WebM is Matroska that says so, in the DocType (element 0x4282) of the header, which is short."""
    at = head.find(b"\x42\x82") + 2
    size = head[at] & 0x7F if 1 < at < len(head) else 0
    name = head[at + 1 : at + 1 + size]
    if not size or len(name) < size:
        return None
    return WEBM if name.startswith(b"webm") else MATROSKA


def _is_adts(head: bytes) -> bool:
    """A frame of AAC, then another one where the first ends."""
    if len(head) < 7 or head[0] != 0xFF or head[1] & 0xF6 != 0xF0 or head[2] >> 2 & 15 > 12:
        return False
    size = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
    following = head[size : size + 2]
    return size >= 7 and (len(following) < 2 or (following[0] == 0xFF and following[1] & 0xF6 == 0xF0))


def _mpeg_audio(head: bytes) -> Container | None:
    """Two frames of layer 2 or 3 in a row, or one that fills the whole head."""
    at = mpeg.first_frame(head)
    found = mpeg.frame(head, at or 0)
    if found is None or (at is None and len(head) > found.size):
        return None
    return MP3 if found.layer == 3 else MPGA
