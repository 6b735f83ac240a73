"""Functions that are stopped and killed by the platform: readers resume, accepted runs go on, zombies are refused."""

import asyncio
import json
import os
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from httpx_sse import aconnect_sse
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from infra.local.emulators.functions import url_of
from infra.local.emulators.processes import ChildProcess, ChildProcesses
from shared.settings import REGIONS
from tests.e2e.system import System, environment, until
from tests.plain_http import NO_TLS
from tests.programs import ForkedProcesses

STREAMS = 50
RUNS = 10
TERM_TO_KILL_SECONDS = 2.0
"""Cloud Run leaves ten seconds; a function that holds streams uses them up, so that fewer show the same."""


class Functions:
    """Functions as processes of functions-framework over the folder of a local system."""

    def __init__(self, processes: ChildProcesses, data_dir: Path, **settings: str) -> None:
        self._processes = processes
        self._settings = {**environment(data_dir, **settings), "BACKEND": "embedded"}
        self._ports: dict[str, int] = {}

    def start(self, name: str) -> ChildProcess:
        port = self._ports.setdefault(name, self._processes.reserve_port())
        self._settings["PORT"] = str(port)
        framework = str(Path(sys.executable).with_name("functions-framework"))
        command = (framework, "--target", name, "--host", "127.0.0.1", "--port", str(port))
        started = self._processes.start(name, *command, host=f"127.0.0.1:{port}", settings=self._settings)
        until(lambda: self._answers(name))
        return started

    def url(self, name: str) -> str:
        return url_of(self._ports[name])

    def _answers(self, name: str) -> bool:
        try:
            return httpx.get(f"{self.url(name)}/health", trust_env=False, verify=NO_TLS).status_code == 200
        except httpx.TransportError:
            return False


@contextmanager
def functions_over(data_dir: Path, **settings: str) -> Iterator[Functions]:
    folder = data_dir.parent / "functions"
    folder.mkdir()
    with ForkedProcesses(folder) as processes:
        yield Functions(processes, data_dir, **settings)


def end(started: ChildProcess) -> None:
    """Ends the function as Cloud Run does: SIGTERM, and SIGKILL when the time is over."""
    os.killpg(started.process.pid, signal.SIGTERM)
    time.sleep(TERM_TO_KILL_SECONDS)
    started.kill()


async def followed(client: httpx.AsyncClient, run_id: str) -> list[int]:
    """Returns the ids of all events of the run's stream, which is resumed whenever it breaks."""
    ids: list[int] = []
    while True:
        headers = {"Last-Event-ID": str(ids[-1])} if ids else {}
        try:
            async with aconnect_sse(client, "GET", f"/llm_user_runs/{run_id}/stream", headers=headers) as source:
                async for event in source.aiter_sse():
                    if event.event == "error":
                        break
                    if not event.data:  # a comment or `retry` alone
                        continue
                    ids.append(int(event.id))
                    if event.event == "run.completed":
                        return ids
        except httpx.TransportError:
            await asyncio.sleep(0.1)


async def follow_all(url: str, token: str, run_ids: list[str]) -> list[list[int]]:
    limits = httpx.Limits(max_connections=None)
    headers = {"Authorization": f"Bearer {token}"}
    async with (
        httpx.AsyncClient(
            base_url=url, headers=headers, timeout=30, limits=limits, trust_env=False, verify=NO_TLS
        ) as client,
        asyncio.timeout(90),
        asyncio.TaskGroup() as group,
    ):
        following = [group.create_task(followed(client, run_ids[n % len(run_ids)])) for n in range(STREAMS)]
    return [task.result() for task in following]


def submit_until(stopped: threading.Event, client: httpx.Client) -> list[str]:
    """Returns the ids of the runs whose acceptance the client was told of."""
    accepted = []
    while not stopped.is_set():
        try:
            answer = client.post("/llm_user_runs", json={"input_text": "hello"})
        except httpx.TransportError:
            time.sleep(0.05)
            continue
        accepted.append(answer.json()["run_uuid"])
        time.sleep(0.05)
    return accepted


def test_streams_resume_and_accepted_runs_go_on_when_their_functions_are_ended_and_killed(data_dir: Path) -> None:
    system, stopped = System(data_dir, LLM_SIM_SECONDS="1"), threading.Event()
    with functions_over(data_dir) as functions, ThreadPoolExecutor() as pool:
        reader, submitter = functions.start("read_runs"), functions.start("submit_run")
        with system.client(url=functions.url("submit_run")) as client:
            slow = {"input_text": "[[slow 8]]"}
            run_ids = [client.post("/llm_user_runs", json=slow).json()["run_uuid"] for _ in range(RUNS)]
            submitting = pool.submit(submit_until, stopped, client)
            url = functions.url("read_runs")
            following = pool.submit(lambda: asyncio.run(follow_all(url, system.token(), run_ids)))
            time.sleep(1)
            list(pool.map(end, (reader, submitter)))
            functions.start("read_runs")
            functions.start("submit_run")
            ids_of_streams = following.result()
            stopped.set()
            accepted = submitting.result()
    assert len(ids_of_streams) == STREAMS
    assert all(ids == list(range(1, len(ids) + 1)) for ids in ids_of_streams), "no gap and no repeat"
    with system.client() as client:
        for run_id in accepted:
            until(lambda run_id=run_id: client.get(f"/llm_user_runs/{run_id}").json()["status"] == "completed")  # type: ignore[misc]
    assert len(accepted) > 5 and system.stop() == 0


class SlowLlm:
    """An LLM whose first submit is answered when the test says so; the others at once. A job is finished at once."""

    def __init__(self, server: HTTPServer) -> None:
        self.keys: list[str] = []
        self.asked, self.may_answer = threading.Event(), threading.Event()
        server.expect_request("/jobs", method="POST").respond_with_handler(self._submit)
        server.expect_request("/jobs/job-1", method="GET").respond_with_json(
            {"job_id": "job-1", "status": "finished", "output": {"text": "done"}}
        )

    def _submit(self, request: Request) -> Response:
        self.keys.append(request.headers["Idempotency-Key"])
        if len(self.keys) == 1:
            self.asked.set()
            self.may_answer.wait(30)
        return Response('{"job_id": "job-1", "status": "queued"}', 202, content_type="application/json")


@pytest.fixture
def llm() -> Iterator[tuple[SlowLlm, str]]:
    with HTTPServer(threaded=True) as server:
        yield SlowLlm(server), server.url_for("").rstrip("/")


def shown(data_dir: Path, run_id: str) -> Any:
    """(status, fence, whether the provider job is known) as it is stored."""
    fields = "json_extract(document, '$.status'), json_extract(document, '$.fence'), "
    query = f"SELECT {fields} json_extract(document, '$.provider_job_id') IS NOT NULL FROM runs WHERE id = ?"
    with closing(sqlite3.connect(data_dir / "runs.db", timeout=10)) as database:
        return database.execute(query, (run_id,)).fetchone()


def end_lease(data_dir: Path, run_id: str) -> None:
    """Lets the lease of the run's claim end now, instead of a quarter of a minute later."""
    past = "2026-01-01T00:00:00.000000Z"
    statement = "UPDATE runs SET document = json_set(document, '$.due_at', ?) WHERE id = ?"
    with closing(sqlite3.connect(data_dir / "runs.db", timeout=10)) as database, database:
        assert database.execute(statement, (past, run_id)).rowcount == 1


def test_a_worker_that_was_stopped_and_goes_on_after_another_has_finished_changes_nothing(
    data_dir: Path, llm: tuple[SlowLlm, str]
) -> None:
    slow_llm, llm_url = llm
    deployments = json.dumps(dict.fromkeys(REGIONS, llm_url))
    with functions_over(data_dir, LLM_DEPLOYMENTS=deployments) as functions, ThreadPoolExecutor() as pool:
        ended = System(data_dir)  # it makes the fixtures
        ended.stop()
        for name in ("submit_run", "recheck_run"):
            functions.start(name)
        worker = functions.start("process_run")
        with ended.client(url=functions.url("submit_run")) as client:
            run_id = client.post("/llm_user_runs", json={"input_text": "hello"}).json()["run_uuid"]
        message = {"message": {"data": "", "messageId": "1", "attributes": {"run_id": run_id}}, "subscription": "s"}
        first = pool.submit(
            httpx.post, functions.url("process_run"), json=message, timeout=60, trust_env=False, verify=NO_TLS
        )
        assert slow_llm.asked.wait(60)
        os.killpg(worker.process.pid, signal.SIGSTOP)
        end_lease(data_dir, run_id)
        for _ in range(2):
            recheck = {"run_id": run_id, "attempt": 1, "sequence": "1", "checks": 0}
            assert (
                httpx.post(functions.url("recheck_run"), json=recheck, trust_env=False, verify=NO_TLS).status_code
                == 204
            )
        finished = shown(data_dir, run_id)
        slow_llm.may_answer.set()
        os.killpg(worker.process.pid, signal.SIGCONT)
        assert first.result().status_code == 204
        assert finished == ("completed", 2, 1) == shown(data_dir, run_id)
        assert len(slow_llm.keys) == 2 and len(set(slow_llm.keys)) == 1
        log = (data_dir.parent / "functions" / "process_run.log").read_text()
    assert "write of an old claim dropped" in log
