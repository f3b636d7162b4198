"""The demo upstream in a thread, on a real port, and clients for it."""

import io
import socket
import threading
import wave
from collections.abc import Callable, Iterator

import httpx2
import openai
import pytest
import uvicorn

from gateway.demo.engines import Engines, Transcriber
from gateway.demo.sample import sample_path
from gateway.demo.sound import Sound, decode
from gateway.demo.upstream import create_upstream

KEY = "sk-demo-1"
SECONDS = 2.84  # of the sample: "this is a short test of the audio gateway"


class Running:
    """The upstream in a thread, at `url`."""

    def __init__(self, *, key: str | None, engines: Engines) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        config = uvicorn.Config(create_upstream(key=key, engines=engines), log_level="error")
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.socket]})

    def __enter__(self) -> str:
        self.thread.start()
        return self.url

    def __exit__(self, *_: object) -> None:
        self.server.should_exit = True
        self.thread.join(10)
        self.socket.close()


@pytest.fixture(scope="session")
def transcriber() -> Transcriber:
    return Transcriber()


@pytest.fixture(scope="session")
def run_upstream() -> Callable[[Engines], Running]:
    """Runs an upstream without a key on engines of one's own."""
    return lambda engines: Running(key=None, engines=engines)


@pytest.fixture(scope="session")
def upstream(transcriber: Transcriber) -> Iterator[str]:
    with Running(key=KEY, engines=Engines(transcriber=transcriber)) as url:
        yield url


@pytest.fixture
def sdk(upstream: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{upstream}/v1", api_key=KEY, max_retries=0, timeout=30) as client:
        yield client


@pytest.fixture
def http(upstream: str) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=upstream, headers={"authorization": f"Bearer {KEY}"}, timeout=30) as client:
        yield client


@pytest.fixture(scope="session")
def clip(in_wav: Callable[[Sound], bytes]) -> tuple[str, bytes]:
    """The first `SECONDS` of the sample, as a file to upload."""
    sample = decode(sample_path().read_bytes())
    return "clip.wav", in_wav(Sound(sample.samples[: 2 * round(sample.rate * SECONDS)], sample.rate))


@pytest.fixture(scope="session")
def in_wav() -> Callable[[Sound], bytes]:
    """Makes a WAV file of a sound."""

    def write(sound: Sound) -> bytes:
        out = io.BytesIO()
        with wave.open(out, "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(sound.rate)
            file.writeframes(sound.samples)
        return out.getvalue()

    return write
