"""The Chromium of this machine, without a window, as tests and pictures drive it."""

import shutil
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from playwright.async_api import Browser, async_playwright

# What Debian, other distributions and Google call it.
_COMMANDS = ("chromium", "chromium-browser", "google-chrome")


def chromium() -> str | None:
    """The path of the first one that is installed."""
    return next(filter(None, map(shutil.which, _COMMANDS)), None)


@asynccontextmanager
async def browser() -> AsyncGenerator[Browser]:
    """A browser that is open inside the block; Playwright downloads none."""
    async with async_playwright() as playwright:
        opened = await playwright.chromium.launch(executable_path=chromium())
        yield opened
        await opened.close()
