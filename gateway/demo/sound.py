"""Sound in and out of containers, by PyAV: whatever a client uploads to plain samples, and samples to what it asked."""

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import cast

import av
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream

LISTENING_RATE = 16_000
"""Samples per second that the transcriber hears."""

SPEAKING_RATE = 24_000
"""Samples per second of every speech answer, as OpenAI documents it for `pcm`."""

LONGEST = 1400.0
"""Seconds of sound that one request may carry: OpenAI's limit for its gpt-4o transcription models."""

# Demuxers that read nothing but the bytes they are handed; playlists and the like would open addresses.
_DEMUXERS = "aac,aiff,amr,au,caf,flac,matroska,webm,mov,mp4,m4a,3gp,mp3,mpeg,ogg,w64,wav"

CONTENT_TYPES: Mapping[str, str] = {
    "mp3": "audio/mpeg",
    "opus": "audio/opus",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "pcm": "audio/pcm",
}
"""Speech `response_format` and the Content-Type it is sent with."""

_ENCODERS: Mapping[str, tuple[str, str, str]] = {  # container, codec, sample format the codec takes
    "mp3": ("mp3", "libmp3lame", "s16p"),
    "opus": ("ogg", "libopus", "s16"),
    "aac": ("adts", "aac", "fltp"),
    "flac": ("flac", "flac", "s16"),
    "wav": ("wav", "pcm_s16le", "s16"),
}


class Unreadable(Exception):
    """The upload is no sound that can be decoded, or too long. The message is a sentence for the caller."""


@dataclass(frozen=True, slots=True)
class Sound:
    """Mono samples, signed 16 bit little endian, `rate` of them a second."""

    samples: bytes
    rate: int

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return len(self.samples) / 2 / self.rate


def decode(upload: bytes) -> Sound:
    """The first audio stream of any container, as the transcriber wants it.

    Raises `Unreadable`.
    """
    samples = bytearray()
    options = {"format_whitelist": _DEMUXERS, "protocol_whitelist": ""}
    resampler = AudioResampler(format="s16", layout="mono", rate=LISTENING_RATE)
    try:
        with av.open(io.BytesIO(upload), "r", options=options) as container:
            if not container.streams.audio:
                raise Unreadable("Audio file might be corrupted or unsupported")
            for frame in container.decode(container.streams.audio[0]):
                _collect(resampler.resample(frame), samples)
                if len(samples) > 2 * LISTENING_RATE * LONGEST:
                    raise Unreadable(f"audio duration is longer than {LONGEST:.0f} seconds which is the maximum")
        _collect(resampler.resample(None), samples)
    except (av.FFmpegError, ValueError) as broken:
        raise Unreadable("Audio file might be corrupted or unsupported") from broken
    if not samples:
        raise Unreadable("Audio file might be corrupted or unsupported")
    return Sound(bytes(samples), LISTENING_RATE)


def encode(sound: Sound, response_format: str) -> bytes:
    """`sound` in one of the formats of `CONTENT_TYPES`, at `SPEAKING_RATE`."""
    if response_format == "pcm":
        samples = bytearray()
        _collect(_resampled(sound, sample_format="s16"), samples)
        return bytes(samples)
    container_name, codec, sample_format = _ENCODERS[response_format]
    out = io.BytesIO()
    with av.open(out, "w", format=container_name) as container:
        stream = cast(AudioStream, container.add_stream(codec, rate=SPEAKING_RATE, layout="mono", format=sample_format))
        for frame in _resampled(sound, sample_format=sample_format):
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return out.getvalue()


def _resampled(sound: Sound, *, sample_format: str) -> Iterator[AudioFrame]:
    frame = AudioFrame(format="s16", layout="mono", samples=len(sound.samples) // 2)
    frame.planes[0].update(sound.samples.ljust(frame.planes[0].buffer_size, b"\0"))
    frame.sample_rate = sound.rate
    resampler = AudioResampler(format=sample_format, layout="mono", rate=SPEAKING_RATE)
    yield from resampler.resample(frame)
    yield from resampler.resample(None)


def _collect(frames: list[AudioFrame] | Iterator[AudioFrame], samples: bytearray) -> None:
    for frame in frames:
        samples += bytes(frame.planes[0])[: frame.samples * 2]  # planes are padded
