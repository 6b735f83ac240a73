"""The local platform where it hurts as Google's does: a worker that takes few requests, and long calls among short."""

from collections import Counter
from pathlib import Path

import httpx

from tests.bench.capacity import dead_letters
from tests.e2e.system import System, until_all_ended

RUNS = 80


def chat(client: httpx.Client, text: str) -> str:
    job = {"job_type": "general_llm_request", "model_id": "demo-chat-model", "input_data": {"full_input": text}}
    return str(client.post("/api/llm/jobs/submit/", json=job).json()["job_id"])


def statuses(client: httpx.Client, run_ids: list[str]) -> Counter[str]:
    return Counter(client.get(f"/api/llm/jobs/{run_id}/status/").json()["status"] for run_id in run_ids)


def test_no_message_is_given_up_although_its_worker_takes_ten_requests_at_once(data_dir: Path) -> None:
    system = System(data_dir, "--capacity", "process_run=10", LLM_SIM_SECONDS="0.3")
    with system.client() as client:
        jobs = [chat(client, "hello") for _ in range(RUNS)]
        assert {run["status"] for run in until_all_ended(client, jobs, seconds=300)} == {"completed"}
    assert dead_letters(data_dir) == 0
    assert system.stop() == 0


def test_short_runs_complete_while_more_long_calls_than_a_push_window_holds_go_on(data_dir: Path) -> None:
    system = System(data_dir, LLM_SIM_SECONDS="0.2")
    with system.client() as client:
        long = [chat(client, "[[slow 60]]") for _ in range(20)]
        short = [client.post("/llm_user_runs", json={"input_text": "hello"}).json()["run_uuid"] for _ in range(40)]
        assert {run["status"] for run in until_all_ended(client, short)} == {"completed"}
        assert "completed" not in statuses(client, long)
    assert system.stop() == 0
