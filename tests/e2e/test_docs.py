"""The page /docs shows the whole API and tries it out, with nothing from elsewhere; /openapi.json is the document."""

import json
import re
from collections.abc import AsyncIterator, Collection, Iterator
from typing import Any

import httpx
import pytest
from playwright.async_api import Browser

from tests.e2e.swagger import authorize, execute, list_operations, read_operation
from tests.e2e.system import System
from tests.openapi import document, operations
from tests.plain_http import NO_TLS

FOREIGN_PICTURE = """
() => new Promise((resolve) => {
  const image = Object.assign(document.createElement("img"), { src: "http://elsewhere.test/pixel.png" });
  image.addEventListener("error", resolve);
  document.body.append(image);
})
"""


@pytest.fixture
def anybody(system: System) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=system.url, trust_env=False, verify=NO_TLS) as client:
        yield client


def test_the_document_is_served_as_json_for_this_server(anybody: httpx.Client) -> None:
    answer = anybody.get("/openapi.json")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert answer.json() == {**document(), "servers": answer.json()["servers"]}
    assert [server["url"] for server in answer.json()["servers"]] == ["/"]


@pytest.mark.parametrize("path", ["/docs", "/docs/"])
def test_the_page_loads_nothing_from_another_origin(anybody: httpx.Client, path: str) -> None:
    page = anybody.get(path)
    assert page.headers["content-type"].startswith("text/html") and "make token USER=demo" in page.text
    loaded = re.findall(r'(?:src|rel="\w+" href)="([^"]*)"', page.text)
    assert len(loaded) == 5
    for address in loaded:
        part = anybody.get(address)
        assert address.startswith("/docs/") and part.status_code == 200, address
        assert part.headers["x-content-type-options"] == "nosniff"
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    assert "unsafe" not in policy and "http" not in policy and "*" not in policy


def test_other_paths_than_the_pages_go_to_the_functions(anybody: httpx.Client) -> None:
    for path in ("/docsx", "/openapi.json.bak", "/nothing"):
        answer = anybody.get(path)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert anybody.post("/").status_code == 401
    for path in ("/docs/../main.py", "/docs/index.html", "/docs/swagger-ui-bundle.js.map"):
        assert anybody.get(path).status_code == 404


@pytest.fixture(scope="module")
async def shown(chromium: Browser, local: System) -> AsyncIterator[dict[str, Any]]:
    """What the page shows to a person who reads it and tries it, and the browser's complaints."""
    async with await chromium.new_context() as context:
        page, complaints = await context.new_page(), []
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        await page.goto(f"{local.url}/docs")
        seen: dict[str, Any] = {"listed": await list_operations(page), "complaints": complaints}
        seen["stranger"] = await execute(page, "list_jobs")
        await authorize(page, local.token())
        seen["submitted"] = await execute(page, "submit_user_run")
        run_id = json.loads(seen["submitted"]["body"])["run_uuid"]
        seen["run"] = await execute(page, "get_user_run", run_uuid=run_id, Prefer="wait=20")
        seen["stream"] = await execute(page, "stream_user_run", run_uuid=run_id)
        seen["missing"] = await execute(page, "get_job_status", job_id="00000000-0000-4000-8000-000000000000")
        seen["channel"] = await execute(page, "stream_channel", channel="user:demo")
        steps = [seen[step] for step in ("stranger", "submitted", "run", "stream", "missing", "channel")]
        seen["operations"] = {step["operation"]: step["description"] for step in steps}
        largest = largest_operation(besides=seen["operations"])
        seen["operations"][largest] = await read_operation(page, largest)
        await page.evaluate(FOREIGN_PICTURE)
        yield seen


def largest_operation(*, besides: Collection[str]) -> str:
    """Returns the one with the most parameters; to open one takes more than a second of CPU time."""
    others = [operation for operation in operations() if operation.name not in besides]
    return max(others, key=lambda operation: len(operation.parameters)).name


def test_the_page_lists_every_operation_and_shows_its_fields_and_answers(shown: dict[str, Any]) -> None:
    assert shown["listed"] == {operation.name for operation in operations()}
    described = {
        operation.name: {
            "parameters": [parameter["name"] for parameter in operation.parameters],
            "body": operation.body is not None,
            "statuses": [str(status) for status in operation.responses],
        }
        for operation in operations()
        if operation.name in shown["operations"]
    }
    assert shown["operations"] == described and len(described) == 7
    assert {described[name]["body"] for name in described} == {True, False}


def test_the_page_sends_requests_with_a_token_and_shows_the_answers(shown: dict[str, Any]) -> None:
    assert shown["stranger"]["status"] == "401"
    assert json.loads(shown["stranger"]["body"])["code"] == "unauthenticated"
    run = json.loads(shown["run"]["body"])
    assert (shown["run"]["status"], run["status"]) == ("200", "completed")
    assert json.loads(shown["submitted"]["body"])["run_uuid"] == run["run_uuid"]
    assert (shown["missing"]["status"], json.loads(shown["missing"]["body"])["code"]) == ("404", "run_not_found")


def test_the_page_shows_streams_those_without_an_end_too(shown: dict[str, Any]) -> None:
    assert shown["stream"]["status"] == shown["channel"]["status"] == "200"
    assert "event: run.completed" in shown["stream"]["body"] and "stopped listening" not in shown["stream"]["body"]
    assert shown["channel"]["body"].startswith("retry: 2000")
    assert "this page stopped listening after 10 seconds" in shown["channel"]["body"]


def test_the_browser_has_nothing_else_to_complain_of(shown: dict[str, Any]) -> None:
    """Besides the two refusals, it does not load the picture from elsewhere that the test puts into the page."""
    stranger, missing, picture = shown["complaints"]
    assert "status of 401" in stranger and "status of 404" in missing
    assert "elsewhere.test" in picture and "Content Security Policy" in picture
