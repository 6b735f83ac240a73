"""Measures how runs fare that are submitted while process_run is gone: python -m tests.bench.absence [SECONDS] [RUNS]

On Google's emulators, with the intervals of a deployed system. By default 50 runs, and three minutes.
"""

import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

from infra.local.emulators.google import start_firestore
from infra.local.emulators.ports import reserved_port
from infra.local.emulators.processes import wait_until_listening
from tests.bench.bench import show
from tests.e2e.faulty import FaultySystem
from tests.e2e.system import until

DEPLOYED_SECONDS = 60.0
"""SWEEP_SECONDS and PENDING_GRACE_SECONDS of a deployed system."""


def main(seconds: int = 180, runs: int = 50) -> None:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        host = f"127.0.0.1:{stack.enter_context(reserved_port())}"
        firestore = start_firestore(folder, host=host)
        stack.callback(firestore.kill)
        wait_until_listening(firestore)
        system = FaultySystem(
            stack, folder / "data", host, sweep_seconds=DEPLOYED_SECONDS, grace_seconds=DEPLOYED_SECONDS
        )
        measure(system, seconds, runs)


def measure(system: FaultySystem, seconds: float, runs: int) -> None:
    system.functions["process_run"].kill()
    gone_at = time.monotonic()
    with system.client("submit_run") as client:
        answers = [client.post("/llm_user_runs", json={"input_text": "hello"}) for _ in range(runs)]
    run_ids = [answer.json()["run_uuid"] for answer in answers]
    time.sleep(max(gone_at + seconds - time.monotonic(), 0))
    system.start("process_run")
    back_at = time.monotonic()
    completed_after: dict[str, float] = {}
    statuses: Counter[str] = Counter()
    with system.client("read_runs") as client:

        def all_have_ended() -> bool:
            for run_id in set(run_ids) - set(completed_after):
                run = client.get(f"/api/llm/jobs/{run_id}/status/").json()
                if run["is_complete"]:
                    statuses[run["status"]] += 1
                    completed_after[run_id] = time.monotonic() - back_at
            return len(completed_after) == runs

        until(all_have_ended, seconds=600)
    ends, jobs = sorted(completed_after.values()), system.jobs_per_run()
    show(f"runs submitted while process_run was gone for {seconds:.0f} s", str(runs))
    show("their statuses", ", ".join(f"{count} {status}" for status, count in statuses.items()))
    spread = f"{ends[0]:.1f}, {ends[len(ends) // 2]:.1f}, {ends[-1]:.1f} s"
    show("from its return to the end of the first, median, last run", spread)
    show("provider jobs per run, at most", str(max(jobs[run_id] for run_id in run_ids)))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:3]))
