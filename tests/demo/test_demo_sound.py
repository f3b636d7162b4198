"""Containers in and out."""

import io
import socket
import wave
from pathlib import Path

import av
import pytest

from gateway.demo.sample import sample_path
from gateway.demo.sound import CONTENT_TYPES, SPEAKING_RATE, Unreadable, decode, encode


@pytest.mark.parametrize("response_format", [name for name in CONTENT_TYPES if name != "pcm"])
def test_every_container_comes_back_whole(response_format: str) -> None:
    sample = decode(sample_path().read_bytes())
    again = decode(encode(sample, response_format))
    assert again.seconds == pytest.approx(sample.seconds, abs=0.1)  # codecs pad to whole frames


def test_pcm_is_24_khz_samples_alone() -> None:
    sample = decode(sample_path().read_bytes())
    assert len(encode(sample, "pcm")) / 2 / SPEAKING_RATE == pytest.approx(sample.seconds, abs=0.01)


@pytest.mark.parametrize("upload", [b"", b"no sound at all" * 100, b"RIFF\x00\x00\x00\x00WAVEfmt "])
def test_rubbish_is_refused_in_a_sentence(upload: bytes) -> None:
    with pytest.raises(Unreadable, match="corrupted or unsupported"):
        decode(upload)


def test_an_address_in_a_playlist_is_not_fetched() -> None:
    with socket.create_server(("127.0.0.1", 0)) as bait:
        bait.setblocking(False)
        address = f"http://127.0.0.1:{bait.getsockname()[1]}/a.ts"
        playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{address}\n#EXT-X-ENDLIST\n"
        with pytest.raises(Unreadable):
            decode(playlist.encode())
        with pytest.raises(BlockingIOError):  # nobody called
            bait.accept()


def test_only_listed_containers_are_opened() -> None:
    out = io.BytesIO()
    with av.open(out, "w", format="avi") as container:
        stream = container.add_stream("pcm_s16le", rate=16_000, layout="mono")
        frame = av.AudioFrame(format="s16", layout="mono", samples=16_000)
        frame.planes[0].update(bytes(frame.planes[0].buffer_size))
        frame.sample_rate = 16_000
        container.mux(stream.encode(frame))
    with pytest.raises(Unreadable):
        decode(out.getvalue())


def test_sound_beyond_the_longest_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(1)
        file.setframerate(8000)
        file.writeframes(bytes([128]) * 8000 * 1410)
    with pytest.raises(Unreadable, match="1400 seconds"):
        decode(path.read_bytes())
