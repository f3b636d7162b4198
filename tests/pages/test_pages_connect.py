"""The page that tells how applications are pointed at this gateway, and that what it tells is so."""

import html
import re
from pathlib import Path

from playwright.async_api import Browser, expect

from gateway.config.model import Key, Server, Team
from gateway.connect import snippets
from gateway.pages.connect import KEY
from tests.launched import WAV
from tests.pages.browsing import IN_ONE_LOOP, looking, sh, signed_in
from tests.pages.visiting import TOKEN, house, visitor
from tests.running import key_text, serving
from tests.stub import said

PAGE = "/connect"


def codes(page: str) -> list[str]:
    """All that can be copied."""
    return [html.unescape(code) for code in re.findall(r"<pre[^>]*><code>(.*?)</code>", page, re.DOTALL)]


async def test_every_application_is_told_this_address_and_a_model_that_the_key_may_use(
    store_url: str, data: Path
) -> None:
    keys = {"alice": Key("alice", "default", key_text(1), models=("gpt-*", "tts-1"))}
    async with serving(store_url, data, keys=keys) as (gateway, _), visitor(gateway.origin, key_text(1)) as alice:
        page = (await alice.get(PAGE)).text
        apps = snippets(base_url=gateway.url, key=KEY, transcribe="gpt-4o-transcribe", speak="tts-1")
        assert codes(page) == [gateway.url, *(block.text.rstrip() for app in apps for block in app.blocks)]
        for app in apps:
            assert f'href="#{app.id}"' in page
            assert f'<section class="box" id="{app.id}"' in page
        assert "whisper-1" not in page
        assert key_text(1) not in page


async def test_it_tells_the_address_as_the_browser_sees_it(store_url: str, data: Path) -> None:
    async with house(store_url, data) as (gateway, _), visitor(gateway.origin, TOKEN) as operator:
        cookie = operator.cookies.get("audiogate") or ""
        found = (await operator.get(PAGE, headers={"host": "audio.example.com:8443"})).text
        assert codes(found)[0] == "http://audio.example.com:8443/v1"
        assert cookie
        for host in ("a$(id).example", "a'b", "a b"):
            told = await operator.get(PAGE, headers={"host": host})
            assert told.status_code == 400
            assert host not in told.text


async def test_other_models_can_be_chosen_but_none_that_are_not_offered(store_url: str, data: Path) -> None:
    async with house(store_url, data) as (gateway, _), visitor(gateway.origin, TOKEN) as operator:
        chosen = (await operator.get(PAGE, params={"transcribe": "gpt-4o-transcribe", "speak": "x'; id"})).text
        apps = snippets(base_url=gateway.url, key=KEY, transcribe="gpt-4o-transcribe", speak="tts-1")
        assert codes(chosen)[1:] == [block.text.rstrip() for app in apps for block in app.blocks]


async def test_who_may_use_no_model_is_told_so(store_url: str, data: Path) -> None:
    teams, keys = {"none": Team("none", models=())}, {"alice": Key("alice", "none", key_text(1))}
    served = serving(store_url, data, keys=keys, teams=teams, server=Server(admin_token=TOKEN))
    async with served as (gateway, _), visitor(gateway.origin, key_text(1)) as alice:
        page = (await alice.get(PAGE)).text
        assert "This key may use no model." in page
        assert codes(page) == [gateway.url]
        page = (await alice.get("/playground")).text
        assert 'id="hear-model" name="model" list="hear-models" value=""' in page


class TestInABrowser:
    """What a script adds to it."""

    pytestmark = IN_ONE_LOOP

    async def test_the_key_of_this_tab_stands_in_all_of_it_only_when_asked_for(
        self, chromium: Browser, store_url: str, data: Path
    ) -> None:
        async with serving(store_url, data, said("spoken")) as (gateway, _), looking(chromium, gateway.origin) as page:
            await signed_in(page, gateway.origin, gateway.key, PAGE)
            assert gateway.key not in await page.content()
            await page.check("#mine input")
            shown = [str(text) for text in await page.locator("pre code").all_text_contents()]
            assert not [text for text in shown if KEY in text]
            expected = snippets(base_url=gateway.url, key=gateway.key, transcribe="whisper-1", speak="tts-1")
            assert shown[1:] == [block.text.rstrip() for app in expected for block in app.blocks]
            await page.click("#curl [data-copy] >> nth=0")
            command = str(await page.evaluate("navigator.clipboard.readText()"))
            (data / "meeting.mp3").write_bytes(WAV)
            assert b"spoken" in await sh(command, data)
            await page.uncheck("#mine input")
            assert gateway.key not in await page.content()

    async def test_an_application_that_is_chosen_stands_alone_and_a_model_at_once(
        self, chromium: Browser, store_url: str, data: Path
    ) -> None:
        async with (
            serving(store_url, data) as (gateway, _),
            looking(chromium, gateway.origin, viewport={"width": 360, "height": 740}) as page,
        ):
            await signed_in(page, gateway.origin, gateway.key, PAGE)
            assert await page.evaluate("document.documentElement.scrollWidth") <= 360
            await page.click("nav [href='#curl']")
            await expect(page.locator("#curl")).to_be_in_viewport()
            await expect(page.locator("#openai-python")).to_be_hidden()
            await page.click("nav [href='#all']")
            await expect(page.locator("#openai-python")).to_be_visible()
            async with page.expect_navigation():
                await page.select_option("#transcribe", "gpt-4o-transcribe")
            await expect(page.locator("#curl code").first).to_contain_text("gpt-4o-transcribe")

    async def test_operators_without_a_key_in_this_tab_are_shown_the_placeholder(
        self, chromium: Browser, store_url: str, data: Path
    ) -> None:
        async with house(store_url, data) as (gateway, _), looking(chromium, gateway.origin) as page:
            await signed_in(page, gateway.origin, TOKEN, PAGE)
            await expect(page.locator("#mine")).to_be_hidden()
            await expect(page.locator("#curl code").first).to_contain_text(KEY)
