"""Measures cold starts of each function: from the start of its process to its first answer, on Google's emulators.

python -m tests.bench cold     (STARTS from the environment)

A function that says hello, and has imported the same clients of Google, shows what the platform's own libraries take.
"""

import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import httpx

from infra.local.emulators.google import missing_software
from infra.local.emulators.ports import reserved_port
from infra.local.routing import FUNCTIONS
from tests.bench.figures import machine, spread
from tests.bench.google import emulated
from tests.e2e.faulty import FaultySystem
from tests.e2e.system import ROOT

STARTS = int(os.environ.get("STARTS", "15"))
POLL_SECONDS, LATEST_SECONDS = 0.005, 60.0
HELLO = """
import functions_framework.aio
import google.cloud.firestore, google.cloud.tasks_v2, google.pubsub_v1

@functions_framework.aio.http
async def hello(request):
    return "hello"
"""


def main() -> None:
    problem = missing_software()
    if problem is not None:
        print(f"\ncold starts are not measured: {problem}")
        return
    with emulated() as (system, folder):
        source = folder / "hello.py"
        source.write_text(HELLO)
        targets = {"hello": source, **dict.fromkeys(FUNCTIONS, ROOT / "main.py")}
        print(f"\n{STARTS} cold starts in turn, on {machine()}; seconds from exec to the first answer")
        taken: dict[str, list[float]] = {target: [] for target in targets}
        for target, file in targets.items():
            first_answer(system, target, file)  # compiles and reads files that the other starts then find in memory
        for _ in range(STARTS):
            for target, file in targets.items():
                taken[target].append(first_answer(system, target, file))
    print(f"{'median (least–greatest)':<36}{'seconds':>24}{'of hello':>12}")
    hello = taken["hello"]
    for target, seconds in taken.items():
        name = "hello world with the same clients" if target == "hello" else target
        print(f"{name:<36}{spread(seconds, '.3f'):>24}{median(seconds) / median(hello):>12.0%}", flush=True)


def first_answer(system: FaultySystem, target: str, source: Path) -> float:
    """Starts the function, and returns the seconds until it has answered.

    submit_run accepts a run and read_runs lists jobs; the others get an empty message, task or request.
    """
    framework = str(Path(sys.executable).with_name("functions-framework"))
    given = [f"{name}={value}" for name, value in system.settings.as_environment().items()]
    with system.client("submit_run") as client, reserved_port() as port:
        command = ["env", *given, framework, "--target", target, "--source", str(source), "--port", str(port)]
        began = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            while not answers(client, f"http://127.0.0.1:{port}", target):
                assert process.poll() is None and time.perf_counter() - began < LATEST_SECONDS, (
                    f"{target} did not start"
                )
                time.sleep(POLL_SECONDS)
            return time.perf_counter() - began
        finally:
            process.terminate()
            process.wait()


def answers(client: httpx.Client, url: str, target: str) -> bool:
    """Returns False while nothing listens. Raises AssertionError when the function answers with an error."""
    try:
        if target == "submit_run":
            answer = client.post(f"{url}/llm_user_runs", json={"input_text": "hello"})
        elif target == "read_runs":
            answer = client.get(f"{url}/api/llm/jobs/")
        else:
            answer = client.post(url, json={})
    except httpx.TransportError:
        return False
    is_expected = answer.status_code == 200 if target in ("submit_run", "read_runs") else answer.status_code < 500
    assert is_expected, (target, answer.status_code, answer.text)
    return True
