"""Measures the console's first view in Chromium: python -m tests.bench.console

Prints its size compressed, and how long it takes from the navigation until a reader can click, and until the list of
runs is there after the sign-in. The cache is empty each time.
"""

import asyncio
import statistics
import tempfile
import time
import zlib
from pathlib import Path

from playwright.async_api import Browser

from infra.local.console import PUBLIC
from tests.e2e.chromium import started_chromium
from tests.e2e.system import System

TRIES = 5


def compressed_bytes() -> int:
    files = [PUBLIC / "index.html", *(PUBLIC / "console").iterdir()]
    return sum(len(zlib.compress(path.read_bytes(), 6)) for path in files)


async def measure(browser: Browser, url: str) -> tuple[float, float]:
    """Returns the seconds until (a user can be chosen, the list of runs is shown after that)."""
    async with await browser.new_context() as context:
        page = await context.new_page()
        began = time.perf_counter()
        await page.goto(url, wait_until="commit")
        button = page.get_by_role("button", name="admin")
        await button.wait_for()
        can_click = time.perf_counter()
        await button.click()
        await page.get_by_role("listbox").wait_for()
        return can_click - began, time.perf_counter() - can_click


async def main(system: System, home: Path) -> None:
    async with started_chromium(home) as browser:
        found = [await measure(browser, system.url) for _ in range(TRIES)]
    print(f"first view, all files compressed        {compressed_bytes() / 1000:6.1f} kB")
    tables = zip(("until a user can be chosen", "then until the list of runs"), zip(*found, strict=True), strict=True)
    for name, values in tables:
        print(f"{name:<38}{statistics.median(values) * 1000:6.0f} ms, median of {TRIES}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        running = System(Path(folder) / "data")
        try:
            asyncio.run(main(running, Path(folder)))
        finally:
            running.kill()
