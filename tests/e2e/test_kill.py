"""kill -9 of the whole system with runs in flight: none lost, none twice."""

import random
import sqlite3
import threading
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx

from tests.e2e.system import System, until, until_all_ended

RUNS = 200
SOON_REPAIRED: dict[str, Any] = {"SWEEP_SECONDS": "0.5", "PENDING_GRACE_SECONDS": "2"}
"""An accepted run whose message is lost by the kill is sent again after seconds instead of a quarter of a minute."""


def test_nothing_is_lost_and_nothing_done_twice_when_the_system_is_killed(data_dir: Path) -> None:
    system = System(data_dir, LLM_SIM_SECONDS="2", **SOON_REPAIRED)
    accepted: list[str] = []
    submitting = threading.Thread(target=submit_all, args=(system, accepted))
    submitting.start()
    until(lambda: len(accepted) > RUNS // 4)
    time.sleep(random.uniform(0, 0.5))
    system.kill()
    submitting.join()
    system.start()
    submit_all(system, accepted)
    time.sleep(random.uniform(0, 2))
    system.kill()
    system.start()
    with system.client() as client:
        statuses = [run["status"] for run in until_all_ended(client, accepted)]
    assert Counter(statuses) == {"completed": len(accepted)}
    check_no_run_was_done_twice(system, accepted)
    assert system.stop() == 0


def submit_all(system: System, accepted: list[str]) -> None:
    """Until there are 200, or the system is gone; only what was answered counts."""
    with system.client() as client:
        while len(accepted) < RUNS:
            try:
                answer = client.post("/llm_user_runs", json={"input_text": "hello world"})
            except httpx.TransportError:
                return
            accepted.append(answer.json()["run_uuid"])


def check_no_run_was_done_twice(system: System, accepted: list[str]) -> None:
    """A submit may be repeated, but only under its own key, and then it is the same job."""
    jobs = system.simulator_jobs()
    keys = {job["key"]: job["body"]["run_uuid"] for job in jobs}
    per_run = Counter(keys.values())
    assert set(accepted) <= set(per_run)
    assert set(per_run.values()) == {1}


def test_messages_and_timers_deleted_by_hand_are_made_again(data_dir: Path) -> None:
    system = System(data_dir, LLM_SIM_SECONDS="1", SWEEP_SECONDS="0.2", PENDING_GRACE_SECONDS="1")
    with system.client() as client, closing(sqlite3.connect(data_dir / "runs.db", timeout=10)) as database:
        accepted = [client.post("/llm_user_runs", json={"input_text": "hello"}).json()["run_uuid"] for _ in range(30)]
        for _ in range(3):
            with database:
                database.execute("DELETE FROM messages")
                database.execute("DELETE FROM tasks")
            time.sleep(0.3)
        statuses = [run["status"] for run in until_all_ended(client, accepted)]
    assert Counter(statuses) == {"completed": 30}
    check_no_run_was_done_twice(system, accepted)
    assert system.stop() == 0
