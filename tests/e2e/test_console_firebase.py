"""Tests the console as Firebase Hosting serves it: Hosting's scripts and headers, sign-in, and a Firestore listener.

Firestore is Google's emulator under infra/firestore.rules, and its SDK is the one that Hosting serves. Google's
emulator of Firebase Auth needs tools of its own, so a stub with the SDK's documented functions stands in for Auth.
"""

import json
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, Route, expect

from infra.local.console import PUBLIC
from tests.e2e.npm_package import downloaded_package
from tests.e2e.system import Cloud
from tests.workers import SharedFolder

SDK_FILES = ("firebase-app.js", "firebase-firestore.js")
HEADERS = json.loads((PUBLIC.parent / "firebase.json").read_text())["hosting"]["headers"][0]["headers"]
AUTH = """
firebase.auth = () => firebase.auth.service;
firebase.auth.GoogleAuthProvider = class {};
firebase.auth.service = {
  currentUser: null,
  onAuthStateChanged(told) { setTimeout(() => told(this.currentUser)); return () => {}; },
  async signInWithPopup() {
    this.currentUser = { uid: "demo", getIdToken: async () => TOKEN };
    return { user: this.currentUser };
  },
  async signOut() { this.currentUser = null; },
};
"""


@pytest.fixture(scope="session")
def hosted_sdk(shared_folder: SharedFolder) -> Path:
    return downloaded_package("firebase-hosted", shared_folder.path, SDK_FILES)


async def serve_as_hosting(page: Page, cloud: Cloud, sdk: Path) -> None:
    """Answers for what Hosting serves itself: the page with its headers, the SDK, and the project's configuration."""
    project, host = cloud.printed["GOOGLE_CLOUD_PROJECT"], cloud.printed["FIRESTORE_EMULATOR_HOST"]
    policy = {item["key"]: item["value"] for item in HEADERS if item["key"] != "Strict-Transport-Security"}
    csp = policy["Content-Security-Policy"].replace("connect-src", f"connect-src http://{host}")
    config = {"projectId": project, "apiKey": "none", "appId": "none"}
    name, _, port = host.rpartition(":")
    emulated = f'\nfirebase.firestore().useEmulator("{name}", {port}, {{ mockUserToken: {{ sub: "demo" }} }});'
    scripts = {
        "firebase-app.js": (sdk / "firebase-app.js").read_text(),
        "firebase-auth.js": AUTH.replace("TOKEN", json.dumps(cloud.token("demo"))),
        "firebase-firestore.js": (sdk / "firebase-firestore.js").read_text() + emulated,
        "init.js": f"firebase.initializeApp({json.dumps(config)});",
    }

    async def serve(route: Route) -> None:
        file = route.request.url.rpartition("/")[2]
        if file == "init.json":
            await route.fulfill(json=config)
        else:
            await route.fulfill(body=scripts[file], content_type="text/javascript")

    async def serve_page(route: Route) -> None:
        html = (PUBLIC / "index.html").read_text()
        await route.fulfill(body=html, headers={**policy, "Content-Security-Policy": csp}, content_type="text/html")

    await page.route("**/__/firebase/**", serve)
    await page.route("**/local/users", lambda route: route.fulfill(status=404))
    await page.route(f"{cloud.url}/", serve_page)


async def test_a_reader_signs_in_with_firebase_and_the_list_follows_firestore(
    chromium: Browser, cloud: Cloud, hosted_sdk: Path
) -> None:
    errors: list[str] = []
    async with await chromium.new_context(permissions=["local-network-access"]) as context:
        page = await context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda line: errors.append(line.text) if "Content Security Policy" in line.text else None)
        await serve_as_hosting(page, cloud, hosted_sdk)
        streams: list[str] = []
        page.on("request", lambda request: streams.append(request.url) if "/stream" in request.url else None)
        await page.goto(f"{cloud.url}/")
        await page.get_by_role("button", name="Sign in with Google").click()
        await expect(page.locator(".state")).to_contain_text("· live")
        await expect(page.get_by_role("link", name="Operators")).to_have_count(0)
        with cloud.client("demo") as client:
            run_id = client.post("/llm_user_runs", json={"input_text": "hello [[slow 1]]"}).json()["run_uuid"]
        row = page.locator(f"#run-{run_id}")
        await expect(row).to_be_visible()
        await expect(row).to_contain_text("completed")
        await row.click()
        await expect(page.locator(".badge.completed")).to_be_visible()
        await expect(page.locator(".panel").nth(1)).to_contain_text("Hallo")
        await expect(page.get_by_role("cell", name="run.completed")).to_be_visible()
        assert streams == [], "a listener needs no stream, which Hosting would hold back"
    assert errors == []
