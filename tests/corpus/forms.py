"""Forms as clients put them on the wire: order, framing, header order and letter case are those of each client."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

WAV = (
    b"RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0\x01\0\x01\0\x80\x3e\0\0\0\x7d\0\0\x02\0\x10\0data\xff\xff\xff\xff"
    + random.Random(8).randbytes(9_000)
)
"""A WAV header (16 kHz, 16 bit) and noise: longer than what is read to tell a container."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A form: its Content-Type, its bytes, and its parts in order as (name, value)."""

    content_type: str
    body: bytes
    parts: Sequence[tuple[str, bytes]]
    slack: int = field(default=2)
    """By how many bytes the length that is announced may exceed the one that is sent."""


def text(name: str, value: str | bytes) -> tuple[str, bytes, bytes]:
    """A text part with the usual header."""
    raw = value.encode() if isinstance(value, str) else value
    return name, f'Content-Disposition: form-data; name="{name}"'.encode(), raw


def file(headers: str, value: bytes = WAV, *, name: str = "file") -> tuple[str, bytes, bytes]:
    """A part with these header lines."""
    return name, headers.encode(), value


def form(boundary: str, *parts: tuple[str, bytes, bytes], end: bytes = b"\r\n") -> bytes:
    """The body of a form."""
    line = b"--" + boundary.encode()
    return b"".join(line + b"\r\n" + head + b"\r\n\r\n" + value + b"\r\n" for _, head, value in parts) + (
        line + b"--" + end
    )


def sample(
    boundary: str, *parts: tuple[str, bytes, bytes], end: bytes = b"\r\n", slack: int = 2, quoted: bool = False
) -> Sample:
    """A whole form with its Content-Type."""
    kind = f'multipart/form-data; boundary="{boundary}"' if quoted else f"multipart/form-data; boundary={boundary}"
    return Sample(kind, form(boundary, *parts, end=end), [(name, value) for name, _, value in parts], slack)


_DISPOSITION = 'Content-Disposition: form-data; name="file"; filename='
_UNDICI = "----formdata-undici-018374650192"
_HEX = "6d3b1f0c7a884fb2a9c1d3e5f7a9b1c3"

CLIENTS: Mapping[str, Sample] = {
    "openai-python": sample(
        _HEX,
        text("model", "whisper-1"),
        text("include[]", "logprobs"),
        text("language", "de"),
        text("response_format", "verbose_json"),
        text("stream", "true"),
        text("temperature", "0.2"),
        text("timestamp_granularities[]", "word"),
        text("timestamp_granularities[]", "segment"),
        file(_DISPOSITION + '"speech.wav"\r\nContent-Type: audio/x-wav'),
    ),
    "openai-python bytes": sample(
        _HEX,
        text("model", "whisper-1"),
        file(_DISPOSITION + '"upload"\r\nContent-Type: application/octet-stream'),
    ),
    "openai-node stream": sample(
        "openai-7f3c1c8e",
        file('content-disposition: form-data; name="file"; filename="s.wav"\r\ncontent-type: application/octet-stream'),
        text("model", "whisper-1"),
        text("prompt", "two\r\nlines"),
        text("chunking_strategy[type]", "server_vad"),
        end=b"\r\n\r\n",
    ),
    "openai-node file": sample(
        _UNDICI,
        file(_DISPOSITION + '"a%22b.wav"\r\nContent-Type: audio/wav'),
        text("model", "whisper-1"),
        text("stream", "true"),
    ),
    "openai-node response": sample(
        _UNDICI,
        text("model", "whisper-1"),
        file(_DISPOSITION + '"unknown_file"\r\nContent-Type: audio/wav'),
    ),
    "openai-node 4": sample(
        "form-data-boundary-kz8h1m2n3p4q5r6s",
        text("model", "whisper-1"),
        file(_DISPOSITION + '"speech.wav"\r\nContent-Type: application/octet-stream'),
        end=b"\r\n\r\n",
        slack=4,
    ),
    "curl": sample(
        "------------------------d74496d66958873e",
        file(_DISPOSITION + '"C:\\\\a \\"b\\".wav"\r\nContent-Type: application/octet-stream'),
        text("model", "whisper-1"),
        text("prompt", "a prompt"),
        text("response_format", "verbose_json"),
        text("temperature", "0"),
        text("language", ""),
    ),
    "curl fields first": sample(
        "------------------------d74496d66958873e",
        text("model", "whisper-1"),
        text("language", ""),
        ("opts", b'Content-Disposition: form-data; name="opts"\r\nContent-Type: application/json', b'{"a": 1}'),
        file(_DISPOSITION + '"b.wav"\r\nContent-Type: audio/wav'),
        text("prompt", ""),
        slack=170,  # the empty part behind the file is dropped
    ),
    "requests": sample(
        _HEX,
        text("model", "whisper-1"),
        file(_DISPOSITION + '"语音.wav"'),
    ),
    "httpx": sample(
        _HEX,
        text("model", "whisper-1"),
        file(_DISPOSITION + '"über.wav"\r\nContent-Type: audio/x-wav'),
    ),
    "aiohttp": sample(
        _HEX,
        (
            "model",
            b'Content-Type: text/plain; charset=utf-8\r\nContent-Disposition: form-data; name="model"',
            b"whisper-1",
        ),
        file(
            'Content-Type: audio/wav\r\nContent-Disposition: form-data; name="file"; filename="%E8%AF%AD.wav"',
        ),
        (
            "language",
            b'Content-Type: text/plain; charset=utf-8\r\nContent-Disposition: form-data; name="language"',
            b"zh",
        ),
    ),
    "ai-sdk": sample(
        _UNDICI,
        text("model", "whisper-1"),
        file(_DISPOSITION + '"audio.wav"\r\nContent-Type: audio/wav'),
        text("include[]", "logprobs"),
        text("language", "en"),
        text("prompt", "x"),
        text("response_format", "json"),
        text("temperature", "0"),
        text("timestamp_granularities[]", "word"),
        text("timestamp_granularities[]", "segment"),
    ),
    "go-openai": sample(
        "d1e7f4a0b3c2d1e7f4a0b3c2d1e7f4a0b3c2d1e7f4a0b3c2d1e7f4a0b3c2",
        file(_DISPOSITION + '"speech.wav"\r\nContent-Type: application/octet-stream'),
        text("model", "whisper-1"),
        text("temperature", "0.20"),
    ),
    "async-openai": sample(
        "9f8e7d6c5b4a3928-1706050403020100-0f1e2d3c4b5a6978-8796a5b4c3d2e1f0",
        file(_DISPOSITION + '"speech.wav"\r\nContent-Type: application/octet-stream'),
        text("model", "whisper-1"),
        text("chunking_strategy", '{"type":"server_vad","threshold":0.5}'),
    ),
    "langchain": sample(
        _HEX,
        text("model", "whisper-1"),
        file(_DISPOSITION + '"/tmp/talks/2026/a_part_3.mp3"\r\nContent-Type: audio/mpeg'),
    ),
    "browser": sample(
        "----WebKitFormBoundary7MA4YWxkTrZu0gW",
        text("model", "whisper-1"),
        text("known_speaker_names[]", "Ann"),
        text("known_speaker_names[]", "Bob"),
        text("known_speaker_references[]", "data:audio/wav;base64," + "QUJD" * 18_000),
        text("known_speaker_references[]", "data:audio/wav;base64," + "REVG" * 18_000),
        file(_DISPOSITION + '"blob"\r\nContent-Type: audio/webm'),
    ),
}
