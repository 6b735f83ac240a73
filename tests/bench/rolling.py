"""Rolls this release out beside 0.2.0, and back, while runs are open: python -m tests.bench.rolling [RUNS] [SECONDS]

On Google's emulators. All requests go to 0.2.0, then to both in turn, to this release, to both again, and back to
0.2.0, for so many seconds each. So many runs are open in the third phase, half of them submitted to 0.2.0 and half to
this release, and end in the last two; a tenth more in each phase end sooner. It fails unless every run completes, and
is submitted to its LLM once.
"""

import random
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx

from infra.local.emulators.google import start_firestore
from infra.local.emulators.ports import reserved_port
from infra.local.emulators.processes import wait_until_listening
from tests.bench.bench import show
from tests.e2e.rolling import RELEASE_0_2_0, RollingSystem, unpacked
from tests.e2e.system import until

PHASES = {"0.2.0": (0,), "both": (0, 1), "this release": (1,), "both again": (0, 1), "0.2.0 again": (0,)}
SWEEP_SECONDS, GRACE_SECONDS = 5.0, 30.0
SUBMITS_IN = ("0.2.0", "this release")


def main(runs: int = 200, seconds: float = 12) -> None:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        earlier = unpacked(RELEASE_0_2_0, folder / "earlier")
        if earlier is None:
            sys.exit(f"This clone has no commit {RELEASE_0_2_0}; fetch its history: git fetch --unshallow")
        host = f"127.0.0.1:{stack.enter_context(reserved_port())}"
        firestore = start_firestore(folder, host=host)
        stack.callback(firestore.kill)
        wait_until_listening(firestore)
        system = RollingSystem(
            stack, folder / "data", host, earlier=earlier, sweep_seconds=SWEEP_SECONDS, grace_seconds=GRACE_SECONDS
        )
        roll(system, runs, seconds)


def roll(system: RollingSystem, runs: int, seconds: float) -> None:
    run_ids: list[str] = []
    with system.client("submit_run") as submits, system.client("read_runs") as reads:
        for number, (phase, releases) in enumerate(PHASES.items()):
            system.send_to(*releases)
            ends = time.monotonic() + seconds
            run_ids += [submit(submits, n, random.uniform(1, seconds)) for n in range(runs // 10)]
            if phase in SUBMITS_IN:
                left = seconds * (len(PHASES) - number)
                run_ids += [submit(submits, n, random.uniform(left - 2 * seconds, left)) for n in range(runs // 2)]
            time.sleep(max(ends - time.monotonic(), 0))
            show(f"open runs at the end of the phase: {phase}", str(runs_by_status(reads, run_ids)))
        until(lambda: all(is_complete(reads, run_id) for run_id in run_ids), seconds=300)
        check(system, reads, run_ids)


def submit(client: httpx.Client, number: int, seconds: float) -> str:
    """Submits a run of one of the families. Every tenth is a synchronous call, of a second.

    0.2.0 has no lanes: longer calls would fill its push window, and the other runs would wait there.
    """
    is_call = number % 10 == 0
    text = f"hello [[slow {1 if is_call else round(seconds)}]]"
    job = {"job_type": "general_llm_request", "model_id": "demo-model", "input_data": {"full_input": text}}
    bodies = [
        ("/llm_user_runs", {"input_text": text}),
        ("/llm_user_runs_admin", {"text": text, "source_lang": "en", "target_lang": "de"}),
        ("/api/llm/jobs/submit/", job),
    ]
    path, body = (bodies[2][0], {**job, "model_id": "demo-chat-model"}) if is_call else bodies[number % 3]
    answer = client.post(path, json=body, headers={"Prefer": "respond-async"})
    answer.raise_for_status()
    accepted = answer.json()
    return str(accepted.get("run_uuid") or accepted["job_id"])


def is_complete(client: httpx.Client, run_id: str) -> bool:
    return bool(client.get(f"/llm_user_runs/{run_id}").json()["is_complete"])


def runs_by_status(client: httpx.Client, run_ids: list[str]) -> dict[str, int]:
    return dict(Counter(run["status"] for run in shown_runs(client, run_ids)))


def shown_runs(client: httpx.Client, run_ids: list[str]) -> list[Any]:
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(lambda run_id: client.get(f"/llm_user_runs/{run_id}").json(), run_ids))


def check(system: RollingSystem, reads: httpx.Client, run_ids: list[str]) -> None:
    """Both releases read the end of every run, and the LLM got each once."""
    for release in (0, 1):
        system.send_to(release)
        shown = shown_runs(reads, run_ids)
        assert {run["status"] for run in shown} == {"completed"}, Counter(str(run["error"]) for run in shown)
        assert all(run["result"]["text"] for run in shown)
    jobs = Counter(system.jobs_per_run()[run_id] for run_id in run_ids if run_id in system.jobs_per_run())
    assert set(jobs) == {1}, f"LLM jobs of a run: {dict(jobs)}"
    show("completed runs, as both releases read them", str(len(run_ids)))
    show("runs with exactly one LLM job; the others are single calls", str(jobs[1]))
    trouble = Counter(line for line in ("dead letter kept", "run not repaired") if line in system.log())
    show("dead letters or runs not repaired", str(sum(trouble.values())))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:3]))
