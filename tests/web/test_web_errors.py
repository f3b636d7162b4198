"""Bad input: every row gets OpenAI's envelope and the right status; nothing reaches an upstream, nothing is billed."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.config.model import Key, Team, Uploads
from tests.media import make
from tests.running import Running, configured, key_text, running, serving, upstream
from tests.stub import stub
from tests.wire import END, FORM, MODEL, Said, Wire, chunked, dial, file, text

JSON = "application/json"
WAV = make("wav", 1.0)
GOOD = MODEL + file(WAV) + END
TRANSCRIPTIONS, SPEECH = "/v1/audio/transcriptions", "/v1/audio/speech"
MAX = 300_000

KEYS: Mapping[str, Key] = {
    "alice": Key("alice", "default", key_text()),
    "gone": Key("gone", "default", key_text(2), revoked=True),
    "old": Key("old", "default", key_text(3), expires=1.0),
    "elsewhere": Key("elsewhere", "default", key_text(4), upstreams=("b",)),
    "talker": Key("talker", "default", key_text(5), models=("tts-*",)),
    "teamed": Key("teamed", "writers", key_text(6)),
}
TEAMS = {"default": Team("default"), "writers": Team("writers", models=("gpt-*",))}


@dataclass(frozen=True, slots=True)
class Bad:
    """A request that must be refused with `status`, `code` and `param`. `key` None: alice's."""

    status: int
    code: str | None
    body: bytes = GOOD
    param: str | None = None
    content_type: str = FORM
    target: str = TRANSCRIPTIONS
    key: str | None = None
    headers: tuple[str, ...] = ()
    framing: str = "length"


def spoken(status: int, code: str | None, body: str, param: str | None = None) -> Bad:
    return Bad(status, code, body.encode(), param, content_type=JSON, target=SPEECH)


BAD = {
    "no key": Bad(401, None, key=""),
    "an empty bearer": Bad(401, None, key="", headers=("Authorization: Bearer ",)),
    "basic authentication": Bad(401, None, key="", headers=("Authorization: Basic YTpi",)),
    "a key of somebody else": Bad(401, "invalid_api_key", key=key_text(77)),
    "a mistyped key": Bad(401, "invalid_api_key", key=key_text()[:-1] + "x"),
    "a key of another provider": Bad(401, "invalid_api_key", key="sk-" + "a" * 48),
    "a revoked key": Bad(401, "invalid_api_key", key=key_text(2)),
    "an expired key": Bad(401, "invalid_api_key", key=key_text(3)),
    "two keys": Bad(401, "invalid_api_key", headers=(f"Authorization: Bearer {key_text()}",)),
    "an unknown model": Bad(404, "model_not_found", text("model", "whisper-9") + file(WAV) + END, "model"),
    "a model with quotes": Bad(404, "model_not_found", text("model", '"whisper-1"') + file(WAV) + END, "model"),
    "a model the key may not use": Bad(404, "model_not_found", param="model", key=key_text(5)),
    "a model the team may not use": Bad(404, "model_not_found", param="model", key=key_text(6)),
    "an upstream the key may not use": Bad(403, "upstream_not_allowed", key=key_text(4)),
    "no boundary": Bad(400, "invalid_form", content_type="multipart/form-data"),
    "two boundaries": Bad(400, "invalid_form", content_type=FORM + "; boundary=c"),
    "an impossible boundary": Bad(400, "invalid_form", content_type=f"multipart/form-data; boundary={'x' * 71}"),
    "another boundary in the body": Bad(400, "invalid_form", content_type="multipart/form-data; boundary=other"),
    "an empty body": Bad(400, "invalid_form", b""),
    "no form at all": Bad(400, "invalid_form", b"hello"),
    "no model": Bad(400, "missing_required_parameter", file(WAV) + END, "model"),
    "an empty model": Bad(400, "missing_required_parameter", text("model", "") + file(WAV) + END, "model"),
    "a model twice": Bad(400, "invalid_value", MODEL + MODEL + file(WAV) + END, "model"),
    "a model twice, around the file": Bad(400, "invalid_value", MODEL + file(WAV) + MODEL + END, "model"),
    "a model that is no text": Bad(400, "invalid_value", text("model", b"\xff\xfe") + file(WAV) + END, "model"),
    "no file": Bad(400, "missing_required_parameter", MODEL + END, "file"),
    "an empty file": Bad(400, "empty_file", MODEL + file(b"") + END, "file"),
    "two files": Bad(400, "invalid_value", MODEL + file(WAV) + file(WAV) + END, "file"),
    "a file without a name": Bad(400, "invalid_value", MODEL + text("file", WAV) + END, "file"),
    "a part without a name": Bad(400, "invalid_form", GOOD.replace(b'name="file"; ', b"")),
    "a form without its end": Bad(400, "incomplete_multipart", MODEL + file(WAV)),
    "a form cut off in a file": Bad(400, "incomplete_multipart", MODEL + file(WAV, end=b"")),
    "a form cut off, file first": Bad(400, "incomplete_multipart", file(WAV) + MODEL),
    "too many parts": Bad(400, "invalid_form", text("x", "y") * 40 + GOOD),
    "a text of 65 KiB": Bad(400, "invalid_value", text("prompt", "y" * 66_560) + GOOD, "prompt"),
    "an unknown format": Bad(400, "invalid_value", text("response_format", "xml") + GOOD, "response_format"),
    "an unknown format behind the file": Bad(
        400, "invalid_value", MODEL + file(WAV) + text("response_format", "xml") + END, "response_format"
    ),
    "JSON where a form is due": Bad(400, "invalid_content_type", b'{"model":"whisper-1"}', content_type=JSON),
    "a form where JSON is due": Bad(400, "invalid_content_type", target=SPEECH),
    "a translation that names its speakers": Bad(
        400,
        "invalid_value",
        text("response_format", "diarized_json") + GOOD,
        "response_format",
        target="/v1/audio/translations",
    ),
    "bad JSON": spoken(400, "invalid_json", "{"),
    "JSON that is no object": spoken(400, "invalid_json", "[]"),
    "JSON with a key twice": spoken(400, "invalid_json", '{"model":"a","model":"b"}'),
    "JSON that nests deep": spoken(400, "invalid_json", "[" * 50_000),
    "JSON with a lone surrogate": spoken(400, "invalid_json", '{"model":"tts-1","input":"\\ud800","voice":"x"}'),
    "speech without input": spoken(400, "missing_required_parameter", '{"model":"tts-1","voice":"x"}', "input"),
    "speech without model": spoken(400, "missing_required_parameter", '{"input":"hi","voice":"x"}', "model"),
    "speech of a number": spoken(400, "invalid_value", '{"model":"tts-1","input":7}', "input"),
    "speech in an unknown format": spoken(
        400, "invalid_value", '{"model":"tts-1","input":"hi","response_format":"ape"}', "response_format"
    ),
    "too long, read in chunks": Bad(413, None, MODEL + file(bytes(MAX)) + END, framing="chunked"),
    "too long, file first, read in chunks": Bad(413, None, file(bytes(MAX)) + MODEL + END, framing="chunked"),
    "JSON too long": spoken(413, None, '{"input":"' + "x" * MAX),
}


async def asked(wire: Wire, bad: Bad) -> Said:
    framing = f"Content-Length: {len(bad.body)}" if bad.framing == "length" else "Transfer-Encoding: chunked"
    headers = (f"Content-Type: {bad.content_type}", framing, *bad.headers)
    await wire.begin("POST", bad.target, *headers, key=bad.key)
    pieces = [bad.body[at : at + 50_000] for at in range(0, len(bad.body), 50_000)]
    await wire.send(bad.body if bad.framing == "length" else chunked(pieces))
    return await wire.answer()


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
async def test_a_bad_request_is_refused_in_openais_shape_and_costs_nothing(
    store_url: str, data: Path, bad: Bad
) -> None:
    async with stub() as one, stub() as two:
        config = configured(
            data,
            upstream("a", one.url),
            upstream("b", two.url, models={"whisper-2": "whisper-2"}),
            keys=KEYS,
            teams=TEAMS,
            uploads=Uploads(max_bytes=MAX),
        )
        async with running(config, url=store_url) as gateway, dial(gateway) as wire:
            said = await asked(wire, bad)
            error = said.error
            await gateway.idle()
            assert await gateway.cost() == 0
    assert (said.status, error["code"], error["param"]) == (bad.status, bad.code, bad.param), error
    assert error["type"] == ("server_error" if bad.status == 413 else "invalid_request_error")
    assert said.whole
    assert not any(seen.whole for seen in (*one.seen, *two.seen))


async def test_too_long_a_body_is_refused_before_it_is_read(store_url: str, data: Path) -> None:
    async with serving(store_url, data, uploads=Uploads(max_bytes=1000)) as (gateway, one), dial(gateway) as wire:
        await wire.begin("POST", TRANSCRIPTIONS, f"Content-Type: {FORM}", "Content-Length: 1001")
        said = await wire.answer()
        await gateway.idle()
    assert said.status == 413
    assert "(1000) exceeded (1001 bytes read)" in str(said.error["message"])
    assert said.headers["x-should-retry"] == "false"
    assert one.seen == []


async def test_a_body_of_just_the_most_bytes_is_welcome(store_url: str, data: Path) -> None:
    uploads = Uploads(max_bytes=len(GOOD))
    async with serving(store_url, data, uploads=uploads) as (gateway, _), dial(gateway) as wire:
        assert (await wire.post(TRANSCRIPTIONS, GOOD)).status == 200
        await gateway.records()


async def test_a_wrong_key_is_told_before_the_body_is_read(store_url: str, data: Path) -> None:
    async with serving(store_url, data) as (gateway, one), dial(gateway) as wire:
        await wire.begin("POST", TRANSCRIPTIONS, f"Content-Type: {FORM}", "Content-Length: 9999", key=key_text(77))
        assert (await wire.answer()).status == 401
    assert one.seen == []


async def test_no_message_shows_the_whole_key(store_url: str, data: Path) -> None:
    async with serving(store_url, data, keys=KEYS) as (gateway, _):
        for shown in (key_text(77), key_text(2), key_text(3), "sk-" + "a" * 48):
            async with dial(gateway) as wire:
                await wire.begin("POST", TRANSCRIPTIONS, "Content-Length: 0", key=shown)
                said = await wire.answer()
            assert shown not in said.body.decode()
            assert shown[14:40] not in said.body.decode()


async def test_a_key_that_has_been_revoked_meanwhile_stops_working(store_url: str, data: Path) -> None:
    async with serving(store_url, data) as (gateway, one), dial(gateway) as wire:
        assert (await wire.post(TRANSCRIPTIONS, GOOD)).status == 200
        await revoke(gateway)
        assert (await wire.post(TRANSCRIPTIONS, GOOD)).status == 401
        await gateway.records()
    assert len(one.seen) == 1


async def revoke(gateway: Running) -> None:
    kid = key_text().split("_")[1]
    await gateway.app.connection.client.hset("{ag}:k:" + kid, "st", "revoked")


async def test_an_upstream_without_a_price_for_the_model_does_not_serve_it(store_url: str, data: Path) -> None:
    async with stub() as one:
        config = configured(data, upstream("a", one.url), prices={})
        async with running(config, url=store_url) as gateway, dial(gateway) as wire:
            assert (await wire.post(TRANSCRIPTIONS, GOOD)).error["code"] == "model_not_found"
    assert one.seen == []
