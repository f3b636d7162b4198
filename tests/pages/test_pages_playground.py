"""The playground, as somebody uses it: with a microphone, files, and the curl that it shows."""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import httpx2
import pytest
from playwright.async_api import Browser, Page, expect

from gateway.config.model import Key, Server, Team
from gateway.policy.limits import Limit
from gateway.policy.pricing import Price
from tests.launched import WAV
from tests.media import make
from tests.pages.browsing import IN_ONE_LOOP, looking, sh, signed_in
from tests.running import configured, key_text, running, serving, until, upstream
from tests.stub import Answer, Stub, failed, said, stub

pytestmark = IN_ONE_LOOP
TOKEN = "operators of the tests, a long one"
FORMATS: Mapping[str, bytes] = {
    "json": b'{"text":"hello",  "usage":{"type":"duration","seconds":1}}',
    "text": "h\u00e9llo <b>there</b>\n".encode(),
    "srt": b"1\n00:00:00,000 --> 00:00:01,000\nhello\n\n",
    "verbose_json": b'{"task":"transcribe","duration":1.0,"text":"hello","segments":[]}',
    "vtt": b"WEBVTT\n\n00:00.000 --> 00:01.000\nhello\n",
    "diarized_json": b'{"text":"hello","segments":[{"speaker":"A","text":"hello"}]}',
}
HEARD, SPOKEN = "#hear .answer code", "#speak .answer audio"
PER_REQUEST = Price(per_request=Decimal("0.001"))
AUDIO = [{"name": "silence.wav", "mimeType": "audio/wav", "buffer": WAV}]


def _offered(page: str, name: str) -> list[str]:
    found = re.search(f'id="{name}">(.*?)</datalist>', page, re.DOTALL)
    assert found
    return re.findall('<option value="([^"]+)"', found[1])


async def transcribed(page: Page) -> str:
    """Press the button, and what is shown once it is done."""
    await page.click("#hear button.main")
    await expect(page.locator("#hear .doing")).to_contain_text("Done in")
    return str(await page.text_content(HEARD))


async def recorded(page: Page) -> None:
    """Record until something is heard."""
    await page.click("#record")
    await expect(page.locator("#record")).to_have_text("Stop")
    await until(lambda: page.eval_on_selector("#level", "(one) => one.value"), lambda level: level > 0.01)
    await expect(page.locator("#elapsed")).to_have_text(re.compile(r"\d:\d\d"))
    await page.click("#record")


def same(one: Stub) -> None:
    """The last two requests had the same fields."""
    first, second = ([field for field in seen.fields if field[0] != "file"] for seen in one.seen[-2:])
    assert first == second
    assert dict(one.seen[-1].fields)["file"] == dict(one.seen[-2].fields)["file"]


async def test_a_transcript_is_shown_and_saved_in_exactly_the_format_asked_for(
    chromium: Browser, store_url: str, data: Path
) -> None:
    answers = [Answer(pieces=(body,), content_type="text/plain") for body in FORMATS.values()]
    async with serving(store_url, data, *answers) as (gateway, one), looking(chromium, gateway.origin) as page:
        await signed_in(page, gateway.origin, gateway.key, "/playground")
        assert await page.locator("#format option").all_inner_texts() == list(FORMATS)
        await page.set_input_files("#file", AUDIO)
        for name, body in FORMATS.items():
            await page.select_option("#format", name)
            assert await transcribed(page) == body.decode()
            assert dict(one.seen[-1].fields)["response_format"] == name.encode()
            assert dict(one.seen[-1].fields)["file"] == WAV
        async with page.expect_download() as saving:
            await page.click("#hear .save")
        saved = await saving.value
        assert saved.suggested_filename == "transcript.json"
        assert (await saved.path()).read_bytes() == FORMATS["diarized_json"]
        await page.click("#hear .answer [data-copy]")
        assert await page.evaluate("navigator.clipboard.readText()") == FORMATS["diarized_json"].decode()


async def test_what_is_known_of_a_request_is_shown_with_its_transcript(
    chromium: Browser, store_url: str, data: Path
) -> None:
    teams = {"default": Team("default", limits=(Limit("requests", "minute", 60),))}
    async with serving(store_url, data, teams=teams) as (gateway, _), looking(chromium, gateway.origin) as page:
        await signed_in(page, gateway.origin, gateway.key, "/playground")
        await page.set_input_files("#file", AUDIO)
        await transcribed(page)
        facts = await page.inner_text("#hear .facts")
        (record,) = await gateway.records()
        assert await page.get_attribute("#hear .facts a", "href") == f"/requests/{record['id']}"
        assert "59 of 60 requests left" in facts
        assert "Time taken" in facts


@pytest.mark.parametrize(("kind", "begins"), [("openai", b"\x1aE\xdf\xa3"), ("newapi", b"RIFF")])
async def test_a_recording_is_transcribed_as_wav_where_no_upstream_reads_webm(
    chromium: Browser, store_url: str, data: Path, kind: str, begins: bytes
) -> None:
    async with (
        serving(store_url, data, said("beep"), kind=kind) as (gateway, one),
        looking(chromium, gateway.origin) as page,
    ):
        await signed_in(page, gateway.origin, gateway.key, "/playground")
        await recorded(page)
        await expect(page.locator("#chosen")).to_contain_text("recording")
        assert await transcribed(page) == '{"text": "beep"}'
        file = dict(one.seen[0].fields)["file"]
        assert file.startswith(begins)
        async with page.expect_download() as saving:
            await page.click("#saving a")
        saved = await saving.value
        assert (await saved.path()).read_bytes() == file
        assert f"file=@{saved.suggested_filename}" in str(await page.text_content("#hear-curl code"))
        await until(lambda: page.eval_on_selector("#own", "(one) => one.readyState"), bool)
        (record,) = await gateway.records()
        assert 100 <= int(record["audio_ms"]) <= 60_000


async def test_a_file_may_be_dropped_and_one_that_is_too_large_is_not_sent(
    chromium: Browser, store_url: str, data: Path
) -> None:
    async with serving(store_url, data) as (gateway, one), looking(chromium, gateway.origin) as page:
        await signed_in(page, gateway.origin, gateway.key, "/playground")
        await page.click("#hear button.main")
        await expect(page.locator("#hear .wrong")).to_contain_text("There is no audio yet")
        drop = """(size) => {
            const carried = new DataTransfer();
            carried.items.add(new File([new Uint8Array(size)], "dropped.mp3", { type: "audio/mpeg" }));
            document.querySelector(".drop").dispatchEvent(new DragEvent("drop", { dataTransfer: carried }));
        }"""
        await page.evaluate(drop, 26_300_000)
        await page.click("#hear button.main")
        await expect(page.locator("#hear .wrong")).to_contain_text("more than the gateway takes")
        assert not one.seen
        await page.evaluate(drop, 2000)
        assert await transcribed(page) == '{"text": "hello"}'
        assert dict(one.seen[0].fields)["file"] == bytes(2000)


async def test_events_are_shown_as_they_come_and_may_be_cancelled(
    chromium: Browser, store_url: str, data: Path
) -> None:
    first = b'data: {"type":"transcript.text.delta","delta":"one "}\n\n'
    rest = (
        b'data: {"type":"transcript.text.delta","delta":"two"}\r\n\r\n'
        b'data: {"type":"transcript.text.done","text":"One two."}\n\n'
    )
    gate, never = asyncio.Event(), asyncio.Event()
    events = Answer(pieces=(first, rest), content_type="text/event-stream", gate=gate)
    answers = [events, replace(events, gate=never)]
    async with serving(store_url, data, *answers) as (gateway, one), looking(chromium, gateway.origin) as page:
        await signed_in(page, gateway.origin, gateway.key, "/playground")
        await page.set_input_files("#file", AUDIO)
        await page.check("[name=stream]")
        assert "-F stream=true" in str(await page.text_content("#hear-curl code"))
        await page.click("#hear button.main")
        await expect(page.locator(HEARD)).to_have_text("one ", use_inner_text=False)
        gate.set()
        await expect(page.locator(HEARD)).to_have_text("One two.")
        await expect(page.locator("#hear .doing")).to_contain_text("Done in")
        await page.click("#hear button.main")
        await expect(page.locator(HEARD)).to_have_text("one ", use_inner_text=False)
        await page.keyboard.press("Enter")  # the focus went to Cancel
        await expect(page.locator("#hear .doing")).to_have_text("Cancelled.")
        await expect(page.locator("#hear button.main")).to_be_focused()
        await asyncio.wait_for(one.seen[1].closed.wait(), 10)


async def test_speech_can_be_played_and_saved(chromium: Browser, store_url: str, data: Path) -> None:
    spoken = make("mp3")
    answer = Answer(pieces=(spoken[:500], spoken[500:]), content_type="audio/mpeg")
    async with serving(store_url, data, answer) as (gateway, one), looking(chromium, gateway.origin) as page:
        await signed_in(page, gateway.origin, gateway.key, "/playground")
        await page.fill("#input", 'It\'s "$5" \\ ok\n<é>')
        await page.fill("#voice", "nobody")
        await page.fill("#speed", "1.5")
        await page.fill("#instructions", "Whisper.")
        await page.click("#speak button.main")
        await expect(page.locator("#speak .doing")).to_contain_text("Done in")
        assert one.seen[0].json == {
            "model": "tts-1",
            "input": 'It\'s "$5" \\ ok\n<é>',
            "voice": "nobody",
            "response_format": "mp3",
            "instructions": "Whisper.",
            "speed": 1.5,
        }
        await until(lambda: page.eval_on_selector(SPOKEN, "(one) => one.duration || 0"), lambda long: long > 1.5)
        await page.eval_on_selector(SPOKEN, "async (one) => { one.muted = true; await one.play(); }")
        assert "First byte after" in await page.inner_text("#speak .facts")
        async with page.expect_download() as saving:
            await page.click("#speak .save")
        assert (await (await saving.value).path()).read_bytes() == spoken
        command = str(await page.text_content("#speak-curl code"))
        await sh(command, data, gateway.key)
        assert (data / "speech.mp3").read_bytes() == spoken
        assert one.seen[1].json == one.seen[0].json


async def test_the_curl_that_is_shown_gives_the_same_answer(chromium: Browser, store_url: str, data: Path) -> None:
    async with serving(store_url, data, said("the same")) as (gateway, one), looking(chromium, gateway.origin) as page:
        await signed_in(page, gateway.origin, gateway.key, "/playground")
        name = 'it\'s "a"; b, c\\.wav'
        await page.set_input_files("#file", [{**AUDIO[0], "name": name}])
        (data / name).write_bytes(WAV)
        for prompt in ("@/etc/hostname", "<x;type=text/html", "$(id) `id` 'it''s' \"so\" \\ ü", "plain"):
            await page.fill("#prompt", prompt)
            await page.fill("#language", "en")
            await page.fill("#temperature", "0.3")
            shown = await transcribed(page)
            command = str(await page.text_content("#hear-curl code"))
            assert (await sh(command, data, gateway.key)).decode() == shown
            assert dict(one.seen[-1].fields)["prompt"] == prompt.encode()
            same(one)


async def test_a_refusal_is_shown_with_its_code_and_when_to_come_again(
    chromium: Browser, store_url: str, data: Path
) -> None:
    teams = {"default": Team("default", limits=(Limit("requests", "hour", 1),))}
    async with (
        serving(store_url, data, teams=teams) as (gateway, _),
        looking(chromium, gateway.origin, expected=["429"]) as page,
    ):
        await signed_in(page, gateway.origin, gateway.key, "/playground")
        await page.set_input_files("#file", AUDIO)
        await transcribed(page)
        for half in ("hear", "speak"):
            await page.click(f"#{half} button.main")
            told = page.locator(f"#{half} .wrong")
            await expect(told).to_contain_text("status 429")
            await expect(told).to_contain_text("rate_limit_exceeded")
            await expect(told).to_contain_text("Retry-After")
            await expect(page.locator(f"#{half} .answer")).to_be_hidden()
            assert await told.get_attribute("role") == "alert"


async def test_a_stream_that_ends_in_an_error_and_an_upstream_that_fails_are_told(
    chromium: Browser, store_url: str, data: Path
) -> None:
    events = (
        b'data: {"type":"transcript.text.delta","delta":"one"}\n\n'
        b'data: {"error":{"message":"no more","code":"x_1"}}\n\n'
    )
    answers = [Answer(pieces=(events,), content_type="text/event-stream"), failed(500, "boom")]
    async with (
        serving(store_url, data, *answers) as (gateway, _),
        looking(chromium, gateway.origin, expected=["50"]) as page,
    ):
        await signed_in(page, gateway.origin, gateway.key, "/playground")
        await page.set_input_files("#file", AUDIO)
        await page.check("[name=stream]")
        await page.click("#hear button.main")
        await expect(page.locator("#hear .wrong")).to_contain_text("no more")
        await expect(page.locator("#hear .wrong")).to_contain_text("x_1")
        await page.click("#speak button.main")
        await expect(page.locator("#speak .wrong")).to_contain_text("status 50")


async def test_operators_are_asked_for_a_key_which_the_tab_alone_remembers(
    chromium: Browser, store_url: str, data: Path
) -> None:
    async with (
        serving(store_url, data, server=Server(admin_token=TOKEN)) as (gateway, one),
        looking(chromium, gateway.origin) as page,
    ):
        await signed_in(page, gateway.origin, TOKEN, "/playground")
        await page.set_input_files("#file", AUDIO)
        await page.click("#hear button.main")
        await expect(page.locator("#hear .wrong")).to_contain_text("Which key")
        await expect(page.locator("#key")).to_be_focused()
        await page.keyboard.type(f" {gateway.key} ")
        await page.keyboard.press("Enter")
        await expect(page.locator("#known")).to_contain_text(gateway.key[-4:])
        assert gateway.key not in await page.content()
        await transcribed(page)
        assert one.seen
        other = await page.context.new_page()
        await other.goto(gateway.origin + "/playground")
        await expect(other.locator("#key")).to_be_visible()
        await page.click("#known button")
        await expect(page.locator("#key")).to_be_focused()
        assert await page.evaluate("sessionStorage.getItem('key')") is None


async def test_what_the_models_upstreams_cannot_do_cannot_be_chosen(
    chromium: Browser, store_url: str, data: Path
) -> None:
    async with stub() as one:
        ups = (
            upstream("a", one.url, kind="newapi", models={"whisper-1": "whisper-1"}),
            upstream("b", one.url, models={"gpt-4o-transcribe": "*"}),
        )
        async with (
            running(configured(data, *ups), url=store_url) as gateway,
            looking(chromium, gateway.origin) as page,
        ):
            await signed_in(page, gateway.origin, gateway.key, "/playground")
            await recorded(page)
            await expect(page.locator("#hear-curl code")).to_contain_text("file=@recording.wav")
            assert await page.locator("#format option:enabled").all_inner_texts() == list(FORMATS)[:5]
            await expect(page.locator("[name=stream]")).to_be_disabled()
            await page.select_option("#hear-model", "gpt-4o-transcribe")
            await expect(page.locator("#hear-curl code")).to_contain_text("file=@recording.webm")
            assert await page.locator("#format option:enabled").all_inner_texts() == list(FORMATS)
            await expect(page.locator("[name=stream]")).to_be_enabled()
            await page.select_option("#format", "diarized_json")
            assert "-F chunking_strategy=auto" in str(await page.text_content("#hear-curl code"))
            await page.select_option("#task", "translations")
            assert await page.input_value("#format") == "json"
            await expect(page.locator("#language")).to_be_disabled()
            await page.set_input_files("#file", AUDIO)
            await transcribed(page)
            assert one.seen[0].target == "/v1/audio/translations"


async def test_a_phone_shows_all_of_it_and_without_a_script_there_are_the_commands(
    chromium: Browser, store_url: str, data: Path
) -> None:
    async with serving(store_url, data) as (gateway, _):
        phone = {"width": 360, "height": 740}
        async with looking(chromium, gateway.origin, viewport=phone) as page:
            await signed_in(page, gateway.origin, gateway.key, "/playground")
            assert await page.evaluate("document.documentElement.scrollWidth") <= 360
        async with looking(chromium, gateway.origin, java_script_enabled=False) as page:
            await signed_in(page, gateway.origin, gateway.key, "/playground")
            await expect(page.get_by_text("which your browser does not run")).to_be_visible()
            await expect(page.locator("#hear")).to_be_hidden()
            (data / "audio.mp3").write_bytes(WAV)
            for half in ("hear", "speak"):
                command = str(await page.text_content(f"#{half}-curl code"))
                await sh(command, data, gateway.key)
            assert b"hello" in (data / "speech.mp3").read_bytes()


async def test_holders_are_offered_what_their_key_may_use_and_operators_all(store_url: str, data: Path) -> None:
    keys = {
        "alice": Key("alice", "default", key_text(1), models=("whisper-*", "other", "custom-*")),
        "bob": Key("bob", "default", key_text(2), upstreams=("b",)),
    }
    models = {"whisper-1": "*", "custom-tts": "*", "other": "*", "tts-1": "*", "unpriced": "*"}
    prices = {"whisper-1": PER_REQUEST, "custom-tts": PER_REQUEST, "other": PER_REQUEST, "tts-1": PER_REQUEST}
    async with stub() as one:
        a, b = upstream("a", one.url, models=models), upstream("b", one.url, models={"*": "*"})
        config = configured(data, a, b, keys=keys, prices=prices, server=Server(admin_token=TOKEN))
        async with running(config, url=store_url) as gateway:
            for secret, hearing, speaking in (
                (key_text(1), ["whisper-1", "other"], ["custom-tts", "other"]),
                (key_text(2), ["whisper-1", "other"], ["custom-tts", "other", "tts-1"]),
                (TOKEN, ["whisper-1", "other"], ["custom-tts", "other", "tts-1"]),
            ):
                async with httpx2.AsyncClient(base_url=gateway.origin) as client:
                    assert (await client.post("/sign-in", data={"secret": secret})).status_code == 303
                    page = (await client.get("/playground")).text
                    assert _offered(page, "hear-models") == hearing
                    assert _offered(page, "speak-models") == speaking
                    assert 'list="hear-models"' in page  # patterns let it be any other
