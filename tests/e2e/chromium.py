"""Debian's Chromium, driven by Playwright: one browser per worker process, and a new context for each test.

A context of Chromium's headless shell takes a third of the CPU time that one of the whole Chromium takes, which makes a
window and a profile for each.
"""

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from playwright.async_api import Browser, async_playwright, expect

from tests.needs import need

PROGRAMS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
HOW_TO_INSTALL = "The browser tests need Chromium; on Debian: apt-get install chromium-headless-shell"
OPTIONS = (
    "--no-sandbox",  # Chromium has no sandbox for root
    "--disable-gpu",  # drawing by the GPU process without a GPU costs more
    "--disable-quic",
    "--no-proxy-server",  # all servers are on this machine
)
WAIT_MILLISECONDS = 30_000
"""Playwright's own five seconds are short where several systems start at once."""


@asynccontextmanager
async def started_chromium(home: Path) -> AsyncIterator[Browser]:
    """Starts a browser that sees no settings of the user and writes nothing outside of `home`."""
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    need(None if program else HOW_TO_INSTALL)
    environment: dict[str, str | float | bool] = {"PATH": os.environ["PATH"], "HOME": str(home)}
    expect.set_options(timeout=WAIT_MILLISECONDS)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, args=OPTIONS, env=environment)
        try:
            yield browser
        finally:
            await browser.close()
