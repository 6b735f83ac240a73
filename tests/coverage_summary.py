"""Prints how much of the code the tests of a run have executed: the total, and the files with the least.

Code that only runs in processes that the tests start does not count: what it does, tests/e2e shows.
"""

import json
from pathlib import Path

import pytest

MIN_PERCENT = 90


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    reports = config.getoption("cov_report", default=None) or {}
    if not config.getoption("cov_source", default=None) or not reports.get("json"):
        return
    measured = json.loads(Path(reports["json"]).read_text())
    shares = {name: file["summary"]["percent_covered"] for name, file in measured["files"].items()}
    terminalreporter.write_line(f"lines executed: {measured['totals']['percent_covered']:.1f} %")
    for name, percent in sorted(shares.items(), key=lambda share: share[1]):
        if percent < MIN_PERCENT:
            terminalreporter.write_line(f"    {percent:5.1f} %  {name}")
