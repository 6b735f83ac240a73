"""Debian's Chromium, driven by Playwright: one browser per worker process, and a new context for each test."""

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from playwright.async_api import Browser, async_playwright

from tests.needs import need

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
HOW_TO_INSTALL = "The browser tests need Chromium; on Debian: apt-get install chromium"
OPTIONS = (
    "--no-sandbox",  # Chromium has no sandbox for root
    "--disable-gpu",  # drawing by the GPU process without a GPU costs more
    "--disable-quic",
    "--no-proxy-server",  # all servers are on this machine
)


@asynccontextmanager
async def started_chromium(home: Path) -> AsyncIterator[Browser]:
    """Starts a browser that sees no settings of the user and writes nothing outside of `home`."""
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    need(None if program else HOW_TO_INSTALL)
    environment: dict[str, str | float | bool] = {"PATH": os.environ["PATH"], "HOME": str(home)}
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, args=OPTIONS, env=environment)
        try:
            yield browser
        finally:
            await browser.close()
