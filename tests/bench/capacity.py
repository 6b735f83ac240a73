"""Measures runs against a worker that takes ten requests at once: python -m tests.bench.capacity [RUNS]

Each run is a synchronous call of a second, so that ten of 500 are at work at a time.
"""

import sqlite3
import sys
import tempfile
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

from tests.bench.bench import show
from tests.e2e.system import System, until

CAPACITY = 10
CALL_SECONDS = 1.0
JOB = {"job_type": "general_llm_request", "model_id": "demo-chat-model", "input_data": {"full_input": "hello"}}


def main(runs: int = 500) -> None:
    with tempfile.TemporaryDirectory() as folder:
        data_dir = Path(folder) / "data"
        system = System(data_dir, "--capacity", f"process_run={CAPACITY}", LLM_SIM_SECONDS=str(CALL_SECONDS))
        began = time.monotonic()
        with system.client() as client:
            jobs = [client.post("/api/llm/jobs/submit/", json=JOB).json()["job_id"] for _ in range(runs)]
            open_jobs, statuses = set(jobs), Counter[str]()

            def all_have_ended() -> bool:
                for job in list(open_jobs):
                    run = client.get(f"/api/llm/jobs/{job}/status/").json()
                    if not run["is_complete"]:
                        return False
                    statuses[run["status"]] += 1
                    open_jobs.discard(job)
                return True

            until(all_have_ended, seconds=1200)
        took = time.monotonic() - began
        show(f"synchronous runs of {CALL_SECONDS:g} s against a worker that takes {CAPACITY} at once", str(runs))
        show("their statuses", ", ".join(f"{count} {status}" for status, count in statuses.items()))
        show("undeliverable messages", str(dead_letters(data_dir)))
        show("seconds in all; the least possible", f"{took:.1f}; {runs * CALL_SECONDS / CAPACITY:.1f}")
        system.stop()


def dead_letters(data_dir: Path) -> int:
    with closing(sqlite3.connect(data_dir / "runs.db", timeout=10)) as database:
        return int(database.execute("SELECT count(*) FROM dead_letters").fetchone()[0])


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
