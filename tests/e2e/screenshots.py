"""Makes the README's pictures of the console: make screenshots."""

import asyncio
import sys
import tempfile
from pathlib import Path

from playwright.async_api import Page

from tests.e2e.chromium import started_chromium
from tests.e2e.system import ROOT, System

FOLDER = ROOT / "infra" / "hosting" / "pictures"
TEXTS = (
    "Hello world! Your order 4711 is on its way, {name}: please pay the invoice of 99.90 EUR.",
    "Hello world! Your order 4712 is on its way.",
    "[[refuse]] this text",
    "Please pay the invoice by Friday. [[slow 60]]",
)


async def pictures(page: Page, url: str, run_id: str, size: str) -> None:
    for name, view in (("runs", "runs"), ("run", f"runs/{run_id}"), ("overview", "overview")):
        await page.goto(f"{url}/#/{view}")
        await page.wait_for_timeout(1000)
        await page.screenshot(path=FOLDER / f"{name}-{size}.png")


async def main(system: System, home: Path) -> None:
    FOLDER.mkdir(exist_ok=True)
    with system.client("admin") as client:
        bodies = [{"text": text, "source_lang": "en", "target_lang": "de"} for text in TEXTS]
        runs = [client.post("/llm_user_runs_admin", json=body, headers={"Prefer": "respond-async"}) for body in bodies]
        run_id = runs[0].json()["run_uuid"]
        client.get(f"/llm_user_runs/{run_id}", headers={"Prefer": "wait=20"})
    async with started_chromium(home) as browser:
        for size, viewport, scheme in (("desk", (1180, 760), "light"), ("phone", (390, 760), "dark")):
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
