"""SIGTERM ends everything within ten seconds, also in the background of a shell script, where SIGINT is ignored."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from shared.settings import REGIONS
from tests.e2e.system import ROOT, System, environment, until
from tests.google import need_emulators
from tests.redis_server import silent_port

MAX_SECONDS = 10.0


@contextmanager
def in_the_background(data_dir: Path, target: str, *options: str, **settings: str) -> Iterator["subprocess.Popen[str]"]:
    """`make TARGET &` of a shell script; whatever is left of it at the end is killed."""
    command = ["sh", "-c", 'trap "" INT; exec "$@"', "sh", "make", target, *options]
    given = environment(data_dir, **settings)
    process = subprocess.Popen(command, cwd=ROOT, env=given, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        for pid in family(process.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.communicate()


def family(pid: int) -> dict[int, str]:
    """{process id: command line} of the process and of all that descend from it."""
    listed = subprocess.check_output(["ps", "-A", "-o", "pid=,ppid=,stat=,args="], text=True).splitlines()
    rows = [(int(row[0]), int(row[1]), row[3]) for line in listed if (row := line.split(None, 3))[2][0] != "Z"]
    found = {process: words for process, _, words in rows if process == pid}
    while more := {process: words for process, parent, words in rows if parent in found and process not in found}:
        found |= more
    return found


def is_running(pid: int) -> bool:
    return pid in family(pid)


def read_until(process: "subprocess.Popen[str]", words: str) -> None:
    assert process.stdout is not None
    while words not in (line := process.stdout.readline()):
        assert line, process.communicate()[1]


def with_the_environment_of(data_dir: Path) -> list[str]:
    """Lines of `ps`, each a process that inherited the folder, whoever its parent is now."""
    listed = subprocess.check_output(["ps", "axeww", "-o", "stat=,args="], text=True).splitlines()
    return [line for line in listed if f"DATA_DIR={data_dir}" in line and not line.startswith("Z")]


def terminate(process: "subprocess.Popen[str]", data_dir: Path) -> None:
    """Sends SIGTERM to `make` alone, as a supervisor does, and waits for the end of all that it started."""
    started = family(process.pid)
    assert len(started) > 1
    process.send_signal(signal.SIGTERM)
    try:
        until(lambda: process.poll() is not None and not any(map(is_running, started)), seconds=MAX_SECONDS)
        assert not with_the_environment_of(data_dir)
    finally:
        for pid in filter(is_running, [*started, *family(process.pid)]):
            os.kill(pid, signal.SIGKILL)


def test_sigterm_ends_make_run_while_its_sample_goes_on_for_ever(data_dir: Path) -> None:
    with in_the_background(data_dir, "run", "TEXT=[[never]]") as process:
        read_until(process, "run.started")
        terminate(process, data_dir)


def test_sigterm_ends_make_demo_and_does_not_look_like_success(data_dir: Path) -> None:
    with in_the_background(data_dir, "demo", "TEXT=[[never]]") as process:
        read_until(process, "run.started")
        terminate(process, data_dir)
        assert process.returncode != 0
        assert "Traceback" not in process.communicate()[1]


def test_sigterm_ends_make_emulators_while_its_sample_waits_for_a_killed_function(data_dir: Path) -> None:
    need_emulators()
    with in_the_background(data_dir, "emulators", "TEXT=[[never]]") as process:
        read_until(process, "run.queued")
        for pid, words in family(process.pid).items():
            if "--target process_run" in words:
                os.kill(pid, signal.SIGKILL)
        terminate(process, data_dir)


@pytest.mark.parametrize("log", ["firestore-emulator.log", "submit_run.log"])
def test_sigterm_ends_make_emulators_while_it_starts(data_dir: Path, log: str) -> None:
    need_emulators()
    with in_the_background(data_dir, "emulators") as process:
        until((data_dir / "emulators" / log).exists)
        terminate(process, data_dir)


def test_an_llm_that_never_answers_does_not_delay_the_end(data_dir: Path) -> None:
    job = {"job_type": "general_llm_request", "model_id": "demo-chat-model", "input_data": {"full_input": "hello"}}
    with closing(silent_port()) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        system = System(data_dir, LLM_DEPLOYMENTS=json.dumps(dict.fromkeys(REGIONS, address)))
        with system.client() as client:
            client.post("/api/llm/jobs/submit/", json=job)
        call, _ = silent.accept()
        began = time.monotonic()
        assert system.stop() == 0
        call.close()
        assert time.monotonic() - began < MAX_SECONDS
