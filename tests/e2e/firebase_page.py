"""A page with Firebase's web SDK and actions for tests, as a front end without a build step has it.

The npm package `firebase` holds the very files that Google serves for such pages. A route of Playwright serves them at
Google's address.
"""

import asyncio
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, Page, Route

from tests.e2e.npm_package import SOURCE, downloaded_package, locked

FILES = ("firebase-app.js", "firebase-firestore.js")
ADDRESS = "http://localhost/"
"""Nothing listens there: Playwright answers for it."""
ANSWER_SECONDS = 30.0


class Refused(Exception):
    """The page's action failed; the message is the error's code."""


def downloaded_sdk(folder: Path) -> Path:
    """Returns the folder of the SDK's files."""
    return downloaded_package("firebase", folder, FILES)


async def opened_page(browser: Browser, sdk: Path, **places: str) -> Page:
    """Opens the page in a new context; `places` are its query parameters."""
    context = await browser.new_context(permissions=["local-network-access"])  # Firestore's emulator is on this machine
    version = locked("firebase")["version"]

    async def serve_sdk(route: Route) -> None:
        path = sdk / route.request.url.rpartition("/")[2]
        await route.fulfill(path=path, headers={"Access-Control-Allow-Origin": "*", "Content-Type": "text/javascript"})

    async def serve_page(route: Route) -> None:
        if route.request.url.endswith("/listener.js"):
            await route.fulfill(path=SOURCE / "listener.js")
        else:
            html = (SOURCE / "page.html").read_text().replace("VERSION", version)
            await route.fulfill(body=html, content_type="text/html")

    await context.route(f"https://www.gstatic.com/firebasejs/{version}/*", serve_sdk)
    await context.route(f"{ADDRESS}**", serve_page)
    page = await context.new_page()
    await page.goto(ADDRESS)
    await page.evaluate("places => connectTo(places)", places)
    return page


async def ask(page: Page, action: str, **arguments: Any) -> Any:
    """Returns what the page's action of this name returned. Raises Refused."""
    async with asyncio.timeout(ANSWER_SECONDS):
        answer = await page.evaluate("([action, args]) => answer(action, args)", [action, arguments])
    if "error" in answer:
        raise Refused(answer["error"])
    return answer["value"]
