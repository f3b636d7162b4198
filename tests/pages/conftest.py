"""The browser of a module, which starts slowly; see `browsing.py`."""

from collections.abc import AsyncIterator

import pytest_asyncio
from playwright.async_api import Browser

from tests.pages.browsing import browser


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def chromium() -> AsyncIterator[Browser]:
    """Chromium. The tests of its module have to run in the module's loop: `browsing.IN_ONE_LOOP`."""
    async with browser() as found:
        yield found
