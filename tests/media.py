"""Real audio for the tests: one synthesised tone in every container the gateway meets. No ffmpeg program needed."""

import io
import math
import random
import tempfile
from array import array
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache

import av
from av.audio.stream import AudioStream

RATE = 48_000
"""Samples per second of everything made here."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How one kind is made. `pipe`: the muxer may not seek back, so it cannot fill in sizes and durations."""

    format: str
    codec: str
    sample_format: str
    bit_rate: int = 0
    pipe: bool = False
    layout: str = "mono"
    muxer: Mapping[str, str] = field(default_factory=dict)
    encoder: Mapping[str, str] = field(default_factory=dict)


RECIPES: Mapping[str, Recipe] = {
    "webm": Recipe("webm", "libopus", "s16", 32_000),
    "webm_live": Recipe("webm", "libopus", "s16", 32_000, pipe=True, muxer={"live": "1"}),
    "mp3": Recipe("mp3", "libmp3lame", "s16p", 64_000),
    "mp3_vbr": Recipe(
        "mp3",
        "libmp3lame",
        "s16p",
        muxer={"write_xing": "0", "id3v2_version": "0"},
        encoder={"flags": "+qscale", "global_quality": str(5 * 118)},
    ),
    "mp4": Recipe("mp4", "aac", "fltp", 64_000),
    "mp4_fragmented": Recipe(
        "mp4", "aac", "fltp", 64_000, pipe=True, muxer={"movflags": "frag_keyframe+empty_moov+default_base_moof"}
    ),
    "mpeg": Recipe("mpeg", "mp2", "s16", 64_000),
    "mpga": Recipe("mp2", "mp2", "s16", 64_000),
    "m4a": Recipe("ipod", "aac", "fltp", 64_000),
    "wav": Recipe("wav", "pcm_s16le", "s16"),
    "wav_stream": Recipe("wav", "pcm_s16le", "s16", pipe=True),
    "ogg": Recipe("ogg", "libopus", "s16", 32_000),
    "ogg_vorbis": Recipe("ogg", "vorbis", "fltp", 64_000, layout="stereo", encoder={"strict": "experimental"}),
    "oga": Recipe("oga", "flac", "s16"),
    "flac": Recipe("flac", "flac", "s16"),
    "flac_stream": Recipe("flac", "flac", "s16", pipe=True),
    "aac": Recipe("adts", "aac", "fltp", 64_000),
    "mov": Recipe("mov", "aac", "fltp", 64_000),
    "matroska": Recipe("matroska", "libopus", "s16", 32_000),
    "wav_float": Recipe("wav", "pcm_f32le", "flt"),
}

KINDS = tuple(RECIPES)
"""Every kind that `make` knows."""


class _Pipe(io.RawIOBase):
    """A sink that can only be written to, as a muxer sees standard output."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def write(self, part: object) -> int:
        self.parts.append(bytes(part))  # type: ignore[call-overload]
        return len(self.parts[-1])


@cache
def _second() -> bytes:
    """One second of mono 16-bit samples: a tone with a little noise, so that bit rates are those of real sound."""
    dice = random.Random(20)
    return array(
        "h", (int(9_000 * math.sin(2 * math.pi * 440 * at / RATE)) + dice.randrange(-900, 900) for at in range(RATE))
    ).tobytes()


def _tone(seconds: float) -> bytes:
    return (_second() * math.ceil(seconds))[: 2 * round(seconds * RATE)]


@cache
def make(kind: str, seconds: float = 2.0) -> bytes:
    """A file of `kind` (a row of `RECIPES`) that lasts `seconds`."""
    recipe = RECIPES[kind]
    sink: io.BytesIO | _Pipe = _Pipe() if recipe.pipe else io.BytesIO()
    with av.open(sink, "w", format=recipe.format, container_options=dict(recipe.muxer)) as container:
        stream: AudioStream = container.add_stream(  # type: ignore[assignment]
            recipe.codec, rate=RATE, options=dict(recipe.encoder), layout=recipe.layout
        )
        stream.codec_context.format = recipe.sample_format
        if recipe.bit_rate:
            stream.bit_rate = recipe.bit_rate
        samples = _tone(seconds)
        resampler = av.AudioResampler(
            format=recipe.sample_format,
            layout=recipe.layout,
            rate=RATE,
            frame_size=stream.codec_context.frame_size or 1_024,
        )
        frame = av.AudioFrame(format="s16", layout="mono", samples=len(samples) // 2)
        frame.planes[0].update(samples)
        frame.sample_rate = RATE
        frame.pts = 0
        for whole in [frame, None]:
            for piece in resampler.resample(whole):
                container.mux(stream.encode(piece))
        container.mux(stream.encode(None))
    return b"".join(sink.parts) if isinstance(sink, _Pipe) else sink.getvalue()


@contextmanager
def stored(content: bytes) -> Iterator[int]:
    """The descriptor of an unlinked file that holds `content`, as the spool has it."""
    with tempfile.TemporaryFile() as file:
        file.write(content)
        file.flush()
        yield file.fileno()


def decoded(content: bytes) -> float:
    """What a decoder makes of it, in seconds: the truth that a bill is held against."""
    seconds = 0.0
    with av.open(io.BytesIO(content), "r") as file:
        try:
            for frame in file.decode(audio=0):
                seconds += frame.samples / frame.sample_rate
        except av.FFmpegError:
            pass
    return seconds


def patched(content: bytes, mark: bytes, offset: int, value: bytes) -> bytes:
    """`content` with other bytes at `offset` from the first `mark`."""
    at = content.index(mark) + offset
    return content[:at] + value + content[at + len(value) :]


def packed(format_: str, packets: Sequence[tuple[bytes, int, int]]) -> bytes:
    """Opus packets as (bytes, time, duration), both in samples of 48 kHz, in a container."""
    sink = io.BytesIO()
    with av.open(sink, "w", format=format_) as container:
        stream: AudioStream = container.add_stream("libopus", rate=RATE, layout="mono")  # type: ignore[assignment]
        stream.codec_context.open()
        for content, time, duration in packets:
            packet = av.Packet(content)
            packet.stream, packet.time_base = stream, Fraction(1, RATE)
            packet.pts = packet.dts = time
            packet.duration = duration
            container.mux(packet)
    return sink.getvalue()


@cache
def silence(seconds: int) -> bytes:
    """Opus that says nothing, in an Ogg file: three bytes for each 120 ms."""
    packet, size = bytes([3 << 3 | 3, 2, 0]), 5_760
    return packed("ogg", [(packet, at * size, size) for at in range(math.ceil(seconds * RATE / size))])


def mutated(content: bytes, seed: int) -> bytes:
    """`content` with some of it changed, the same for the same seed; its first bytes are hit more often."""
    dice = random.Random(seed)
    found = bytearray(content)
    for _ in range(dice.choice((1, 2, 4, 16))):
        size = len(found)
        at = min(int(dice.expovariate(6) * size), size - 1) if dice.random() < 0.7 else dice.randrange(min(size, 200))
        length = dice.choice((1, 1, 2, 4, 8, 64))
        match dice.randrange(6):
            case 0:
                found[at] ^= 1 << dice.randrange(8)
            case 1:
                found[at : at + length] = dice.choice((b"\0", b"\xff", b"\x7f", b"\x80")) * length
            case 2:
                found[at : at + length] = dice.randbytes(length)
            case 3:
                del found[at : at + length * dice.randrange(1, 50)]
            case 4:
                found[at:at] = found[dice.randrange(size) :][: length * 8]
            case _:
                found[at : at + 4] = dice.choice((0, 1, 2**31 - 1, 2**31, 2**32 - 1, size)).to_bytes(4, "big")
        found = found or bytearray(b"\0")
    return bytes(found)
