"""The daily questions of infra/OPERATIONS.md, word for word, with the real gcloud and curl on Google's emulators."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import httpx
import pytest

from tests.e2e.system import ROOT, Cloud, until
from tests.needs import need

BLOCKS = re.findall(r"```bash\n(.*?)```", (ROOT / "infra" / "OPERATIONS.md").read_text(), re.DOTALL)
FUNCTION, STUCK, WHY, AGAIN, USAGE = BLOCKS


@pytest.fixture
def shell(cloud: Cloud, tmp_path: Path) -> "Shell":
    need(None if shutil.which("jq") else "jq is missing; install the package jq")
    return Shell(cloud, tmp_path)


class Shell:
    """An operator's shell whose gcloud has a token of the emulator's owner, and otherwise is the real one."""

    def __init__(self, cloud: Cloud, folder: Path) -> None:
        gcloud = folder / "gcloud"
        token = '[ "$1 $2" = "auth print-access-token" ] && exec echo owner'
        gcloud.write_text(f'#!/bin/sh\n{token}\nexec {shutil.which("gcloud")} "$@"\n')
        gcloud.chmod(0o755)
        self._environment = {
            "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(folder),
            "PROJECT": cloud.printed["GOOGLE_CLOUD_PROJECT"],
            "FIRESTORE": f"http://{cloud.printed['FIRESTORE_EMULATOR_HOST']}",
            "NO_PROXY": "127.0.0.1",
            "CLOUDSDK_AUTH_DISABLE_CREDENTIALS": "true",
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_PUBSUB": f"http://{cloud.printed['PUBSUB_EMULATOR_HOST']}/",
            "CLOUDSDK_CORE_DISABLE_PROMPTS": "1",
        }

    def answer(self, recipe: str, **variables: str) -> list[list[str]]:
        """Returns the printed lines, each as its columns."""
        command = ["bash", "-eu", "-o", "pipefail", "-c", FUNCTION + recipe]
        done = subprocess.run(command, env={**self._environment, **variables}, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return [line.split("\t") for line in done.stdout.splitlines()]


def test_what_is_stuck_and_driving_it_again(cloud: Cloud, shell: Shell) -> None:
    """A message names a run; a run whose time has passed is shown until somebody continues it."""
    with cloud.client() as client:
        run_id = client.post("/llm_user_runs", json={"input_text": "[[never]]"}).json()["run_uuid"]
        until(lambda: client.get(f"/llm_user_runs/{run_id}").json()["status"] == "processing")
        line = until(lambda: stuck_line(cloud, shell, run_id))
        assert line[1:3] == ["processing", "2020-01-01T00:00:00Z"]
        again = shell.answer(AGAIN, RUNS=run_id)
        assert any("messageIds" in line[0] for line in again)
        client.post(f"/api/llm/jobs/{run_id}/cancel/").raise_for_status()
        assert run_id not in [line[0] for line in shell.answer(STUCK)]


def stuck_line(cloud: Cloud, shell: Shell, run_id: str) -> list[str] | None:
    """Makes the run overdue and returns its line; None when a save of its worker has come between."""
    make_overdue(cloud, run_id)
    return next((line for line in shell.answer(STUCK) if line[0] == run_id), None)


def make_overdue(cloud: Cloud, run_id: str) -> None:
    url = f"{cloud.documents}/llm_runs/{run_id}?updateMask.fieldPaths=due_at"
    fields = {"fields": {"due_at": {"timestampValue": "2020-01-01T00:00:00Z"}}}
    owner = {"Authorization": "Bearer owner"}
    assert httpx.patch(url, json=fields, headers=owner, trust_env=False).status_code == 200


def test_why_a_run_failed(cloud: Cloud, shell: Shell) -> None:
    with cloud.client() as client:
        run_id = client.post("/llm_user_runs", json={"input_text": "[[refuse]]"}).json()["run_uuid"]
        until(lambda: client.get(f"/llm_user_runs/{run_id}").json()["is_complete"])
    [summary, *history] = shell.answer(WHY, RUN=run_id)
    assert summary[:2] == ["failed", "llm_refused"] and summary[3].startswith("00-")
    assert [line[1] for line in history] == ["run.queued", "run.started", "run.failed"]


def test_who_used_how_much(cloud: Cloud, shell: Shell) -> None:
    with cloud.client("other") as client:
        body = {"job_type": "general_llm_request", "model_id": "demo-chat-model", "input_data": {"full_input": "hi"}}
        answer = client.post("/api/llm/jobs/submit/", json=body, headers={"Prefer": "wait=20"})
        job_id = answer.json()["job_id"]
        until(lambda: client.get(f"/api/llm/jobs/{job_id}/status/").json()["is_complete"])
    [line] = shell.answer(USAGE, ORGANIZATION="globex", SINCE="2020-01-01")
    user, runs, tokens_in, tokens_out, usd = line
    assert user == "other" and int(runs) >= 1 and int(tokens_in) > 0 and int(tokens_out) > 0 and float(usd) > 0
    assert shell.answer(USAGE, ORGANIZATION="globex", SINCE="2999-01-01") == []
