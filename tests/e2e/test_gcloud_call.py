"""`gcloud functions call`: the real command line tool at the roots of submit_run and read_runs."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.cloud_functions import PROJECT, REGION, GoogleStandIn, serving
from tests.e2e.system import System, until
from tests.infra.gcloud_in_forks import gcloud_server
from tests.needs import need

ADMIN_RUN = {"text": "Hello", "source_lang": "en", "target_lang": "de"}
JOB = {"job_type": "general_llm_request", "model_id": "demo-model", "input_data": {"full_input": "hi"}}
TRAINER = {"model_id": "demo-model", "question_id": "by-gcloud", "system_message": "s", "full_input": "f"}


class Gcloud:
    """The command as a user with a service account's key file runs it; nothing of this machine's own settings."""

    def __init__(self, folder: Path, google: GoogleStandIn) -> None:
        self._folder = folder
        self._google = google
        self.environment = {
            **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
            "CLOUDSDK_CONFIG": str(folder / "config"),
            "CLOUDSDK_AUTH_TOKEN_HOST": f"{google.url}/token",
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDFUNCTIONS": f"{google.url}/",
            "CLOUDSDK_CORE_PROJECT": PROJECT,
            "CLOUDSDK_FUNCTIONS_REGION": REGION,
            "CLOUDSDK_CORE_DISABLE_PROMPTS": "1",
            "CLOUDSDK_CORE_DISABLE_USAGE_REPORTING": "1",
            "CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK": "1",
            "NO_PROXY": "127.0.0.1",
        }

    def call(
        self, function: str, data: Any = None, *words: str, user: str = "demo"
    ) -> subprocess.CompletedProcess[str]:
        key_file = self._google.write_key_file(self._folder / f"{user}.json", user=user)
        settings = {**self.environment, "CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE": str(key_file)}
        given = [] if data is None else [f"--data={json.dumps(data)}"]
        command = [str(self._folder / "gcloud"), "functions", "call", function, *given, *words]
        return subprocess.run(command, env=settings, capture_output=True, text=True)

    def answer(self, function: str, data: Any = None, user: str = "demo") -> Any:
        done = self.call(function, data, "--format=value(.)", user=user)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@pytest.fixture(scope="module")
def gcloud(local: System, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gcloud]:
    need(None if shutil.which("gcloud") else "gcloud is missing; install the Google Cloud CLI: cloud.google.com/sdk")
    uris = {name: f"{local.url}/{name}" for name in ("submit_run", "read_runs")}
    folder = tmp_path_factory.mktemp("gcloud")
    with serving(uris, local.token) as google:
        gcloud = Gcloud(folder, google)
        with gcloud_server(folder, gcloud.environment):
            yield gcloud


def test_a_run_that_gcloud_submits_is_read_by_gcloud_until_it_is_complete(gcloud: Gcloud) -> None:
    submitted = gcloud.answer("submit_run", ADMIN_RUN)
    assert (submitted["success"], submitted["status"]) == (True, "pending")

    def complete() -> Any:
        run = gcloud.answer("read_runs", {"run_uuid": submitted["run_uuid"]})
        return run if run["is_complete"] else None

    run = until(complete)
    assert (run["kind"], run["status"], run["target_lang"]) == ("admin_run", "completed", "de")


@pytest.mark.parametrize(
    ("body", "job_type"),
    [({"input_text": "Hello"}, "user_run"), (JOB, "general_llm_request"), (TRAINER, "trainer_question_analysis")],
)
def test_the_other_families_are_submitted_and_read_by_job_id(gcloud: Gcloud, body: Any, job_type: str) -> None:
    job_id = gcloud.answer("submit_run", body)["job_id"]
    shown = gcloud.answer("read_runs", {"job_id": job_id})
    assert (shown["job_id"], shown["job_type"]) == (job_id, job_type)


def test_gcloud_lists_runs_with_and_without_filters(gcloud: Gcloud) -> None:
    job_id = gcloud.answer("submit_run", JOB, user="other")["job_id"]
    run_id = gcloud.answer("submit_run", {"input_text": "Hello"}, user="other")["run_uuid"]
    assert gcloud.answer("read_runs", user="other")["jobs"][0]["job_id"] == job_id
    runs = gcloud.answer("read_runs", {"kind": "user_run", "limit": 5}, user="other")["runs"]
    assert len(runs) <= 5 and runs[0]["run_uuid"] == run_id


def test_a_refusal_is_shown_with_its_status_and_with_log_http_in_its_words(gcloud: Gcloud) -> None:
    forbidden = gcloud.call("submit_run", ADMIN_RUN, user="nogroup")
    assert forbidden.returncode != 0 and "403 Client Error: Forbidden" in forbidden.stderr
    ambiguous = gcloud.call("submit_run", {**ADMIN_RUN, "input_text": "Hello"}, "--log-http")
    assert ambiguous.returncode != 0 and "400 Client Error: Bad Request" in ambiguous.stderr
    assert "the fields do not tell what to submit: give either text, or input_text" in ambiguous.stderr
    assert "Traceback" not in forbidden.stderr + ambiguous.stderr


def test_the_roots_are_behind_the_one_port_of_every_system(system: System) -> None:
    with system.client() as client:
        job_id = client.post("/submit_run", json=JOB).json()["job_id"]
        assert client.post("/read_runs", json={"job_id": job_id}).json()["job_type"] == JOB["job_type"]
