"""A budget over HTTP: no run too many, also when the system is killed, and what runs reserve comes back."""

import sqlite3
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

from shared.domain.money import to_nano
from tests.e2e.system import System, until_all_ended

JOB = {"job_type": "general_llm_request", "model_id": "demo-model", "input_data": {"full_input": "hello"}}
RESERVED = 3 * ((5 + 200) * 0.15e-6 + 8192 * 0.6e-6)
"""What the three attempts of JOB may cost at the prices of demo-model."""


def balances(system: System) -> list[tuple[int, int]]:
    """Returns (reserved, spent) of the day and of the month."""
    with closing(sqlite3.connect(system.data_dir / "runs.db", timeout=10)) as database:
        return database.execute("SELECT reserved, spent FROM budgets ORDER BY period").fetchall()


def test_a_budget_for_twenty_runs_holds_through_a_kill_and_is_free_again_afterwards(data_dir: Path) -> None:
    system = System(data_dir, LLM_SIM_SECONDS="3", SUBMITS_PER_MINUTE="0")
    budget = {"day_usd": round(20.5 * RESERVED, 9)}
    system.put("organizations", "saver", {"name": "Saver", "deployment": "europe", "budget": budget})
    system.put("users", "sam", {"organization_id": "saver", "groups": ["users", "admins"]})
    with system.client("sam") as client, ThreadPoolExecutor(20) as pool:
        submits = [pool.submit(client.post, "/api/llm/jobs/submit/", json=JOB) for _ in range(200)]
        answers = [submit.result() for submit in submits]
        assert Counter(answer.status_code for answer in answers) == {200: 20, 429: 180}
    system.kill()
    assert balances(system) == [(20 * to_nano(round(RESERVED, 9)), 0)] * 2
    system.start()
    accepted = [answer.json()["job_id"] for answer in answers if answer.status_code == 200]
    with system.client("sam") as client:
        ended = until_all_ended(client, accepted)
        spent = sum(to_nano(run["metrics"]["cost_usd"]) for run in ended)
        assert balances(system) == [(0, spent)] * 2
        usage = client.get("/api/usage/?group_by=user").json()
        assert [(item["key"], item["runs"], to_nano(item["cost_usd"])) for item in usage["items"]] == [
            ("sam", 20, spent)
        ]
        assert client.post("/api/llm/jobs/submit/", json=JOB).status_code == 200
    assert system.stop() == 0
