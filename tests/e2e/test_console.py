"""Tests the console (infra/hosting/public) in Chromium against a local system, as its readers use it."""

import re
import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from playwright.async_api import Browser, Page, expect

from infra.local.console import PUBLIC
from tests.e2e.npm_package import downloaded_package
from tests.e2e.system import System
from tests.workers import SharedFolder

WAIT = 30_000
XSS = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
DESK = {"width": 1280, "height": 800}
PHONE = {"width": 390, "height": 800}


@asynccontextmanager
async def console(
    chromium: Browser, system: System, *, user: str = "admin", view: str = "", **options: object
) -> AsyncIterator[Page]:
    """Opens the console as this user; any error in the page fails the test."""
    errors: list[str] = []
    async with await chromium.new_context(viewport=DESK, **options) as context:  # type: ignore[arg-type]
        page = await context.new_page()
        page.set_default_timeout(WAIT)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda line: errors.append(line.text) if "Content Security Policy" in line.text else None)
        await page.goto(f"{system.url}/{view}")
        await page.get_by_role("button", name=user, exact=False).first.click()
        await expect(page.get_by_role("navigation")).to_be_visible()
        yield page
    assert not errors


async def submit_text(page: Page, text: str) -> str:
    """Submits a translation through the form and returns the run's id."""
    await page.get_by_role("link", name="New run").first.click()
    await page.get_by_label("Text").fill(text)
    await page.get_by_role("button", name="Submit").click()
    await page.wait_for_url(re.compile("#/runs/"))
    return page.url.rpartition("/")[2]


async def test_a_reader_signs_in_submits_and_sees_the_run_complete_without_a_reload(
    chromium: Browser, local: System
) -> None:
    async with console(chromium, local) as page:
        run_id = await submit_text(page, "Hello world, pay invoice 4711.")
        await expect(page.locator(".badge.completed")).to_be_visible(timeout=WAIT)
        await expect(page.locator(".panel").nth(1)).to_contain_text("Hallo Welt")
        await expect(page.locator("mark").first).to_be_visible()
        await page.get_by_role("link", name="← Runs").click()
        await expect(page.locator(f"#run-{run_id}")).to_contain_text("completed")


async def test_a_run_that_another_client_submits_appears_in_the_list_and_changes_there(
    chromium: Browser, local: System
) -> None:
    async with console(chromium, local) as page:
        await expect(page.locator(".state")).to_contain_text("live")
        with local.client("admin") as client:
            run_id = client.post("/llm_user_runs", json={"input_text": "from elsewhere [[slow 3]]"}).json()["run_uuid"]
        row = page.locator(f"#run-{run_id}")
        await expect(row).to_be_visible(timeout=WAIT)
        await expect(row).to_contain_text("completed", timeout=WAIT)


async def test_a_run_again_shows_the_difference_by_word(chromium: Browser, local: System) -> None:
    async with console(chromium, local) as page:
        await submit_text(page, "Hello world and order")
        await page.get_by_role("button", name="Run again").click()
        await page.get_by_label("Text").fill("Hello world and invoice")
        await page.get_by_role("button", name="Submit").click()
        await expect(page.get_by_role("heading", name="Compared with the run before")).to_be_visible(timeout=WAIT)
        await expect(page.locator("del")).to_contain_text("Bestellung")
        await expect(page.locator("ins")).to_contain_text("Rechnung")


async def test_cancel_and_delete_ask_first(chromium: Browser, local: System) -> None:
    async with console(chromium, local) as page:
        await submit_text(page, "[[slow 600]] hello")
        await page.get_by_role("button", name="Cancel").click()
        await page.get_by_role("button", name="Keep it").click()
        await expect(page.locator(".badge.cancelled")).to_have_count(0)
        await page.get_by_role("button", name="Cancel").click()
        await page.get_by_role("button", name="Cancel the run").click()
        await expect(page.locator(".badge.cancelled")).to_be_visible(timeout=WAIT)
        await page.get_by_role("button", name="Delete").click()
        await page.get_by_role("button", name="Delete it").click()
        await expect(page.get_by_text("Its content was deleted")).to_be_visible(timeout=WAIT)


async def test_a_refusal_stands_at_its_field_and_the_limit_is_counted_while_typing(
    chromium: Browser, local: System
) -> None:
    async with console(chromium, local, view="#/new") as page:
        await page.get_by_label("Text").fill("x" * 1501)
        await expect(page.locator(".count.over")).to_have_text("1501 of 1500")
        await page.get_by_role("button", name="Submit").click()
        await expect(page.locator("#error-text")).to_contain_text("1500 characters")
        await expect(page.get_by_label("Text")).to_be_focused()


async def test_filters_search_and_keys_find_a_run(chromium: Browser, local: System) -> None:
    with local.client("admin") as client:
        failed = client.post("/llm_user_runs", json={"input_text": "[[refuse]] this"}, headers={"Prefer": "wait=20"})
    failed_id = failed.json()["run_uuid"]
    async with console(chromium, local) as page:
        await page.get_by_label("Status").select_option("failed")
        await expect(page.locator(f"#run-{failed_id}")).to_be_visible()
        await expect(page.locator(".row .badge.completed")).to_have_count(0)
        await page.get_by_role("listbox").focus()
        await page.keyboard.press("j")
        await expect(page.locator(".row.selected")).to_have_count(1)
        await page.keyboard.press("Enter")
        await page.wait_for_url(re.compile("#/runs/.+"))
        await page.goto(f"{local.url}/#/runs")
        await expect(page.get_by_role("listbox")).to_be_visible()
        await page.keyboard.press("/")
        await page.keyboard.type(failed_id)
        await page.wait_for_url(re.compile(failed_id))
        await expect(page.locator(".failure")).to_be_visible()


async def test_what_users_wrote_is_never_read_as_html(chromium: Browser, local: System) -> None:
    job = {"job_type": "general_llm_request", "model_id": "demo-model", "question_id": XSS, "channel": "user:admin"}
    with local.client("admin") as client:
        client.post("/api/llm/jobs/submit/", json={**job, "input_data": {"full_input": XSS, "system_message": XSS}})
        translated = client.post(
            "/llm_user_runs_admin",
            json={"text": XSS, "source_lang": "en", "target_lang": "de", "style_guide": XSS[:255]},
            headers={"Prefer": "respond-async, wait=20"},
        ).json()
    async with console(chromium, local) as page:
        await expect(page.locator(f"#run-{translated['run_uuid']}")).to_contain_text("<img src=x")
        await page.locator(f"#run-{translated['run_uuid']}").click()
        await expect(page.locator(".panel").first).to_contain_text("<img src=x")
        await page.goto(f"{local.url}/#/overview")
        await expect(page.get_by_role("heading", name="Runs over time")).to_be_visible()
        assert await page.title() == "Overview · LLM Runs"
        assert await page.locator("main img").count() == 0


@pytest.fixture
def restarted(tmp_path: Path) -> Iterator[System]:
    system = System(tmp_path / "data", LLM_SIM_SECONDS="0.5")
    yield system
    system.kill()


async def test_the_list_goes_on_after_the_server_was_killed_and_started_again(
    chromium: Browser, restarted: System
) -> None:
    async with console(chromium, restarted) as page:
        await expect(page.locator(".state")).to_contain_text("· live")
        restarted.kill()
        await expect(page.locator(".state")).to_contain_text("connecting again")
        restarted._environment["PORT"] = restarted.url.rpartition(":")[2]
        restarted.start()
        with restarted.client("admin") as client:
            run_id = client.post("/llm_user_runs", json={"input_text": "after the restart"}).json()["run_uuid"]
        await expect(page.locator(f"#run-{run_id}")).to_contain_text("completed", timeout=WAIT)
        await expect(page.locator(".state")).to_contain_text("· live")


async def test_a_page_that_goes_offline_says_so_and_comes_back(chromium: Browser, local: System) -> None:
    async with console(chromium, local) as page:
        await page.context.set_offline(True)
        await expect(page.locator("#messages")).to_contain_text("You are offline")
        await page.get_by_role("link", name="New run").first.click()
        await page.get_by_label("Text").fill("hello")
        await page.get_by_role("button", name="Submit").click()
        await expect(page.locator("#error-form")).not_to_be_empty()
        await page.context.set_offline(False)
        await page.get_by_role("button", name="Submit").click()
        await page.wait_for_url(re.compile("#/runs/"))


async def test_five_thousand_runs_are_listed_with_few_elements_and_scroll_to_the_last(
    chromium: Browser, local: System
) -> None:
    async with console(chromium, local) as page:
        await expect(page.locator(".state")).to_contain_text("live")
        await page.evaluate(
            """async () => {
                const { Runs } = await import("/console/store.js");
                const { runsView } = await import("/console/runs.js");
                const runs = new Runs({ id: "admin", groups: [] });
                runs.state = "ready";
                for (let i = 0; i < 5000; i++) {
                    const at = new Date(1e12 + i * 1000).toISOString();
                    const text = `text ${i}`;
                    runs.put({
                        run_uuid: `run-${i}`, kind: "user_run", input_text: text, status: "completed", created_at: at,
                    });
                }
                runsView(document.getElementById("main"), runs, new AbortController().signal);
            }"""
        )
        await expect(page.locator(".state")).to_contain_text("5000 runs")
        assert await page.evaluate(
            """async () => {
                const { Runs } = await import("/console/store.js");
                const runs = new Runs({ id: "admin", groups: [] });
                const page = { done: false };
                runs._pages.set("runs", { ...page, total: 10000, isAtLeast: true });
                const more = runs.total;
                runs._pages.set("runs", { ...page, total: 7, isAtLeast: false });
                runs._pages.set("jobs", { ...page, total: 1234, isAtLeast: false });
                return [more, runs.total];
            }"""
        ) == ["10,000+", "1,241"]
        assert await page.locator(".row").count() < 60
        await page.get_by_role("listbox").focus()
        await page.keyboard.press("End")
        await expect(page.locator(".row.selected")).to_contain_text("text 0")


@pytest.fixture(scope="session")
def axe(shared_folder: SharedFolder) -> str:
    return (downloaded_package("axe-core", shared_folder.path, ["axe.min.js"]) / "axe.min.js").read_text()


@pytest.mark.parametrize(("scheme", "size"), [("light", DESK), ("dark", PHONE)], ids=["light desk", "dark phone"])
async def test_no_view_violates_wcag_2_2_aa(
    chromium: Browser, local: System, axe: str, scheme: str, size: dict[str, int]
) -> None:
    rules = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}
    async with console(chromium, local, bypass_csp=True) as page:
        await page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        await page.set_viewport_size(size)  # type: ignore[arg-type]
        run_id = await submit_text(page, "Hello world, pay invoice 4711.")
        await expect(page.get_by_role("heading", name="Where the time went")).to_be_visible(timeout=WAIT)
        await page.evaluate(axe)
        found: dict[str, str] = {}
        for view in (f"runs/{run_id}", "runs", "new", "overview", "operators"):
            await page.goto(f"{local.url}/#/{view}")
            await page.wait_for_timeout(300)
            result = await page.evaluate("rules => axe.run(document, rules)", rules)
            found |= {f"{view}: {broken['id']}": broken["nodes"][0]["html"] for broken in result["violations"]}
            width = await page.evaluate("document.documentElement.scrollWidth")
            assert width <= size["width"], f"{view} scrolls sideways"
        assert not found


def test_the_first_view_is_under_100_kb_compressed() -> None:
    files = [PUBLIC / "index.html", *(PUBLIC / "console").iterdir()]
    assert sum(len(zlib.compress(path.read_bytes(), 6)) for path in files) < 100_000


def test_pages_have_security_headers_and_sign_in_answers_this_machine_only(local: System) -> None:
    for path in ("/", "/console/app.js", "/console/style.css", "/local/users"):
        headers = httpx.get(local.url + path).headers
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
        assert headers["X-Content-Type-Options"] == "nosniff" and headers["Referrer-Policy"] == "no-referrer"
    foreign = {"Host": "attacker.example"}
    assert httpx.get(f"{local.url}/local/users", headers=foreign).status_code == 400
    assert httpx.post(f"{local.url}/local/token?user=demo", headers=foreign).status_code == 400
    assert httpx.post(f"{local.url}/local/token?user=nobody").status_code == 404
    assert httpx.post(local.url, json={}).status_code == 401, "POST at the root still calls the function"
