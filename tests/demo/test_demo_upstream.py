"""The demo upstream's lists, and the upstream as a process."""

import re
import signal
import socket
import subprocess
import sys
import time

import httpx2
import openai
import pytest


def test_the_models_are_listed(sdk: openai.OpenAI) -> None:
    names = {model.id for model in sdk.models.list()}
    assert {"whisper-1", "gpt-4o-transcribe-diarize", "tts-1", "gpt-4o-mini-tts"} < names
    assert sdk.models.retrieve("tts-1-hd").id == "tts-1-hd"
    with pytest.raises(openai.NotFoundError):
        sdk.models.retrieve("gpt-9")


def test_the_voices_are_listed(http: httpx2.Client) -> None:
    answer = http.get("/v1/audio/voices").json()
    assert {"id": "alloy", "object": "audio.voice", "name": "Alloy"} in answer["voices"]
    assert answer["data"] == answer["voices"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_process_says_where_it_listens_and_stops_when_told(number: signal.Signals) -> None:
    command = [
        sys.executable,
        "-m",
        "gateway.demo.upstream",
        "--host",
        "127.0.0.1",
        "--port",
        "0",
        "--key",
        "sk-demo-1",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            found = re.fullmatch(r"listening (http://127\.0\.0\.1:\d+)\n", line)
            assert found is not None
            assert httpx2.get(f"{found[1]}/v1/models").status_code == 401
            started = time.monotonic()
            process.send_signal(number)
            rest, errors = process.communicate(timeout=10)
        finally:
            process.kill()
    assert (process.returncode, rest, errors) == (0, "", "")
    assert time.monotonic() - started < 5


def test_a_port_in_use_ends_the_process_with_a_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "gateway.demo.upstream", "--port", port]
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    assert done.returncode == 1
    assert done.stderr.startswith("demo upstream: ")
    assert "Traceback" not in done.stderr
