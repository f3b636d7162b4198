"""What watches over the pages' tests in a browser sees what it should."""

from pathlib import Path

import pytest
from playwright.async_api import Browser

from tests.pages.browsing import IN_ONE_LOOP, looking
from tests.running import serving

pytestmark = IN_ONE_LOOP
STYLE = "const one = document.createElement('p'); one.setAttribute('style', 'color: red'); document.body.append(one);"
IMAGE = (
    "await new Promise((done) => { const one = new Image(); one.onerror = done; one.src = 'http://127.0.0.1:9/x'; });"
)


async def seen(chromium: Browser, origin: str, visited: str, wrong: str, *expected: str) -> None:
    async with looking(chromium, origin, expected=expected) as page:
        await page.goto(visited + "/sign-in")
        await page.evaluate(f"async () => {{ {wrong} }}")


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (STYLE, "style-src-attr"),
        (IMAGE, "img-src"),
        ("console.error('so it is')", "so it is"),
        ("await new Promise((done) => setTimeout(() => { setTimeout(done); throw new Error('oh'); }))", "oh"),
        ("await fetch('/sign-out', { method: 'PUT' })", "405"),
    ],
)
async def test_a_page_that_does_wrong_fails_its_test(
    chromium: Browser, store_url: str, data: Path, wrong: str, told: str
) -> None:
    async with serving(store_url, data) as (gateway, _):
        with pytest.raises(AssertionError, match=told):
            await seen(chromium, gateway.origin, gateway.origin, wrong)
        await seen(chromium, gateway.origin, gateway.origin, wrong, told, "Content Security Policy", "it went to")


async def test_a_page_that_leaves_the_gateway_fails_its_test(chromium: Browser, store_url: str, data: Path) -> None:
    async with serving(store_url, data) as (gateway, _), serving(store_url, data) as (other, _):
        with pytest.raises(AssertionError, match="it went to"):
            await seen(chromium, gateway.origin, other.origin, "")
