"""One operator's day in a browser, with the real gateway behind it and the real SDK beside it."""

import json
import re
from pathlib import Path

import pytest
from openai import APIStatusError, AsyncOpenAI
from playwright.async_api import Browser, Page

from gateway.pages.places import PLACES
from tests.launched import WAV
from tests.pages.browsing import IN_ONE_LOOP, looking, signed_in
from tests.pages.visiting import TOKEN, house
from tests.running import Running, key_text

pytestmark = IN_ONE_LOOP

AXE = Path(__file__).parents[1] / "node/node_modules/axe-core/axe.min.js"
PAGES = [place.path for place in PLACES if place.name]
MORE = ["/keys/alice", "/teams/red"]
FOCUS = "document.activeElement.tagName + getComputedStyle(document.activeElement).outlineStyle"


async def transcribed(gateway: Running, key: str) -> str:
    """What an SDK gets, with nothing but base URL and key."""
    async with AsyncOpenAI(base_url=gateway.url, api_key=key, max_retries=0) as client:
        return (await client.audio.transcriptions.create(model="whisper-1", file=("a.wav", WAV))).text


async def make_key(page: Page, origin: str, name: str, amount: str) -> str:
    """Make a key with a budget by the form; its text."""
    await page.goto(origin + "/keys")
    if not await page.locator("#key-name").is_visible():
        await page.click("#new-key")
    await page.fill("#key-name", name)
    await page.select_option("#key-team", "red")
    await page.locator("[name=limit_measure]").first.select_option("requests")
    await page.locator("[name=limit_per]").first.select_option("day")
    await page.locator("[name=limit_amount]").first.fill(amount)
    await page.click("text=Make the key")
    return await page.locator(".secret code").inner_text()


async def test_a_key_is_made_used_seen_limited_and_revoked(chromium: Browser, store_url: str, data: Path) -> None:
    async with house(store_url, data) as (gateway, _), looking(chromium, gateway.origin) as page:
        await signed_in(page, gateway.origin, TOKEN)
        key = await make_key(page, gateway.origin, "carol", "2")
        assert await transcribed(gateway, key)
        await gateway.idle()

        await page.goto(gateway.origin + "/requests?key=carol")
        row = page.locator("tbody tr", has_text="carol").first
        assert "$0.0001" in await row.inner_text()  # one second of whisper-1
        await row.locator("a[href^='/requests/req_']").click()
        told = await page.inner_text("main")
        for step in ("authenticate", "receive", "plan", "admit", "attempt", "relay", "settle"):
            assert step in told

        await page.goto(gateway.origin + "/usage?key=carol")
        assert "$0.0001" in await page.inner_text("main")
        await page.goto(gateway.origin + "/")
        assert "carol" in await page.inner_text("main")

        assert await transcribed(gateway, key)
        with pytest.raises(APIStatusError) as limited:
            await transcribed(gateway, key)
        assert (limited.value.status_code, limited.value.code) == (429, "insufficient_quota")
        assert "key carol" in str(limited.value)
        await page.goto(gateway.origin + "/keys/carol")
        assert "2 of 2" in await page.inner_text("main")

        await page.check("#sure")
        await page.click("text=Revoke the key")
        await page.wait_for_selector("[role=status]")
        assert "is revoked" in await page.inner_text("[role=status]")
        with pytest.raises(APIStatusError) as revoked:
            await transcribed(gateway, key)
        assert revoked.value.status_code == 401


async def test_a_holder_sees_its_own_and_a_secret_goes_into_the_playground(
    chromium: Browser, store_url: str, data: Path
) -> None:
    async with house(store_url, data) as (gateway, _):
        assert await transcribed(gateway, key_text(2))
        await gateway.idle()
        async with looking(chromium, gateway.origin) as page:
            await signed_in(page, gateway.origin, key_text(1))
            assert "bob" not in await page.content()
            assert await page.locator("nav a").all_inner_texts() == [
                place.name for place in PLACES if place.name and place.who != "operators"
            ]
        async with looking(chromium, gateway.origin) as page:
            await signed_in(page, gateway.origin, TOKEN)
            key = await make_key(page, gateway.origin, "carol", "5")
            await page.click("[data-try-key]")
            await page.wait_for_url("**/playground")
            assert await page.evaluate("sessionStorage.getItem('key')") == key


async def test_a_link_brings_the_secret_and_forgets_it(chromium: Browser, store_url: str, data: Path) -> None:
    async with house(store_url, data) as (gateway, _), looking(chromium, gateway.origin) as page:
        await page.goto(f"{gateway.origin}/sign-in#{TOKEN}")
        assert await page.input_value("#secret") == TOKEN
        assert page.url == f"{gateway.origin}/sign-in"
        await page.press("#secret", "Enter")
        await page.wait_for_selector("nav")


async def test_limits_get_more_rows_and_the_theme_is_kept(chromium: Browser, store_url: str, data: Path) -> None:
    async with house(store_url, data) as (gateway, _), looking(chromium, gateway.origin) as page:
        await signed_in(page, gateway.origin, TOKEN, "/keys")
        await page.click("#new-key")
        form = page.locator("form[action='/keys']")
        before = await form.locator(".row").count()
        await form.locator("[data-add-row]").click()
        assert await form.locator(".row").count() == before + 1
        assert await form.locator(".row").last.locator("input").first.get_attribute("aria-label") == "Amount, row 3"
        await page.click("[data-theme-switch]")
        assert await page.evaluate("getComputedStyle(document.documentElement).colorScheme") == "dark"
        await page.goto(gateway.origin + "/")
        assert await page.evaluate("getComputedStyle(document.documentElement).colorScheme") == "dark"


async def test_all_of_it_works_without_scripts(chromium: Browser, store_url: str, data: Path) -> None:
    async with (
        house(store_url, data) as (gateway, _),
        looking(chromium, gateway.origin, java_script_enabled=False) as page,
    ):
        await signed_in(page, gateway.origin, TOKEN)
        key = await make_key(page, gateway.origin, "carol", "5")
        assert await transcribed(gateway, key)
        for path in (*PAGES, *MORE):
            said = await page.goto(gateway.origin + path)
            assert said is not None
            assert said.status == 200
        await page.click("text=Sign out")
        assert page.url.endswith("/sign-in")


@pytest.fixture(params=["light", "dark"])
def theme(request: pytest.FixtureRequest) -> str:
    """Each theme."""
    return str(request.param)


async def test_everybody_can_use_every_page(chromium: Browser, store_url: str, data: Path, theme: str) -> None:
    """Nothing serious by axe, nothing wider than a phone, everything reachable with the keyboard."""
    if not AXE.exists():
        pytest.skip("axe-core is not installed: npm ci --prefix tests/node")
    async with house(store_url, data) as (gateway, _):
        assert await transcribed(gateway, key_text(1))
        await gateway.idle()
        found: list[str] = []
        for secret, paths in ((TOKEN, (*PAGES, *MORE)), (key_text(1), ("/", "/usage", "/playground"))):
            async with looking(chromium, gateway.origin, color_scheme=theme) as page:
                await page.goto(gateway.origin + "/sign-in")
                found += await _wrong(page)
                await signed_in(page, gateway.origin, secret)
                for path in paths:
                    await page.goto(gateway.origin + path)
                    await page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
                    found += await _wrong(page)
                    await page.set_viewport_size({"width": 360, "height": 740})
                    width = await page.evaluate("document.documentElement.scrollWidth")
                    found += [f"{path} is {width} wide"] if width > 360 else []
                    await page.set_viewport_size({"width": 1280, "height": 900})
        assert not found, "\n".join(found)


async def _wrong(page: Page) -> list[str]:
    """What axe calls serious or critical; it is put in behind the page's policy, which allows no scripts but ours."""
    await page.evaluate(AXE.read_text() + ";0")
    told = await page.evaluate(
        "axe.run({resultTypes: ['violations']}).then((found) => JSON.stringify(found.violations))"
    )
    return [
        f"{page.url} {one['id']}: {one['help']} ({one['nodes'][0]['html'][:200]})"
        for one in json.loads(told)
        if one["impact"] in ("serious", "critical")
    ]


async def test_the_keyboard_reaches_everything_and_is_seen(chromium: Browser, store_url: str, data: Path) -> None:
    async with house(store_url, data) as (gateway, _), looking(chromium, gateway.origin) as page:
        await signed_in(page, gateway.origin, TOKEN)
        await page.keyboard.press("Tab")
        assert await page.evaluate("document.activeElement.textContent") == "Skip to the page"
        assert await page.evaluate("document.activeElement.getBoundingClientRect().x >= 0")
        await page.keyboard.press("Enter")
        assert await page.evaluate("document.activeElement.id") == "main"
        seen = []
        for _ in range(20):
            await page.keyboard.press("Tab")
            seen.append(await page.evaluate(FOCUS))
        assert all(re.fullmatch(r"BODYnone|[A-Z]+(solid|auto)", one) for one in seen), seen
