"""Measures runs of a second with and without long calls among them: python -m tests.bench.lanes [RUNS]

One run of twenty is a call of 90 s, which stands for one of five minutes: none of them ends before the others have.
"""

import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx

from tests.bench.bench import percentile, show
from tests.e2e.system import System, until

LONG_SECONDS = 90
RUNS_A_SECOND = 20
ONE_IN = 20


def main(runs: int = 400) -> None:
    for with_long_calls in (False, True):
        with tempfile.TemporaryDirectory() as folder:
            system = System(Path(folder) / "data", LLM_SIM_SECONDS="1")
            with system.client() as client:
                seconds, still_open = measured(client, runs, with_long_calls=with_long_calls)
            system.stop()
        name = f"1 s runs with {still_open} calls of {LONG_SECONDS} s still open" if with_long_calls else "1 s runs"
        show(f"{name}: p50 / p95 / max", " / ".join(f"{value:.2f} s" for value in seconds))


def measured(client: httpx.Client, runs: int, *, with_long_calls: bool) -> tuple[tuple[float, ...], int]:
    """Returns p50, p95 and maximum of the short runs' seconds, and how many long calls go on when these have ended."""
    short, long = [], []
    began = time.monotonic()
    for number in range(runs):
        time.sleep(max(began + number / RUNS_A_SECOND - time.monotonic(), 0))
        if with_long_calls and number % ONE_IN == 0:
            long.append(submitted_long_call(client))
        else:
            short.append(client.post("/llm_user_runs", json={"input_text": "hello"}).json()["run_uuid"])
    took = []
    for run_id in short:
        run = until(lambda run_id=run_id: complete(client, run_id), seconds=120)  # type: ignore[misc]
        took.append(seconds_between(run["created_at"], run["completed_at"]))
    still_open = sum(not complete(client, job) for job in long)
    return (percentile(took, 0.5), percentile(took, 0.95), max(took)), still_open


def submitted_long_call(client: httpx.Client) -> str:
    content = {"full_input": f"[[slow {LONG_SECONDS}]]"}
    job = {"job_type": "general_llm_request", "model_id": "demo-chat-model", "input_data": content}
    return str(client.post("/api/llm/jobs/submit/", json=job).json()["job_id"])


def complete(client: httpx.Client, run_id: str) -> Any:
    run = client.get(f"/api/llm/jobs/{run_id}/status/").json()
    return run if run["is_complete"] else None


def seconds_between(first: str, last: str) -> float:
    return (datetime.fromisoformat(last) - datetime.fromisoformat(first)).total_seconds()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
