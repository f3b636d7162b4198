"""Upstreams that do odd things: late connections, kept ones that close, headers of odd bytes, nothing where a whole
request was sent."""

import asyncio
import shutil
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.config.model import Uploads
from tests.running import configured, running, serving, upstream
from tests.stub import Answer, said, stub
from tests.wire import END, FORM, MODEL, dial, file

TARGET = "/v1/audio/transcriptions"
SPEECH = {"model": "tts-1", "voice": "alloy", "input": "hello"}
SOUND = bytes(range(256)) * 800  # 200 KB


async def test_a_connection_that_is_not_made_in_time_moves_on(store_url: str, data: Path) -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = [socket.socket() for _ in range(3)]  # they fill its queue; nobody ever accepts
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        async with stub() as good:
            late = upstream("a", f"http://127.0.0.1:{full.getsockname()[1]}/v1", connect_timeout=0.2)
            config = configured(data, late, upstream("b", good.url, priority=2))
            async with running(config, url=store_url) as gateway, gateway.client() as client:
                assert (await client.post("/audio/speech", json=SPEECH)).status_code == 200
                (record,) = await gateway.records()
        for one in waiting:
            one.close()
    assert (record["upstream"], record["attempts"]) == ("b", "2")


@pytest.mark.parametrize("kept", [1, 5])
async def test_a_request_that_is_swallowed_is_sent_twice_at_most(store_url: str, data: Path, kept: int) -> None:
    async with serving(store_url, data) as (gateway, one), gateway.client() as client:
        one.answers = [Answer(gate=asyncio.Event(), pieces=(b"a", b"b"))]
        asked = [asyncio.ensure_future(client.post("/audio/speech", json=SPEECH)) for _ in range(kept)]
        await one.request(kept - 1)
        one.answers[0].gate.set()  # type: ignore[union-attr]
        await asyncio.gather(*asked)  # so many connections are kept now
        one.answers = [Answer(pieces=(), cut=True, headers={"content-length": "9"}, status=200)]
        one.answers[0].refuse = True
        answer = await client.post("/audio/speech", json=SPEECH)
        await gateway.idle()
    assert answer.status_code == 503
    assert len(one.seen) <= kept + 2


async def test_an_upload_goes_out_again_when_the_kept_connection_was_just_closed(store_url: str, data: Path) -> None:
    async with serving(store_url, data) as (gateway, one), gateway.client() as client:
        assert (await client.post("/audio/speech", json=SPEECH)).status_code == 200
        one.closed.clear()
        one.answers = [Answer(refuse=True), said("after all")]  # closes as the next request begins
        answer = await client.post(
            "/audio/transcriptions", data={"model": "whisper-1"}, files={"file": ("x.wav", SOUND)}
        )
        (*_, record) = await gateway.records(2)
    assert answer.json() == {"text": "after all"}
    assert one.seen[-1].fields[-1] == ("file", SOUND)
    assert record["attempts"] == "1"


@pytest.mark.parametrize("name", ["content-disposition", "x-request-id"])
async def test_headers_of_odd_bytes_are_passed_on_and_billed(store_url: str, data: Path, name: str) -> None:
    async with stub() as one, running(configured(data, upstream("a", one.url)), url=store_url) as gateway:
        one.answers = [Answer(headers={name: "a\xe9\xff"}, content_type="audio/mpeg", pieces=(b"ID3",))]
        async with gateway.client() as client:
            answer = await client.post("/audio/speech", json=SPEECH)
            (record,) = await gateway.records()
            await gateway.idle()
    assert (answer.status_code, answer.content) == (200, b"ID3")
    assert (record["cost_micro_usd"], record["upstream_request"]) == ("75", "")


async def test_a_spool_folder_that_is_gone_costs_the_count_and_nothing_else(store_url: str, data: Path) -> None:
    folder = data / "spool"
    folder.mkdir()
    config = configured(data, uploads=Uploads(folder=folder))
    async with stub() as one:
        config = configured(data, upstream("a", one.url), uploads=Uploads(folder=folder))
        one.answers = [Answer(content_type="text/plain", pieces=(b"hello\n",))]
        async with running(config, url=store_url) as gateway, gateway.client() as client:
            shutil.rmtree(folder)
            answer = await client.post(
                "/audio/transcriptions", data={"model": "whisper-1"}, files={"file": ("x.wav", SOUND[:1000])}
            )
            (record,) = await gateway.records()
            await gateway.idle()
            metrics = gateway.app.metrics.render().decode()
    assert (answer.status_code, record["source"]) == (200, "estimate")
    assert "audiogate_spool_bytes 0.0" in metrics


async def test_a_form_that_grows_behind_the_file_is_never_whole_before_it_is_checked(
    store_url: str, data: Path
) -> None:
    """Terse part headers come out longer than they came in; a late field then asks for what the upstream cannot."""
    boundary = FORM.partition("=")[2]
    terse = "".join(
        f"--{boundary}\r\ncontent-disposition:form-data;name=x{number}\r\n\r\n1\r\n" for number in range(27)
    )
    late = f"--{boundary}\r\ncontent-disposition:form-data;name=response_format\r\n\r\nsrt\r\n"
    body = MODEL + file(SOUND) + terse.encode() + late.encode() + END
    async with stub() as one:
        plain = upstream("a", one.url)
        plain = replace(plain, can=replace(plain.can, formats=frozenset({"json"})))
        async with running(configured(data, plain), url=store_url) as gateway, dial(gateway) as wire:
            answer = await wire.post(TARGET, body)
            await gateway.idle()
            assert answer.status == 400
            assert not any(seen.whole for seen in one.seen)
            good = await wire.post(TARGET, MODEL + file(SOUND) + terse.encode() + END)
            await gateway.idle()
    assert good.status == 200
    assert [seen.whole for seen in one.seen][-1]
    assert sum(seen.whole for seen in one.seen) == 1


async def test_a_model_name_that_no_model_has_is_refused(store_url: str, data: Path) -> None:
    async with stub() as one:
        config = configured(data, upstream("a", one.url, models={"*": "*"}))
        async with running(config, url=store_url) as gateway, gateway.client() as client:
            answer = await client.post("/audio/speech", json={**SPEECH, "model": "tts-" + "x" * 200})
            await gateway.idle()
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "model")
    assert one.seen == []
