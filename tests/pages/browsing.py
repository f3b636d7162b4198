"""Chromium over the pages. Whatever goes wrong in it unseen fails the test: errors of scripts, what the pages' own
policy forbids, requests that leave the gateway.

One browser for a whole module (the fixture `chromium`), as they start slowly, and a context of its own for each test:

    pytestmark = IN_ONE_LOOP

    async def test_it(chromium: Browser, ...) -> None:
        async with looking(chromium, gateway.origin) as page:
            await signed_in(page, gateway.origin, gateway.key)
"""

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page, async_playwright

IN_ONE_LOOP = pytest.mark.asyncio(loop_scope="module")
CHROMIUM = Path("/usr/bin/chromium")
MICROPHONE = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")  # it beeps once a second
OURS = ("blob:", "data:", "about:")
MILLISECONDS = 10_000  # for whatever is waited for
TOLD = """
document.addEventListener("securitypolicyviolation",
  (event) => console.error(`forbidden by the page's policy: ${event.violatedDirective} ${event.blockedURI}`));
"""


@asynccontextmanager
async def browser() -> AsyncIterator[Browser]:
    """A browser with a microphone; the test is skipped where there is none."""
    if not CHROMIUM.exists():
        pytest.skip(f"there is no {CHROMIUM}")
    async with async_playwright() as playwright:
        found = await playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu", *MICROPHONE]
        )
        try:
            yield found
        finally:
            await found.close()


@asynccontextmanager
async def looking(
    chromium: Browser, origin: str, *, expected: Sequence[str] = (), **context: Any
) -> AsyncIterator[Page]:
    """A page of a visitor of their own. At its end nothing may have gone wrong unseen.

    `expected`: words of errors that are meant, such as "429": a browser tells each refusal. `context` goes to the
    browser: `java_script_enabled`, `viewport`, `color_scheme`.
    """
    wrong: list[str] = []
    room = await chromium.new_context(permissions=["clipboard-read", "clipboard-write", "microphone"], **context)
    room.set_default_timeout(MILLISECONDS)
    await room.add_init_script(TOLD)
    page = await room.new_page()
    page.on("console", lambda said: wrong.append(said.text) if said.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda one: None if _ours(one.url, origin) else wrong.append(f"it went to {one.url}"))
    try:
        yield page
    finally:
        await room.close()
    left = [one for one in wrong if not any(word in one for word in expected)]
    assert not left, left


async def signed_in(page: Page, origin: str, secret: str, to: str = "/") -> None:
    """Sign in with a key or the operators' token, and go to a page."""
    await page.goto(origin + "/sign-in")
    await page.fill("#secret", secret)
    async with page.expect_navigation():
        await page.click("button.main")
    assert not page.url.endswith("/sign-in"), await page.inner_text("main")
    if to != "/":
        await page.goto(origin + to)


async def sh(command: str, folder: Path, key: str = "") -> bytes:
    """What a shell prints for what a page shows, with a key in its environment."""
    environ, pipe = {**os.environ, "OPENAI_API_KEY": key, "NO_PROXY": "*"}, asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *("sh", "-c", command), cwd=folder, env=environ, stdout=pipe, stderr=pipe
    )
    out, error = await process.communicate()
    assert process.returncode == 0, error.decode()
    return out


def _ours(url: str, origin: str) -> bool:
    return url.startswith((origin + "/", *OURS))
