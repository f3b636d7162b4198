"""The process that opens uploads: descriptors in, seconds out. It can do nothing else.

Every byte it reads comes from a stranger, so it starts without environment, gives up what it does not need (see
`seal.py` too), and shows FFmpeg nothing but the bytes of one descriptor: no names, no protocols, no decoders. It ends
with the gateway, or when its channel does.
"""

import json
import math
import os
import resource
import socket
import sys
from collections.abc import Callable
from typing import Protocol

import av
import av.subtitles.codeccontext
import av.subtitles.stream  # PyAV loads these two late, when no file can be opened any more
from av.audio.codeccontext import AudioCodecContext
from av.audio.stream import AudioStream

from gateway.audio.duration import most_seconds
from gateway.probe.packets import least
from gateway.probe.seal import seal
from gateway.probe.span import SPAN

FORMATS = "wav,mp3,mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,ogg,flac,mpeg,aac"
"""The demuxers an upload may reach; playlists and the like, which name other files, are not among them."""

OPTIONS = {"format_whitelist": FORMATS, "protocol_whitelist": "none", "codec_whitelist": "none"}
"""Nothing named "none" exists. Without the last option FFmpeg decodes the first frames of each stream on opening."""

MEMORY = 512 * 2**20
"""Address space in bytes. About 130 MiB are mapped once PyAV is loaded."""

CPU_SECONDS = 6
"""Processor time of one job; a whole second above the parent's deadline, which is the one that should strike."""

WRAPPED = 2**31
"""Ticks no packet lasts: the Ogg demuxer trims the end of short Vorbis files below zero, in 32 bits without sign."""

METADATA = frozenset(
    {b"LIST", b"id3 ", b"ID3 ", b"bext", b"iXML", b"_PMX", b"cue ", b"smpl", b"fact", b"JUNK", b"PAD "}
)
"""RIFF chunks that may follow the sound and hold none of it."""


class Upload:
    """Some bytes of a descriptor as a file object, at an offset of its own: the parent's place is never moved."""

    def __init__(self, fd: int, *, start: int, size: int) -> None:
        self._fd = fd
        self._start = start
        self._at = 0
        self.size = size

    def read(self, count: int) -> bytes:
        """The next bytes; empty at the end."""
        part = os.pread(self._fd, max(0, min(count, self.size - self._at)), self._start + self._at)
        self._at += len(part)
        return part

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to `offset`; the new place."""
        self._at = offset + (0, self._at, self.size)[whence]
        return self._at

    def tell(self) -> int:
        """The place of the next read."""
        return self._at


class Packet(Protocol):
    """What is read of PyAV's packets."""

    pts: int | None
    duration: int | None
    pos: int | None
    size: int

    def __bytes__(self) -> bytes: ...


class Tally:
    """What one audio stream lasts, three ways: declared durations, time stamps, what its codec puts in a packet."""

    def __init__(self, *, tick: float, codec: str, rate: int) -> None:
        self._tick = tick
        self._rate = rate
        self._least = least(codec)
        self._by_codec = 0.0
        self._ticks = 0
        self._first: int | None = None
        self._last = 0
        self.bytes = 0
        self.end = 0
        """Offset behind the last packet in the file, where the container tells it."""

    def add(self, packet: Packet) -> None:
        """Count one packet."""
        duration = packet.duration or 0
        if not 0 < duration < WRAPPED:
            duration = 0
        self._ticks += duration
        self.bytes += packet.size
        if packet.pos is not None:
            self.end = packet.pos + packet.size
        if packet.pts is not None:
            self._first = packet.pts if self._first is None else self._first
            self._last = packet.pts + duration
        if self._least is not None:
            self._by_codec += self._least(bytes(packet), self._rate)

    @property
    def seconds(self) -> float:
        """The largest of the three."""
        stamps = 0 if self._first is None else self._last - self._first
        return max(self._ticks * self._tick, stamps * self._tick, self._by_codec)


def _nothing_else(url: str, _flags: int, _options: object) -> object:
    """FFmpeg asks for a second file: an upload is one file."""
    raise PermissionError(url)


def _uncounted(upload: Upload, end: int) -> int:
    """Bytes of a WAV file behind its data chunk (offset `end`) that are no metadata.

    Sound behind a data chunk whose size was forged, or a second file glued on: some decoders play them.
    """
    end += end & 1
    while end < upload.size:
        upload.seek(end)
        head = upload.read(8)
        behind = end + 8 + int.from_bytes(head[4:8], "little")
        if head[:4] not in METADATA or behind > upload.size:
            return upload.size - end
        end = behind + (behind & 1)
    return 0


def _tally(stream: AudioStream) -> Tally:
    codec: AudioCodecContext | None = getattr(stream, "codec_context", None)  # None where FFmpeg knows no decoder
    return Tally(
        tick=float(stream.time_base or 0),
        codec="" if codec is None else codec.codec.canonical_name,
        rate=0 if codec is None else codec.sample_rate,
    )


def measure(fd: int, *, at: int = 0, size: int | None = None) -> float | None:
    """Seconds of sound in the file open as `fd`, counted packet by packet; None if there are none.

    What is meant are `size` bytes (None: all) from offset `at`.
    Of several audio streams the longest counts, and no more than so many bytes can hold. Raises what PyAV raises for
    bytes it cannot read; a file that ends or breaks in the middle lasts as long as what came before.
    """
    upload = Upload(fd, start=at, size=os.fstat(fd).st_size - at if size is None else size)
    with av.open(
        upload, "r", options=OPTIONS, io_open=_nothing_else, buffer_size=2**16, metadata_errors="ignore"
    ) as file:
        tallies = {stream.index: _tally(stream) for stream in file.streams.audio}
        try:
            for packet in file.demux(*file.streams.audio) if tallies else ():
                if packet.size:
                    tallies[packet.stream_index].add(packet)
        except av.FFmpegError:
            pass
        tally = max(tallies.values(), key=lambda one: one.seconds, default=None)
        if tally is None or not tally.seconds > 0:
            return None
        extra = _uncounted(upload, tally.end) if file.format.name == "wav" else 0
        seconds = tally.seconds * (1 + extra / tally.bytes)
    return min(seconds, most_seconds(upload.size)) if math.isfinite(seconds) else None


def serve(channel: socket.socket, *, before_each: Callable[[], None], unsealed: str = "") -> None:
    """Answer until the other end closes: a span with one descriptor in, one line of JSON out.

    The first line says that it is ready, and what keeps it from being sealed, if anything does.
    """
    channel.sendall(unsealed.encode() + b"\n")
    while True:
        request, fds, _flags, _address = socket.recv_fds(channel, SPAN.size, 1)
        if not request:
            return
        try:
            before_each()
            answer: dict[str, float | str | None] = {"seconds": _asked(fds[0], request)}
        except Exception as error:
            answer = {"error": type(error).__name__}
        finally:
            for fd in fds:
                os.close(fd)
        channel.sendall(json.dumps(answer).encode() + b"\n")


def _asked(fd: int, request: bytes) -> float | None:
    at, size = SPAN.unpack(request)
    return measure(fd, at=at, size=size)


def allow_cpu() -> None:
    """Let the next job use `CPU_SECONDS`: the limit counts from the start of the process, so it moves along."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _soft, hard = resource.getrlimit(resource.RLIMIT_CPU)
    limit = math.ceil(used.ru_utime + used.ru_stime) + CPU_SECONDS
    resource.setrlimit(resource.RLIMIT_CPU, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))


def give_up() -> None:  # pragma: no cover - in the child alone; tests read its limits from outside
    """Cap memory and open files; no files written, no processes, no core dumps."""
    caps = {"AS": MEMORY, "NOFILE": 16, "FSIZE": 0, "NPROC": 0, "CORE": 0}
    for name, cap in caps.items():
        resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (cap, cap))


def main(channel_fd: int) -> None:  # pragma: no cover - the same
    """Serve on the socket inherited as `channel_fd`."""
    give_up()
    with socket.socket(fileno=channel_fd) as channel:
        serve(channel, before_each=allow_cpu, unsealed=seal())


if __name__ == "__main__":  # pragma: no cover - the same
    main(int(sys.argv[1]))
