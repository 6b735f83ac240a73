"""The job API's two usage patterns, unchanged, in a real browser: cookie, X-CSRFToken and relative URLs."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.e2e.chromium import need_browser, start
from tests.e2e.system import System

PAGES = Path(__file__).parent / "usage"
MODEL = {"name": "GPT-4", "provider": "openai", "api": "llm_jobs", "upstream_model": "x", "deployment": "default"}


class _Report(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.server.report = json.loads(self.rfile.read(int(self.headers["Content-Length"])))  # type: ignore[attr-defined]
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Tests print nothing."""


@pytest.fixture
def page_host(data_dir: Path) -> Iterator[System]:
    need_browser()
    system = System(data_dir, "--public", str(PAGES), LLM_SIM_SECONDS="1")
    yield system
    assert system.stop() == 0


def run_pattern(system: System, pattern: str, folder: Path) -> list[list[Any]]:
    """What the page wrote to its console, and at last whether it had signed in."""
    folder.mkdir()
    with HTTPServer(("127.0.0.1", 0), _Report) as reports:
        reports.timeout = 60
        report = f"http://127.0.0.1:{reports.server_port}/"
        query = urlencode({"token": system.token(), "pattern": pattern, "report": report})
        browser = start(f"{system.url}/?{query}", folder)
        try:
            reports.handle_request()
        finally:
            browser.kill()
        return reports.report  # type: ignore[attr-defined, no-any-return]


def test_both_patterns_run_as_they_are_documented(page_host: System, tmp_path: Path) -> None:
    page_host.put("models", "model-uuid", MODEL)
    *polled, session = run_pattern(page_host, "pattern-1", tmp_path / "first")
    assert session == ["session", True, ""], "the session cookie is not for scripts"
    [[kind, words, result_data]] = polled
    assert (kind, words) == ("log", "Job completed:")
    assert result_data["success"] is True and result_data["result"]
    [[kind, words, result_data], _] = run_pattern(page_host, "pattern-2", tmp_path / "second")
    assert (kind, words, result_data["success"]) == ("log", "Final result:", True)
