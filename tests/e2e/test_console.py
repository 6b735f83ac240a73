"""Tests the console (infra/hosting/public) in Chromium against a local system, as its readers use it."""

import asyncio
import json
import re
import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from playwright.async_api import Browser, Page, expect

from infra.local.console import PUBLIC
from shared.adapters.clock import SystemClock
from shared.adapters.sqlite.backend import SqliteBackend
from tests.e2e.npm_package import downloaded_package
from tests.e2e.system import System
from tests.workers import SharedFolder

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
        await expect(page.locator(".badge.completed")).to_be_visible()
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
        await expect(row).to_be_visible()
        await expect(row).to_contain_text("completed")


async def test_a_run_again_shows_the_difference_by_word(chromium: Browser, local: System) -> None:
    async with console(chromium, local) as page:
        await submit_text(page, "Hello world and order")
        await page.get_by_role("button", name="Run again").click()
        await page.get_by_label("Text").fill("Hello world and invoice")
        await page.get_by_role("button", name="Submit").click()
        await expect(page.get_by_role("heading", name="Compared with the run before")).to_be_visible()
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
        await expect(page.locator(".badge.cancelled")).to_be_visible()
        await page.get_by_role("button", name="Delete").click()
        await page.get_by_role("button", name="Delete it").click()
        await expect(page.get_by_text("Its content was deleted")).to_be_visible()


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


def one_run(system: System, user: str, text: str) -> str:
    """Submits a run that has ended, and returns its id."""
    with system.client(user) as client:
        answer = client.post("/llm_user_runs", json={"input_text": text}, headers={"Prefer": "wait=20"})
        return str(answer.json()["run_uuid"])


def keep_letter(system: System, run_id: str, message_id: str = "1") -> None:
    """Stores a dead letter that names the run."""
    with closing(SqliteBackend(system.data_dir / "runs.db", SystemClock())) as backend:
        letter = {"source": "process-run", "reason": "undeliverable", "data": json.dumps({"run_id": run_id})}
        asyncio.run(backend.dead_letters.keep(message_id=message_id, attributes={}, **letter))


async def test_an_operator_replays_a_dead_letter_and_sees_how_full_the_limits_are(
    chromium: Browser, local: System
) -> None:
    own, foreign = one_run(local, "demo", "of acme"), one_run(local, "other", "of globex")
    for number, run_id in enumerate((own, foreign)):
        await asyncio.to_thread(keep_letter, local, run_id, f"replayed-{number}")
    async with console(chromium, local, view="#/operators") as page:
        await expect(page.get_by_text("All closed: calls go through.")).to_be_visible()
        await expect(page.get_by_text("of 1000")).to_be_visible()
        await expect(page.get_by_text("no budget is set").first).to_be_visible()
        row = page.get_by_role("row").filter(has_text=own[:8])
        await expect(row).to_be_visible()
        await expect(page.locator("main")).not_to_contain_text(foreign[:8])
        await row.get_by_role("button", name="Replay").click()
        await page.get_by_role("button", name="Replay it").click()
        await expect(page.locator("#messages")).to_contain_text("had ended")
        await expect(row).to_have_count(0)


async def test_each_point_of_the_overview_leads_to_its_runs(chromium: Browser, local: System) -> None:
    own, colleagues = one_run(local, "admin", "[[refuse]] this"), one_run(local, "demo", "hello")
    async with console(chromium, local, view="#/overview") as page:
        await expect(page.get_by_role("heading", name="Failures")).to_be_visible()
        await page.get_by_role("link", name="llm_refused").click()
        await page.get_by_role("link", name=own[:8]).click()
        await expect(page.locator("h1 code")).to_have_text(own)
        await page.goto(f"{local.url}/#/overview")
        await page.get_by_label("my organization's").check()
        for span in ("week", "month", "day"):
            await page.get_by_label(span, exact=True).check()
            await expect(page.locator(".chart a")).to_have_count({"week": 7, "month": 30, "day": 24}[span] * 3)
        await page.get_by_text("The same as a table").click()
        await page.locator("details a").last.click()
        row = page.get_by_role("row").filter(has_text=colleagues[:8])
        await expect(row).to_contain_text("demo")
        await expect(row.get_by_role("link")).to_have_count(0)  # nobody but its owner may open it


async def test_a_notebook_is_shown_by_cell_and_a_failed_check_at_its_place(chromium: Browser, local: System) -> None:
    cells = [
        {"cell_type": "markdown", "metadata": {}, "source": "# Title"},
        {"cell_type": "code", "metadata": {}, "source": "print(1)", "outputs": [], "execution_count": None},
    ]
    notebook = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": cells}
    body = {"job_type": "review_colab", "model_id": "demo-model", "input_data": {"notebook": notebook}}
    with local.client("admin") as client:
        job_id = client.post("/api/llm/jobs/submit/", json=body).json()["job_id"]
    async with console(chromium, local, view=f"#/runs/{job_id}") as page:
        await expect(page.get_by_role("heading", name="Cell 1 (markdown)")).to_be_visible()
        await expect(page.locator(".cells pre").nth(1)).to_have_text("print(1)")
        run = {
            "run_uuid": job_id, "kind": "user_run", "status": "completed", "input_text": "pay 4711 to us",
            "created_at": "2026-03-01T12:00:00Z", "completed_at": "2026-03-01T12:00:09Z",
            "result": {"text": "zahle 4712 an uns", "term_pairs": [{"source": "pay", "target": "zahle"}]},
            "checks": [{"check": "numbers", "ok": False, "detail": "missing", "source": "4711", "target": "4712"}],
        }  # fmt: skip
        await page.route(f"**/llm_user_runs/{job_id}", lambda route: route.fulfill(json=run))
        await page.route(f"**/llm_user_runs/{job_id}/stream", lambda route: route.fulfill(status=204))
        await page.reload()
        await expect(page.locator("mark.wrong")).to_have_count(2)
        await expect(page.locator("mark:not(.wrong)")).to_have_text(["pay", "zahle"])
        await page.get_by_role("button", name="show in the text").click()
        await expect(page.locator("mark.wrong").first).to_be_focused()


async def test_what_users_wrote_is_never_read_as_html(chromium: Browser, local: System) -> None:
    content = {"full_input": f"## Cell 1 (code)\n{XSS}\n### Output\n{XSS}", "system_message": XSS}
    body = {"job_type": "general_llm_request", "model_id": "demo-model", "question_id": XSS, "input_data": content}
    with local.client("admin") as client:
        job = client.post("/api/llm/jobs/submit/", json={**body, "channel": XSS[:100]}).json()
        translated = client.post(
            "/llm_user_runs_admin",
            json={"text": XSS, "source_lang": "en", "target_lang": "de", "style_guide": XSS[:255]},
            headers={"Prefer": "respond-async, wait=20"},
        ).json()
        again = {"input_text": XSS, "prior_run_uuid": translated["run_uuid"]}
        rerun = client.post("/llm_user_runs", json=again, headers={"Prefer": "wait=20"}).json()
    async with console(chromium, local) as page:
        await expect(page.locator(f"#run-{translated['run_uuid']}")).to_contain_text("<img src=x")
        await page.locator(f"#run-{translated['run_uuid']}").click()
        await expect(page.locator(".panel").first).to_contain_text("<img src=x")
        await expect(page.locator(".columns mark, .columns .text").first).to_be_visible()
        for run_id in (translated["run_uuid"], job["job_id"], rerun["run_uuid"]):
            await page.goto(f"{local.url}/#/runs/{run_id}")
            await expect(page.locator("h1 code")).to_have_text(run_id)
            await expect(page.locator(".columns")).to_contain_text("<img src=x")
            assert "owned" not in await page.title() and await page.locator("main img, main script").count() == 0
        await page.get_by_role("button", name="Run again").click()
        await expect(page.get_by_label("Text")).to_have_value(XSS)
        for view in ("overview", "overview/runs?error=" + quote(XSS), "operators", "runs/" + quote(XSS)):
            await page.goto(f"{local.url}/#/{view}")
            await page.wait_for_timeout(300)
            assert "owned" not in await page.title() and await page.locator("main img, main script").count() == 0


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
        await expect(page.locator(f"#run-{run_id}")).to_contain_text("completed")
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
    rules = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"], "resultTypes": ["violations"]}
    await asyncio.to_thread(keep_letter, local, one_run(local, "admin", "Hello world"))
    async with console(chromium, local, bypass_csp=True) as page:
        await page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        await page.set_viewport_size(size)  # type: ignore[arg-type]
        run_id = await submit_text(page, "Hello world, pay invoice 4711.")
        await expect(page.get_by_role("heading", name="Where the time went")).to_be_visible()
        await page.evaluate(axe)
        found: dict[str, str] = {}
        for view in (f"runs/{run_id}", "runs", "new", "overview", "overview/runs?scope=organization", "operators"):
            await page.goto(f"{local.url}/#/{view}")
            await expect(page.locator("main")).not_to_contain_text("Loading …")
            await page.wait_for_timeout(100)
            result = await page.evaluate("rules => axe.run(document, rules)", rules)
            found |= {f"{view}: {broken['id']}": broken["nodes"][0]["html"] for broken in result["violations"]}
            width = await page.evaluate("document.documentElement.scrollWidth")
            assert width <= size["width"], f"{view} scrolls sideways"
        assert not found


def test_the_first_view_is_under_100_kb_compressed() -> None:
    files = [PUBLIC / "index.html", *(PUBLIC / "console").iterdir()]
    assert sum(len(zlib.compress(path.read_bytes(), 6)) for path in files) < 100_000


SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
}
DIRECTIVES = {
    "default-src": {"'none'"},
    "style-src": {"'self'"},
    "img-src": {"'self'", "data:"},
    "base-uri": {"'none'"},
    "form-action": {"'none'"},
    "frame-ancestors": {"'none'"},
}
"""What local pages and Hosting have alike; Hosting adds Google's addresses for sign-in and for the functions."""


def headers_of_hosting() -> dict[str, str]:
    """Returns the headers that infra/hosting/firebase.json adds to every file."""
    [everywhere] = [
        rule
        for rule in json.loads((PUBLIC.parent / "firebase.json").read_text())["hosting"]["headers"]
        if rule["source"] == "**"
    ]
    return {item["key"]: item["value"] for item in everywhere["headers"]}


@pytest.mark.parametrize("path", ["/", "/console/app.js", "/console/style.css", "/local/users", "/docs", "on Hosting"])
def test_security_headers_are_those_of_the_table(local: System, path: str) -> None:
    headers = headers_of_hosting() if path == "on Hosting" else httpx.get(local.url + path).headers
    assert {name: headers[name] for name in SECURITY_HEADERS} == SECURITY_HEADERS
    directives = {name: set(values) for name, *values in map(str.split, headers["Content-Security-Policy"].split(";"))}
    assert {name: directives[name] for name in DIRECTIVES} == DIRECTIVES
    scripts, connections = directives["script-src"], directives["connect-src"]
    google = {"https://apis.google.com"} if path == "on Hosting" else set()
    assert scripts == {"'self'", *google} and "'self'" in connections
    assert all(source == "'self'" or source.startswith("https://") for source in scripts | connections)
    assert "unsafe" not in headers["Content-Security-Policy"]


def test_the_page_has_no_inline_script_or_style() -> None:
    html = (PUBLIC / "index.html").read_text()
    assert re.findall(r"<script(?![^>]* src=)|<style| style=| on\w+=", html) == []
    for path in (PUBLIC / "console").glob("*.js"):
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", path.read_text()), path


def test_sign_in_answers_this_machine_only(local: System) -> None:
    foreign = {"Host": "attacker.example"}
    assert httpx.get(f"{local.url}/local/users", headers=foreign).status_code == 400
    assert httpx.post(f"{local.url}/local/token?user=demo", headers=foreign).status_code == 400
    assert httpx.post(f"{local.url}/local/token?user=nobody").status_code == 404
    assert httpx.post(local.url, json={}).status_code == 401, "POST at the root still calls the function"
