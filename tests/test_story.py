"""What audiogate is for, in ten tests."""

import asyncio
from pathlib import Path

from tests.running import configured, key_text, running, upstream
from tests.stub import failed, said, stub

WAV = (
    b"RIFF\x24\x7d\x00\x00WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00"
    b"\x80>\x00\x00\x00}\x00\x00\x02\x00\x10\x00data\x00}\x00\x00" + bytes(32000)
)


async def test_a_transcription_goes_through_and_is_billed_once(store_url: str, data: Path) -> None:
    async with stub() as one:
        one.answers = [said("hello", usage={"type": "duration", "seconds": 60})]
        async with (
            running(configured(data, upstream("a", one.url)), url=store_url) as gateway,
            gateway.client() as client,
        ):
            answer = await client.post(
                "/audio/transcriptions", data={"model": "whisper-1", "language": ""}, files={"file": ("x.wav", WAV)}
            )
            assert answer.status_code == 200, answer.text
            assert answer.json()["text"] == "hello"
            assert answer.headers["x-request-id"].startswith("req_")
            (record,) = await gateway.records()
            await gateway.idle()
    seen = one.seen[0]
    assert seen.headers["authorization"] == "Bearer sk-secret-of-a"
    assert seen.fields == [("model", b"whisper-1"), ("file", WAV)]
    assert seen.parts[1].get_filename() == "audio.wav"
    assert int(seen.headers["content-length"]) == len(seen.body)
    assert record["cost_micro_usd"] == "6000"
    assert record["audio_ms"] == "60000"
    assert record["source"] == "upstream"
    assert record["status"] == "200"


async def test_speech_streams_back_and_is_billed_by_character(store_url: str, data: Path) -> None:
    async with stub() as one:
        one.answers = [said()]
        one.answers[0].content_type = "audio/mpeg"
        one.answers[0].pieces = (b"ID3", b"abc")
        one.answers[0].gate = asyncio.Event()
        async with (
            running(configured(data, upstream("a", one.url)), url=store_url) as gateway,
            gateway.client() as client,
        ):
            request = client.build_request(
                "POST", "/audio/speech", json={"model": "tts-1", "input": "héllo 你好", "voice": "x"}
            )
            answer = await client.send(request, stream=True)
            pieces = answer.aiter_raw()
            assert await anext(pieces) == b"ID3"
            one.answers[0].gate.set()
            assert await anext(pieces) == b"abc"
            await answer.aclose()
            (record,) = await gateway.records()
    assert answer.headers["content-type"] == "audio/mpeg"
    assert record["characters"] == "8"
    assert record["cost_micro_usd"] == "120"


async def test_the_next_upstream_serves_when_the_first_one_fails(store_url: str, data: Path) -> None:
    async with stub() as one, stub() as two:
        one.answers = [failed(403, "用户额度不足", code="insufficient_user_quota")]
        config = configured(data, upstream("a", one.url, kind="newapi"), upstream("b", two.url, priority=2))
        async with running(config, url=store_url) as gateway, gateway.client() as client:
            answer = await client.post(
                "/audio/transcriptions", data={"model": "whisper-1"}, files={"file": ("x.wav", WAV)}
            )
            (record,) = await gateway.records()
            await gateway.idle()
    assert answer.json() == {"text": "hello"}
    assert bytes(two.seen[0].body) == bytes(one.seen[0].body)
    assert (record["upstream"], record["attempts"]) == ("b", "2")


async def test_the_upload_reaches_the_upstream_while_it_is_still_being_sent(store_url: str, data: Path) -> None:
    async with (
        stub() as one,
        running(configured(data, upstream("a", one.url)), url=store_url) as gateway,
        gateway.client() as client,
    ):
        go_on = asyncio.Event()

        async def body():  # type: ignore[no-untyped-def]
            yield b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n'
            yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="x.wav"\r\n\r\n' + WAV
            await go_on.wait()
            yield b"\r\n--b--\r\n"

        sending = asyncio.ensure_future(
            client.post(
                "/audio/transcriptions", content=body(), headers={"content-type": "multipart/form-data; boundary=b"}
            )
        )
        await (await one.request()).has(len(WAV))
        assert not one.seen[0].whole
        go_on.set()
        assert (await sending).status_code == 200
        await gateway.records()
    assert one.seen[0].fields[1] == ("file", WAV)


async def test_a_wrong_key_is_refused(store_url: str, data: Path) -> None:
    async with stub() as one, running(configured(data, upstream("a", one.url)), url=store_url) as gateway:
        for key in (key_text(2), "sk-nonsense-that-is-long", gateway.key[:-1]):
            async with gateway.client(key) as client:
                answer = await client.post(
                    "/audio/transcriptions", data={"model": "whisper-1"}, files={"file": ("x.wav", WAV)}
                )
                assert answer.status_code == 401
                assert answer.json()["error"]["code"] == "invalid_api_key"
    assert one.seen == []
