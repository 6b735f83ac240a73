"""Functions served one by one, commands of the README, and how things end."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from infra.local.emulators.ports import reserved_port
from infra.local.emulators.processes import ChildProcesses, wait_until_listening
from shared.settings import REGIONS
from tests.e2e.system import ROOT, System, environment, until, until_all_ended, updates
from tests.plain_http import NO_TLS


@contextmanager
def served(target: str, data_dir: Path) -> Iterator[str]:
    """functions-framework serving one function, as in the cloud."""
    command = [str(Path(sys.executable).parent / "functions-framework"), "--target", target]
    settings = {**environment(data_dir), "BACKEND": "embedded"}
    with reserved_port() as port:
        started = subprocess.Popen(
            [*command, "--port", str(port)],
            cwd=ROOT,
            env=settings,
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        url = f"http://127.0.0.1:{port}"
        try:
            until(lambda: answers(url))
            yield url
        finally:
            os.killpg(started.pid, signal.SIGTERM)
            started.wait(timeout=20)


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", trust_env=False, verify=NO_TLS).status_code < 500
    except httpx.TransportError:
        return False


def test_each_function_can_be_served_on_its_own_over_one_folder(data_dir: Path) -> None:
    system = System(data_dir, LLM_SIM_SECONDS="0.5")
    with served("submit_run", data_dir) as submit_url, served("read_runs", data_dir) as read_url:
        with system.client(url=submit_url) as client:
            run_id = client.post("/llm_user_runs", json={"input_text": "hello"}).json()["run_uuid"]
        with system.client(url=read_url) as client, client.stream("GET", f"/llm_user_runs/{run_id}/stream") as answer:
            assert [event["event"] for event in updates(answer)][-1] == "run.completed"
    for target in ("process_run", "recheck_run", "sweep_runs", "bury_run"):
        with served(target, data_dir) as url:
            assert httpx.post(url, json={}, trust_env=False, verify=NO_TLS).status_code == 204
    assert system.stop() == 0


def test_a_second_system_takes_over_when_the_first_is_killed(data_dir: Path) -> None:
    settings: dict[str, Any] = {"SWEEP_SECONDS": "0.5", "PENDING_GRACE_SECONDS": "2"}
    with shared_llm(data_dir) as url:
        settings["LLM_DEPLOYMENTS"] = json.dumps(dict.fromkeys(REGIONS, url))
        first, second = System(data_dir, **settings), System(data_dir, **settings)
        with first.client() as client:
            run_id = client.post("/llm_user_runs", json={"input_text": "hello"}).json()["run_uuid"]
        first.kill()
        with second.client() as client:
            until(lambda: client.get(f"/llm_user_runs/{run_id}").json()["status"] == "completed")
        assert second.stop() == 0


@contextmanager
def shared_llm(data_dir: Path) -> Iterator[str]:
    """A simulated LLM outside of all systems: one that a system has itself knows no job that another has sent."""
    data_dir.mkdir(parents=True, exist_ok=True)
    with ChildProcesses(data_dir) as processes:
        host = processes.reserve_host()
        llm = processes.start("llm", sys.executable, "-m", "infra.local.simulator", "--host", host, host=host)
        wait_until_listening(llm)
        yield f"http://{host}"


def test_ctrl_c_ends_it_at_once_even_with_a_stream_open(data_dir: Path) -> None:
    system = System(data_dir)
    body = {"text": "[[never]]", "source_lang": "en", "target_lang": "de"}
    with system.client() as client, client.stream("POST", "/llm_user_runs_admin", json=body) as answer:
        events = updates(answer)
        next(events)
        began = time.monotonic()
        assert system.stop() == 0
        rest: list[str] = []
        with suppress(httpx.RemoteProtocolError):
            rest.extend(event["event"] for event in events)
        assert rest[-1] == "error", "an end that is not the run's end is said"
    assert time.monotonic() - began < 10
    assert system.errors() == ""


def test_a_port_that_is_taken_is_said_in_one_sentence(data_dir: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        settings = {**environment(data_dir), "PORT": str(taken.getsockname()[1])}
        done = subprocess.run(
            [sys.executable, "-m", "infra.local.embedded.host"], cwd=ROOT, env=settings, capture_output=True, text=True
        )
    assert done.returncode == 1
    assert done.stderr.strip() == f"Port {settings['PORT']} is taken; choose another: PORT=8081 make run"


def test_wrong_settings_stop_the_start_all_in_one_message(data_dir: Path) -> None:
    settings = {
        **environment(data_dir),
        "BACKEND": "pigeon",
        "LLM_DEPLOYMENTS": "{",
        "LLM_THREADS": "many",
        "K_SERVICE": "x",
    }
    done = subprocess.run([sys.executable, "-c", "import main"], cwd=ROOT, env=settings, capture_output=True, text=True)
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1
    assert all(name in last for name in ("BACKEND", "LLM_DEPLOYMENTS", "LLM_THREADS"))


def test_a_synchronous_run_goes_on_soon_after_a_kill(data_dir: Path) -> None:
    system = System(data_dir)
    body = {
        "job_type": "general_llm_request",
        "model_id": "demo-chat-model",
        "input_data": {"full_input": "[[slow 3]]"},
    }
    with system.client() as client:
        status = f"/api/llm/jobs/{client.post('/api/llm/jobs/submit/', json=body).json()['job_id']}/status/"
        until(lambda: client.get(status).json()["status"] == "processing")
    system.kill()
    system.start()
    with system.client() as client:
        until(lambda: client.get(status).json()["status"] == "completed", seconds=15)
    assert system.stop() == 0


def test_more_runs_than_threads_all_complete_with_one_submit_each(data_dir: Path) -> None:
    system = System(data_dir, LLM_THREADS="2", LLM_CALL_SECONDS="5", LLM_SIM_SECONDS="0.5")
    body = {"job_type": "general_llm_request", "model_id": "demo-chat-model", "input_data": {"full_input": "hello"}}
    with system.client() as client:
        jobs = [client.post("/api/llm/jobs/submit/", json=body).json()["job_id"] for _ in range(20)]
        assert {run["status"] for run in until_all_ended(client, jobs)} == {"completed"}
    assert system.stop() == 0
    assert "old claim" not in system.log() and "retrying" not in system.log()


def make(*words: str, data_dir: Path) -> "subprocess.CompletedProcess[str]":
    settings = {**environment(data_dir), "LLM_SIM_SECONDS": "0.5"}
    return subprocess.run(["make", *words], cwd=ROOT, env=settings, capture_output=True, text=True, timeout=120)


def test_make_demo_translates_the_text_as_it_was_typed(data_dir: Path) -> None:
    text = 'It\'s 5 $HOME "quoted" {name} -- hello'
    done = make("demo", f"TEXT={text}", data_dir=data_dir)
    lines = done.stdout.splitlines()
    assert done.returncode == 0, done.stderr
    assert lines[0].startswith("ready on http://127.0.0.1:")
    assert any('Ít\'s 5 $HOME "qúótéd" {name} -- Hallo' in line for line in lines)
    assert lines[-1].startswith("completed ") and len(lines[-1].split()[1]) == 36


def test_make_demo_fails_when_the_run_does(data_dir: Path) -> None:
    done = make("demo", "TEXT=[[fail]]", data_dir=data_dir)
    assert done.returncode != 0 and done.stdout.splitlines()[-1].startswith("failed ")
    done = make("demo", "TEXT=" + "x" * 1501, data_dir=data_dir)
    assert done.returncode != 0 and "longer than 1500 characters" in done.stdout


def test_make_token_prints_a_token_and_nothing_else(data_dir: Path) -> None:
    done = make("token", "USER=alice", data_dir=data_dir)
    assert done.returncode == 0 and len(done.stdout.split()) == 1 and done.stdout.count(".") == 2


def test_make_help_lists_every_command(data_dir: Path) -> None:
    listed = make("help", data_dir=data_dir).stdout
    for name in ("run", "demo", "test", "check", "token", "bench", "emulators", "deploy"):
        assert f"make {name} " in listed


@pytest.mark.parametrize("method", ["POST", "GET"])
def test_a_waiting_request_is_answered_with_the_current_run_when_the_server_closes(data_dir: Path, method: str) -> None:
    system = System(data_dir)
    headers = {"Prefer": "wait=30"}
    with system.client() as client, ThreadPoolExecutor() as pool:
        if method == "POST":
            waiting = pool.submit(client.post, "/llm_user_runs", json={"input_text": "[[slow 20]]"}, headers=headers)
        else:
            run_id = client.post("/llm_user_runs", json={"input_text": "[[slow 20]]"}).json()["run_uuid"]
            waiting = pool.submit(client.get, f"/llm_user_runs/{run_id}", headers=headers)
        until(lambda: system.simulator_jobs())
        assert system.stop() == 0
        answer = waiting.result()
    assert answer.status_code == 200 and answer.json()["run_uuid"] and answer.headers["retry-after"]
