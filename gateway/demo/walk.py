"""What a stranger's program does with the gateway: the real SDK, a sentence to write down, one to speak."""

import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx2

from gateway.demo.sample import sample_path
from gateway.errors import SetupError

SAY = "Hello from audiogate. One key, several upstreams, and an exact bill."
READY_SECONDS = 20.0


@dataclass(slots=True)
class Walk:
    """Where to go, and what came back. `token` is the operators'.

    `seconds` of audio, `took` seconds of waiting, `spoken` bytes of speech.
    """

    origin: str
    key: str
    token: str = ""
    speaks: bool = True
    sample: Path = field(default_factory=sample_path)
    text: str = ""
    seconds: float = 0.0
    took: float = 0.0
    spoken: int = 0
    error: Exception | None = None


def walk(one: Walk) -> None:
    """Wait until the gateway is ready, then use it. Raises what the SDK raises, SetupError without the SDK."""
    try:
        from openai import OpenAI
    except ImportError as error:
        raise SetupError("The demo uses the openai SDK; install it with: pip install 'audiogate[demo]'") from error
    _ready(one.origin)
    with OpenAI(base_url=f"{one.origin}/v1", api_key=one.key, max_retries=0, timeout=60) as client:
        began = time.monotonic()
        with one.sample.open("rb") as file:
            heard = client.audio.transcriptions.create(model="whisper-1", file=file)
        one.took = time.monotonic() - began
        one.text = heard.text
        usage = heard.usage
        one.seconds = usage.seconds if usage is not None and usage.type == "duration" else 0.0
        if one.speaks:
            speech = client.audio.speech.create(model="tts-1", voice="alloy", input=SAY, response_format="mp3")
            one.spoken = len(speech.read())


def _ready(origin: str) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while True:
        try:
            if httpx2.get(f"{origin}/readyz", timeout=2).status_code == 200:
                return
        except httpx2.TransportError:
            pass
        if time.monotonic() > deadline:
            raise SetupError("the gateway did not become ready")
        time.sleep(0.05)
