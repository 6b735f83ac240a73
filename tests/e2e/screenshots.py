"""Makes the README's pictures of the console: make screenshots."""

import asyncio
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

from playwright.async_api import Page

from infra.local.fixtures import ORGANIZATIONS
from shared.adapters.clock import SystemClock
from shared.adapters.sqlite.backend import SqliteBackend
from tests.e2e.chromium import started_chromium
from tests.e2e.system import ROOT, System

FOLDER = ROOT / "infra" / "hosting" / "pictures"
TEXTS = (
    "Hello world! Your order 4711 is on its way, {name}: please pay the invoice of 99.90 EUR.",
    "Hello world! Your order 4712 is on its way.",
    "[[refuse]] this text",
    "Please pay the invoice by Friday. [[slow 60]]",
)
BUDGET = {"day_usd": 0.5, "month_usd": 10.0}
LETTER = {"message_id": "4711", "source": "process-run", "reason": "undeliverable"}


async def pictures(page: Page, url: str, run_id: str, size: str) -> None:
    views = {"runs": "runs", "run": f"runs/{run_id}", "overview": "overview", "operators": "operators"}
    for name, view in views.items():
        await page.goto(f"{url}/#/{view}")
        await page.wait_for_timeout(1000)
        await page.screenshot(path=FOLDER / f"{name}-{size}.png")


async def put(system: System, collection: str, record_id: str, record: dict[str, Any]) -> None:
    with closing(SqliteBackend(system.data_dir / "runs.db", SystemClock())) as backend:
        await backend.directory.put(collection, record_id, record)


async def keep_letter(system: System, run_id: str) -> None:
    with closing(SqliteBackend(system.data_dir / "runs.db", SystemClock())) as backend:
        await backend.dead_letters.keep(**LETTER, data=run_id, attributes={})


async def main(system: System, home: Path) -> None:
    FOLDER.mkdir(exist_ok=True)
    acme = {**ORGANIZATIONS["acme"], "prices": {"job": 0.01, "character": 20.0}, "budget": BUDGET}
    await put(system, "organizations", "acme", acme)
    with system.client("admin") as client:
        bodies = [{"text": text, "source_lang": "en", "target_lang": "de"} for text in TEXTS]
        runs = [client.post("/llm_user_runs_admin", json=body, headers={"Prefer": "respond-async"}) for body in bodies]
        run_id = runs[0].json()["run_uuid"]
        client.get(f"/llm_user_runs/{run_id}", headers={"Prefer": "wait=20"})
        await keep_letter(system, runs[3].json()["run_uuid"])
    async with started_chromium(home) as browser:
        for size, viewport, scheme in (("desk", (1280, 800), "light"), ("phone", (390, 800), "dark")):
            width, height = viewport
            page = await browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)  # type: ignore[arg-type]
            await page.goto(system.url)
            await page.get_by_role("button", name="admin").click()
            await page.get_by_role("navigation").wait_for()
            await pictures(page, system.url, run_id, size)
            await page.close()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        running = System(Path(folder) / "data", LLM_SIM_SECONDS="2")
        try:
            asyncio.run(main(running, Path(folder)))
        finally:
            running.kill()
    print(f"pictures in {FOLDER.relative_to(ROOT)}", file=sys.stderr)
