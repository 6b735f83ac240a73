"""The table of faults in tests/README.md names tests that exist."""

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]


def test_every_test_that_the_table_of_faults_names_exists() -> None:
    named = set(re.findall(r"`(test_\w+)`", (TESTS / "README.md").read_text(encoding="utf-8")))
    files = [path.read_text(encoding="utf-8") for path in TESTS.rglob("test_*.py")]
    defined = {name for file in files for name in re.findall(r"^(?:async )?def (test_\w+)\(", file, re.MULTILINE)}
    assert len(named) > 60 and sorted(named - defined) == []


def test_every_row_of_the_table_of_faults_names_a_test() -> None:
    table = (TESTS / "README.md").read_text(encoding="utf-8").partition("## Measurements")[0]
    rows = [line for line in table.splitlines() if line.startswith("| ") and not line.startswith("| fault |")]
    assert len(rows) > 40 and not [row for row in rows if "`test_" not in row]
