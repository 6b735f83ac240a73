"""The system uses no more after many runs than after some."""

import os
import sys
from pathlib import Path

from tests.bench.soak import soak
from tests.e2e.system import System
from tests.needs import need

SECONDS = float(os.environ.get("SOAK_SECONDS", "3"))
MORE_MEBIBYTES = 24
"""A few hundred runs fill caches and the database's pages."""


def test_memory_threads_and_files_stay_as_they_are_while_runs_come_and_go(data_dir: Path) -> None:
    need(None if sys.platform == "linux" else "The soak test reads /proc, which only Linux has.")
    system = System(data_dir, LLM_SIM_SECONDS="0.2")
    first, last, statuses = soak(system, SECONDS)
    assert set(statuses) == {"completed", "failed"} and statuses["completed"] > statuses["failed"]
    assert last.mebibytes <= first.mebibytes + MORE_MEBIBYTES
    assert last.threads <= first.threads + 2 and last.files <= first.files + 4
    assert system.stop() == 0
