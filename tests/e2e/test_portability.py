"""The embedded mode on other systems than Linux, as far as Linux can show it."""

import subprocess
import sys
from pathlib import Path

from tests.e2e.system import ROOT, environment


def test_the_embedded_mode_needs_nothing_that_windows_lacks(data_dir: Path) -> None:
    given = {**environment(data_dir, LLM_SIM_SECONDS="0.2"), "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "cp1252"}
    command = [sys.executable, "-W", "ignore::UserWarning:filelock", str(Path(__file__).with_name("without_unix.py"))]
    done = subprocess.run([*command, "--once"], cwd=ROOT, env=given, capture_output=True, timeout=60)
    lines = done.stdout.decode("cp1252").splitlines()
    assert done.returncode == 0, done.stderr
    assert lines[-1].startswith("completed ")
    assert any("en ? de" in line for line in lines), "a code page without arrows shows a question mark"
