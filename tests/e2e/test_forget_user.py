"""The program infra/forget_user.py, as an operator calls it beside a running system."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.system import ROOT, System

TEXT = "a very private sentence"


def forget_user(system: System, *options: str) -> "subprocess.CompletedProcess[str]":
    environment = {"PATH": "/usr/bin:/bin", "DATA_DIR": str(system.data_dir)}
    command = [sys.executable, "-m", "infra.forget_user", *options]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)


@pytest.fixture
def own(data_dir: Path) -> System:
    return System(data_dir, LLM_SIM_SECONDS="0")


def test_a_user_is_counted_exported_and_deleted_with_a_receipt(own: System, tmp_path: Path) -> None:
    with own.client() as client:
        done = client.post("/llm_user_runs", json={"input_text": TEXT}, headers={"Prefer": "wait=20"}).json()
        counted = forget_user(own, "demo")
        assert counted.stdout.splitlines()[0] == "runs: 1 completed; profile: yes"
        exported = tmp_path / "runs.jsonl"
        told = forget_user(own, "demo", "--export", str(exported)).stdout
        assert told == f"1 runs and 1 sums of usage written to {exported}\n"
        line, last = map(json.loads, exported.read_text().splitlines())
        assert line["input"] == {"text": TEXT} and line["run"]["run_uuid"] == done["run_uuid"]
        assert (last["usage"]["runs"], last["usage"]["deployment"]) == (1, "europe") and "user" not in last["usage"]
        again = forget_user(own, "demo", "--export", str(exported))
        assert again.returncode == 1 and "not done" in again.stderr
        deleted = forget_user(own, "demo", "--delete", "--receipts", str(tmp_path))
        assert deleted.returncode == 0, deleted.stderr
        [receipt] = tmp_path.glob("forgotten-*.json")
        proof = json.loads(receipt.read_text())
        assert (proof["runs"], proof["run_ids"], proof["profile"]) == ({"completed": 1}, [done["run_uuid"]], True)
        assert "demo" not in receipt.read_text() and TEXT not in deleted.stdout + deleted.stderr
        assert client.get(f"/llm_user_runs/{done['run_uuid']}").status_code in (403, 404)
    assert own.stop() == 0
