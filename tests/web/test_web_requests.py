"""requests and aiohttp, whose forms look different from everybody else's."""

import asyncio
import json
from pathlib import Path

import aiohttp
import requests

from tests.media import make
from tests.running import serving
from tests.stub import Answer, said


async def test_the_python_example_of_the_documentation_works(store_url: str, data: Path, tmp_path: Path) -> None:
    recording = tmp_path / "audio.mp3"
    recording.write_bytes(make("wav", 1.0))  # whatever the file is, the example calls it audio.mp3

    def voice_to_text(url: str, key: str) -> str:
        with recording.open("rb") as opened:
            answer = requests.post(
                url + "/audio/transcriptions",
                headers={"Authorization": f"Bearer {key}"},
                data={"model": "whisper-1"},
                files={"file": ("audio.mp3", opened)},
                timeout=20,
            )
        return str(json.loads(answer.text).get("text", ""))

    async with serving(store_url, data, said("recognized"), kind="newapi") as (gateway, one):
        assert await asyncio.to_thread(voice_to_text, gateway.url, gateway.key) == "recognized"
        (record,) = await gateway.records()
    part = one.seen[0].parts[1]
    assert (part.get_filename(), part.get_content_type()) == ("audio.wav", "audio/wav")
    assert one.seen[0].fields == [("model", b"whisper-1"), ("file", make("wav", 1.0))]
    assert (record["source"], record["audio_ms"]) == ("packets", "1000")


async def test_a_form_of_files_alone_with_a_foreign_name_works(store_url: str, data: Path) -> None:
    def post(url: str, key: str) -> requests.Response:
        form = {"file": ("会议/录音.WAV", make("wav", 1.0)), "model": (None, "whisper-1"), "language": (None, "")}
        headers = {"Authorization": f"Bearer {key}"}
        return requests.post(url + "/audio/translations", headers=headers, files=form, timeout=20)  # type: ignore[arg-type]

    async with serving(store_url, data) as (gateway, one):
        answer = await asyncio.to_thread(post, gateway.url, gateway.key)
        (record,) = await gateway.records()
    assert answer.json() == {"text": "hello"}
    assert one.seen[0].target == "/v1/audio/translations"
    assert one.seen[0].parts[0].get_filename() == "audio.wav"
    assert record["route"] == "translation"


async def test_a_streamed_download_by_requests_is_whole(store_url: str, data: Path) -> None:
    pieces = tuple(bytes([number]) * 5000 for number in range(50))

    def post(url: str, key: str) -> list[bytes]:
        headers = {"Authorization": f"Bearer {key}"}
        body = {"model": "tts-1", "input": "hello", "voice": "x"}
        with requests.post(url + "/audio/speech", headers=headers, json=body, stream=True, timeout=20) as answer:
            assert answer.status_code == 200
            return list(answer.iter_content(4096))

    speech = Answer(pieces=pieces, content_type="audio/pcm", chunked=True)
    async with serving(store_url, data, speech) as (gateway, _):
        got = await asyncio.to_thread(post, gateway.url, gateway.key)
        await gateway.records()
    assert b"".join(got) == b"".join(pieces)


async def test_a_form_of_aiohttp_works(store_url: str, data: Path) -> None:
    form = aiohttp.FormData()
    form.add_field("file", make("ogg", 1.0), filename="聲.bin", content_type="application/octet-stream")
    form.add_field("model", "whisper-1")
    form.add_field("timestamp_granularities[]", "word")
    form.add_field("timestamp_granularities[]", "segment")
    async with serving(store_url, data) as (gateway, one), aiohttp.ClientSession() as session:
        headers = {"authorization": f"Bearer {gateway.key}"}
        async with session.post(gateway.url + "/audio/transcriptions", data=form, headers=headers) as answer:
            assert await answer.json() == {"text": "hello"}
        await gateway.records()
    assert [name for name, _ in one.seen[0].fields] == ["file", "model", *["timestamp_granularities[]"] * 2]
    part = one.seen[0].parts[0]
    assert (part.get_filename(), part.get_content_type()) == ("audio.ogg", "audio/ogg")
