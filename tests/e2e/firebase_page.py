"""A page with Firebase's web SDK and actions for tests, as a front end without a build step has it.

The npm package `firebase` holds the very files that Google serves for such pages. npm downloads this one package, and
the lock file has its hash; a route of Playwright serves the files at Google's address.
"""

import asyncio
import json
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

from filelock import FileLock
from playwright.async_api import Browser, Page, Route

from tests.needs import need

SOURCE = Path(__file__).parent / "browser"
HOW_TO_INSTALL = "The tests of the Firebase SDK need npm; on Debian: apt-get install npm"
FILES = ("firebase-app.js", "firebase-firestore.js")
ADDRESS = "http://localhost/"
"""Nothing listens there: Playwright answers for it."""
ANSWER_SECONDS = 30.0


class Refused(Exception):
    """The page's action failed; the message is the error's code."""


def downloaded_sdk(folder: Path) -> Path:
    """Returns the folder of the SDK's files; the first process that asks for it downloads them."""
    need(None if shutil.which("npm") else HOW_TO_INSTALL)
    sdk = folder / "firebase"
    with FileLock(f"{sdk}.lock"):
        if not sdk.exists():
            _download(sdk)
    return sdk


def locked_sdk() -> Any:
    """Returns version and integrity of the package `firebase`, as package-lock.json has them."""
    return json.loads((SOURCE / "package-lock.json").read_text())["packages"]["node_modules/firebase"]


def _download(sdk: Path) -> None:
    locked = locked_sdk()
    command = ["npm", "pack", f"firebase@{locked['version']}", "--json", "--prefer-offline"]
    done = subprocess.run(command, cwd=sdk.parent, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    [packed] = json.loads(done.stdout)
    assert packed["integrity"] == locked["integrity"], "the registry has another package than package-lock.json"
    archive = sdk.parent / packed["filename"]
    with tarfile.open(archive) as package:
        members = [package.getmember(f"package/{name}") for name in FILES]
        package.extractall(sdk.with_suffix(".new"), members=members, filter="data")
    archive.unlink()
    (sdk.with_suffix(".new") / "package").rename(sdk)


async def opened_page(browser: Browser, sdk: Path, **places: str) -> Page:
    """Opens the page in a new context; `places` are its query parameters."""
    context = await browser.new_context(permissions=["local-network-access"])  # Firestore's emulator is on this machine
    version = locked_sdk()["version"]

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
