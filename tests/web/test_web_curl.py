"""curl, as the examples of the aggregators call it."""

import asyncio
import json
import shutil
from pathlib import Path

import pytest

from gateway.config.model import Uploads
from tests.media import make
from tests.running import Running, serving
from tests.stub import Answer, said
from tests.wire import Said

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")

TEXT = {"text": "hello"}


async def curl(gateway: Running, *options: str, path: str = "/audio/transcriptions", key: str | None = None) -> Said:
    """What curl got, with the bytes it sent as a header `uploaded`."""
    program = await asyncio.create_subprocess_exec(
        "curl", "--silent", "--show-error", "--max-time", "20", "--noproxy", "*",
        "--write-out", "%{stderr}%{http_code} %{size_upload} %{header_json}",
        "--location", gateway.url + path,
        "--header", f"Authorization: Bearer {gateway.key if key is None else key}", *options,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    body, told = await program.communicate()
    assert program.returncode == 0, told.decode()
    status, uploaded, headers = told.decode().split(" ", 2)
    found = {name: values[-1] for name, values in json.loads(headers).items()}
    return Said(int(status), {**found, "uploaded": uploaded}, bytearray(body), whole=True)


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """A recording on disk."""
    path = tmp_path / "my recording.wav"
    path.write_bytes(make("wav", 2.0))
    return path


async def test_the_call_of_the_documentation_works(store_url: str, data: Path, recording: Path) -> None:
    verbose = said("hello", task="transcribe", language="english", duration=2.0)
    async with serving(store_url, data, verbose, kind="newapi") as (gateway, one):
        got = await curl(
            gateway,
            "--request", "POST",
            "--header", "Accept: application/json",
            "--header", "Content-Type: multipart/form-data",
            "--form", f'file=@"{recording}"',
            "--form", 'model="whisper-1"',
            "--form", 'prompt="eiusmod nulla"',
            "--form", 'response_format="verbose_json"',
            "--form", 'temperature="0"',
            "--form", 'language=""',
        )  # fmt: skip
        (record,) = await gateway.records()
    assert (got.status, got.json["duration"]) == (200, 2.0)
    seen = one.seen[0]
    assert seen.headers["accept"] == "application/json"
    assert seen.fields == [
        ("file", make("wav", 2.0)),
        ("model", b"whisper-1"),
        ("prompt", b"eiusmod nulla"),
        ("response_format", b"verbose_json"),
        ("temperature", b"0"),
    ]
    assert (seen.parts[0].get_filename(), seen.parts[0].get_content_type()) == ("audio.wav", "audio/wav")
    assert (record["audio_ms"], record["cost_micro_usd"]) == ("2000", "200")


async def test_an_empty_key_is_no_key(store_url: str, data: Path, recording: Path) -> None:
    async with serving(store_url, data) as (gateway, one):
        got = await curl(gateway, "--form", f"file=@{recording}", "--form", "model=whisper-1", key="")
    assert (got.status, got.error["code"]) == (401, None)
    assert one.seen == []


@pytest.mark.parametrize("how", [[], ["--header", "Transfer-Encoding: chunked"], ["--header", "Expect:"]])
async def test_a_large_file_goes_through(store_url: str, data: Path, tmp_path: Path, how: list[str]) -> None:
    large = tmp_path / "large.flac"
    large.write_bytes(make("flac", 30.0))
    assert large.stat().st_size > 1024 * 1024  # from here on curl waits for 100 Continue
    async with serving(store_url, data) as (gateway, one):
        got = await curl(gateway, *how, "--form", f"file=@{large}", "--form", "model=whisper-1")
        (record,) = await gateway.records()
    assert (got.status, got.json) == (200, TEXT)
    assert dict(one.seen[0].fields)["file"] == large.read_bytes()
    assert abs(int(record["audio_ms"]) - 30_000) < 100


async def test_what_is_refused_is_not_even_sent(store_url: str, data: Path, tmp_path: Path) -> None:
    large = tmp_path / "large.mp3"
    large.write_bytes(bytes(3_000_000))
    form = ("--form", f"file=@{large}", "--form", "model=whisper-1")
    async with serving(store_url, data, uploads=Uploads(max_bytes=2_000_000)) as (gateway, one):
        too_large = await curl(gateway, *form)
        wrong = await curl(gateway, *form, key="sk-wrong")
    assert (too_large.status, too_large.headers["uploaded"]) == (413, "0")
    assert (wrong.status, wrong.headers["uploaded"]) == (401, "0")
    assert one.seen == []


async def test_speech_comes_out_as_a_file(store_url: str, data: Path, tmp_path: Path) -> None:
    mp3 = make("mp3", 1.0)
    speech = Answer(pieces=(mp3[:100], mp3[100:]), content_type="audio/mpeg", chunked=True)
    async with serving(store_url, data, speech) as (gateway, one):
        words = '{"model":"tts-1","input":"h\u00e9llo","voice":"alloy"}'
        got = await curl(gateway, "--json", words, "--output", str(tmp_path / "x.mp3"), path="/audio/speech")
        await gateway.records()
    assert (got.status, got.headers["content-type"]) == (200, "audio/mpeg")
    assert (tmp_path / "x.mp3").read_bytes() == mp3
    assert bytes(one.seen[0].body) == words.encode()
