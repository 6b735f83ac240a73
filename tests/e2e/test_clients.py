"""The clients that `make clients` generates, used on a running system: results and errors have their types."""

import json
import os
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import httpx
import pytest

from infra.clients import generate
from tests.e2e.readme import program_with
from tests.e2e.system import ROOT, System, until, updates
from tests.needs import need

UNKNOWN = UUID("00000000-0000-4000-8000-000000000000")
USAGE = Path(__file__).parent / "clients" / "usage.ts"


@pytest.fixture(scope="module")
def made_without_node(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """What the command wrote into `folder` and into `stderr`, and its `status`, on a machine without Node.js."""
    folder, nothing = tmp_path_factory.mktemp("clients"), tmp_path_factory.mktemp("nothing")
    command = [sys.executable, "-m", "infra.clients.generate", str(folder)]
    done = subprocess.run(command, cwd=ROOT, env={"PATH": str(nothing)}, capture_output=True, text=True)
    return SimpleNamespace(folder=folder, stderr=done.stderr, status=done.returncode)


@pytest.fixture(scope="module")
def python_client(made_without_node: SimpleNamespace) -> Any:
    """The generated package: `models`, `jobs`, `user_runs`, and `Client`."""
    folder = made_without_node.folder / "python"
    with pytest.MonkeyPatch.context() as patched:
        patched.syspath_prepend(folder)
        package = import_module("llm_runs_client")
        api = {name: _Tag(f"llm_runs_client.api.{name}") for name in ("jobs", "user_runs", "admin_runs")}
        yield SimpleNamespace(
            models=import_module("llm_runs_client.models"), Client=package.AuthenticatedClient, folder=folder, **api
        )
    for name in [name for name in sys.modules if name.partition(".")[0] == "llm_runs_client"]:
        del sys.modules[name]


class _Tag:
    """The functions of one tag, by name."""

    def __init__(self, package: str) -> None:
        self._package = package

    def __getattr__(self, operation: str) -> Any:
        return import_module(f"{self._package}.{operation}").sync


@pytest.fixture
def caller(python_client: Any, local: System) -> Any:
    with python_client.Client(base_url=local.url, token=local.token(), httpx_args={"trust_env": False}) as client:
        yield client


def test_every_module_of_the_python_client_can_be_imported(python_client: Any) -> None:
    modules = list(python_client.folder.glob("llm_runs_client/**/*.py"))
    assert len(modules) > 100
    for module in modules:
        import_module(".".join(module.relative_to(python_client.folder).with_suffix("").parts))


def test_the_python_client_brings_a_job_from_submission_to_its_result(python_client: Any, caller: Any) -> None:
    models, jobs = python_client.models, python_client.jobs
    text = models.TextInput(full_input="Hello world")
    body = models.TextJobSubmission(job_type=models.JobType.GENERAL_LLM_REQUEST, model_id="demo-model", input_data=text)
    receipt = jobs.submit_job(client=caller, body=body)
    assert isinstance(receipt, models.AcceptedJob) and receipt.status is models.Status.PENDING

    def complete() -> Any:
        answer = jobs.get_job_status(receipt.job_id, client=caller)
        assert isinstance(answer, models.JobAnswer)
        return answer if answer.is_complete else None

    status = until(complete)
    assert status.status is models.Status.COMPLETED and status.completed_at >= status.started_at
    result = jobs.get_job_result(receipt.job_id, client=caller)
    assert isinstance(result, models.JobResult) and result.result_data.result
    listed = jobs.list_jobs(client=caller, status=models.Status.COMPLETED)
    assert receipt.job_id in [job.job_id for job in listed.jobs]


def test_the_python_client_reads_errors_as_their_types(python_client: Any, caller: Any) -> None:
    models, jobs = python_client.models, python_client.jobs
    body = models.TrainerAnalysisSubmission(
        model_id="no-such-model", question_id="1", system_message="Be brief.", full_input="Hello"
    )
    refused = jobs.submit_trainer_analysis(client=caller, body=body)
    assert isinstance(refused, models.InvalidRequestError)
    assert (refused.code, refused.field) == (models.InvalidRequestErrorCode.INVALID_REQUEST, "model_id")
    missing = jobs.get_job_result(UNKNOWN, client=caller)
    assert isinstance(missing, models.ResultNotFoundError)
    assert missing.code is models.ResultNotFoundErrorCode.RUN_NOT_FOUND and not missing.retryable
    slow = models.UserRunSubmission(input_text="hello [[slow 20]]")
    run = python_client.user_runs.submit_user_run(client=caller, body=slow)
    early = jobs.get_job_result(run.run_uuid, client=caller)
    assert isinstance(early, models.NoResultError) and early.code == "run_not_finished"
    cancelled = jobs.cancel_job(run.run_uuid, client=caller)
    assert isinstance(cancelled, models.CancelledUserRun) and cancelled.cancelled


def test_the_python_client_waits_and_follows_a_stream(python_client: Any, caller: Any) -> None:
    models = python_client.models
    body = models.AdminRunSubmission(text="Hello world", source_lang="en", target_lang="de")
    whole = python_client.admin_runs.submit_admin_run(client=caller, body=body, prefer="wait=30")
    assert isinstance(whole, models.AcceptedWholeRun) and whole.result.text and whole.urls.stream
    told = python_client.user_runs.stream_user_run(whole.run_uuid, client=caller)
    stream = httpx.Response(200, headers={"Content-Type": "text/event-stream"}, text=told)
    seen = [models.Update.from_dict(update["data"]) for update in updates(stream)]
    assert seen[0].type_ is models.UpdateType.RUN_QUEUED and seen[-1].type_ is models.UpdateType.RUN_COMPLETED
    assert isinstance(seen[-1].run, models.UserRun)


def test_the_readmes_program_with_the_python_client_shows_a_completed_run(python_client: Any, local: System) -> None:
    environment = {"URL": local.url, "TOKEN": local.token(), "PYTHONPATH": str(python_client.folder), "NO_PROXY": "*"}
    command = [sys.executable, "-c", program_with("from llm_runs_client import")]
    shown = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert shown.returncode == 0, shown.stderr
    assert "Status.COMPLETED" in shown.stdout


@pytest.fixture(scope="module")
def typescript_client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    need(generate.NODE_IS_MISSING if generate.node_is_missing() else None)
    folder = tmp_path_factory.mktemp("clients") / "typescript"
    generate.generate_typescript(folder)
    return folder


def test_the_typescript_client_compiles_and_does_its_work(typescript_client: Path, local: System) -> None:
    shutil.copy(USAGE, typescript_client)
    options = ["--strict", "--target", "es2022", "--module", "nodenext", "--lib", "es2022,dom,dom.iterable"]
    options.append("--skipDefaultLibCheck")  # what comes with TypeScript itself, a quarter of the time
    compiler = [str(typescript_client / "node_modules" / ".bin" / "tsc"), *options, "usage.ts"]
    compiled = subprocess.run(compiler, cwd=typescript_client, capture_output=True, text=True)
    assert compiled.returncode == 0, compiled.stdout
    command = ["node", "usage.js", local.url, local.token()]
    ran = subprocess.run(command, cwd=typescript_client, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    seen = json.loads(ran.stdout)
    assert "event: run.completed" in seen.pop("updates") and seen.pop("result")
    assert seen == {"status": "completed", "refusal": ["invalid_request", "model_id"], "missing": "run_not_found"}


def test_the_readmes_program_with_the_typescript_client_shows_a_completed_run(
    typescript_client: Path, local: System
) -> None:
    program = typescript_client / "readme.mjs"
    program.write_text(program_with('from "llm-runs-client"'))
    environment = {"URL": local.url, "TOKEN": local.token(), "PATH": os.environ["PATH"]}
    shown = subprocess.run(["node", program], env=environment, capture_output=True, text=True, timeout=60)
    assert shown.returncode == 0, shown.stderr
    assert "status: 'completed'" in shown.stdout


def test_without_node_the_python_client_is_generated_alone_and_a_line_says_so(
    made_without_node: SimpleNamespace,
) -> None:
    assert (made_without_node.status, made_without_node.stderr) == (0, f"{generate.NODE_IS_MISSING}\n")
    assert [path.name for path in made_without_node.folder.iterdir()] == ["python"]
