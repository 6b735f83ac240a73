"""The job API's two usage patterns, unchanged, in a real browser: cookie, X-CSRFToken and relative URLs."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import BrowserContext, Page

from tests.e2e.system import System

PAGES = Path(__file__).parent / "usage"
MODEL = {"name": "GPT-4", "provider": "openai", "api": "llm_jobs", "upstream_model": "x", "deployment": "default"}
SIGN_IN = """
async (token) => {
  const json = async (url, options) => (await fetch(url, options)).json();
  const session = await json("/api/auth/session/", { method: "POST", headers: { Authorization: `Bearer ${token}` } });
  const { csrf_token } = await json("/api/auth/csrf/");
  globalThis.getCsrfToken = () => csrf_token;
  globalThis.later = async (jobId) => {
    while (!(await json(`/api/llm/jobs/${jobId}/status/`)).is_complete) await new Promise((go) => setTimeout(go, 100));
  };
  return session.success;
}
"""


@pytest.fixture
def page_host(data_dir: Path) -> Iterator[System]:
    system = System(data_dir, "--public", str(PAGES), LLM_SIM_SECONDS="1")
    system.put("models", "model-uuid", MODEL)
    yield system
    assert system.stop() == 0


async def run_pattern(page: Page, pattern: str) -> tuple[str, list[Any]]:
    """Returns the kind and the values of the first message that the pattern writes to the console."""
    source = (PAGES / f"{pattern}.js").read_text().replace("// 2. Later", "await later(jobId);\n// 2. Later")
    async with page.expect_console_message() as told:
        await page.evaluate(f"async () => {{ {source} }}")
    message = await told.value
    return message.type, [await value.json_value() for value in message.args]


async def test_both_patterns_run_as_they_are_documented(page_host: System, context: BrowserContext) -> None:
    page = await context.new_page()
    await page.goto(page_host.url)
    assert await page.evaluate(SIGN_IN, page_host.token()) is True
    assert [cookie["httpOnly"] for cookie in await context.cookies()] == [True]
    assert await page.evaluate("document.cookie") == "", "the session cookie is not for scripts"
    kind, [words, result_data] = await run_pattern(page, "pattern-1")
    assert (kind, words) == ("log", "Job completed:")
    assert result_data["success"] is True and result_data["result"]
    kind, [words, result_data] = await run_pattern(page, "pattern-2")
    assert (kind, words, result_data["success"]) == ("log", "Final result:", True)
