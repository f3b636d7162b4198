import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import av
import pytest

from gateway.probe import child
from tests.media import make, stored


class _Named(child.Upload):
    name = "playlist.m3u8"


def hostile(port: int) -> dict[str, bytes]:
    """Bodies that name another file."""
    url = f"http://127.0.0.1:{port}/x".encode()
    dref = b"url \0\0\0\0" + url + b"\0"
    film = make("mp4", 1.0)
    return {
        "hls": b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n" + url + b".ts\n#EXT-X-ENDLIST\n",
        "concat": b"ffconcat version 1.0\nfile '" + url + b".wav'\n",
        "sdp": f"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio {port} TCP 0\n".encode(),
        "dash": b'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><BaseURL>'
        + url
        + b"</BaseURL><Period><AdaptationSet><Representation/></AdaptationSet></Period></MPD>",
        "subtitles": b"WEBVTT\n\n00:00.000 --> 00:01.000\n" + url + b"\n",
        "film": film.replace(b"url \0\0\0\1", dref[:8]) + dref,
    }


@contextmanager
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        yield server


@pytest.mark.parametrize("body", ["hls", "concat", "sdp", "dash", "subtitles", "film"])
@pytest.mark.parametrize("upload", [child.Upload, _Named])
def test_a_body_that_names_another_file_opens_no_connection(
    body: str, upload: type[child.Upload], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child, "Upload", upload)
    with listener() as server:
        content = hostile(server.getsockname()[1])[body]
        with stored(content) as fd, suppress(av.FFmpegError, PermissionError):
            assert body == "film" or child.measure(fd) is None
        with pytest.raises(BlockingIOError):
            server.accept()


def test_a_second_file_is_refused() -> None:
    with pytest.raises(PermissionError):
        child._nothing_else("file:///etc/passwd", 0, {})


def test_without_the_limits_such_a_body_does_open_a_connection() -> None:
    with listener() as server, stored(hostile(server.getsockname()[1])["hls"]) as fd:
        with pytest.raises(av.FFmpegError), av.open(_Named(fd, start=0, size=os.fstat(fd).st_size), timeout=0.3):
            pass
        server.accept()[0].close()
