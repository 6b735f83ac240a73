"""The page /docs shows the whole API and tries it out, with nothing from elsewhere; /openapi.json is the document."""

import json
import re
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest

from tests.e2e.chromium import need_browser, start
from tests.e2e.system import System
from tests.openapi import document, operations

DRIVER = Path(__file__).parent / "docs"


@pytest.fixture
def anybody(system: System) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=system.url, trust_env=False) as client:
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


def test_what_is_not_of_the_page_goes_to_the_functions(anybody: httpx.Client) -> None:
    for path in ("/docsx", "/openapi.json.bak", "/nothing"):
        answer = anybody.get(path)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert anybody.get("/").status_code == 405
    for path in ("/docs/../main.py", "/docs/index.html", "/docs/swagger-ui-bundle.js.map"):
        assert anybody.get(path).status_code == 404


class _Report(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.server.report = json.loads(self.rfile.read(int(self.headers["Content-Length"])))  # type: ignore[attr-defined]
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Tests print nothing."""


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """What the page showed to a person who read it and tried it, and the browser's complaints."""
    need_browser()
    folder = tmp_path_factory.mktemp("docs")
    system = System(folder / "data", "--public", str(DRIVER), LLM_SIM_SECONDS="0.5")
    with HTTPServer(("127.0.0.1", 0), _Report) as reports:
        reports.timeout, reports.report = 300, {"thrown": "nothing was reported"}  # type: ignore[attr-defined]
        query = urlencode({"token": system.token(), "report": f"http://127.0.0.1:{reports.server_port}/"})
        browser = start(f"{system.url}/?{query}", folder)
        try:
            reports.handle_request()
        finally:
            browser.kill()
        log = browser.log.read_text(errors="replace").splitlines()
        yield {**reports.report, "complaints": [line for line in log if "CONSOLE" in line]}  # type: ignore[attr-defined]
    assert system.stop() == 0


def test_the_page_shows_every_operation_with_its_fields_and_answers(shown: dict[str, Any]) -> None:
    assert shown.get("thrown") is None
    described = {
        operation.name: {
            "parameters": [parameter["name"] for parameter in operation.parameters],
            "body": operation.body is not None,
            "statuses": [str(status) for status in operation.responses],
        }
        for operation in operations()
    }
    assert shown["operations"] == described


def test_the_page_sends_requests_with_a_token_and_shows_the_answers(shown: dict[str, Any]) -> None:
    assert shown.get("thrown") is None
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
    """But of the picture from elsewhere that the driver put into the page: it was not loaded."""
    [complaint] = shown["complaints"]
    assert "elsewhere.test" in complaint and "Content Security Policy" in complaint
