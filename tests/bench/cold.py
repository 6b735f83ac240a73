"""Measures cold starts of each function: from the start of its process to its first answer, on Google's emulators.

python -m tests.bench cold     (STARTS from the environment)

Each function starts in an environment of requirements.txt alone, as in the cloud: Google's libraries import more where
development packages are installed. A function that says hello, and has imported the clients of all services of Google,
shows what the platform's own libraries take.
"""

import os
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from statistics import median
from typing import Any

import httpx

from infra.local.emulators.google import missing_software
from infra.local.emulators.ports import reserved_port
from infra.local.routing import FUNCTIONS
from tests.bench.figures import machine, spread
from tests.bench.google import emulated
from tests.bench.process_tree import cpu_seconds
from tests.e2e.faulty import FaultySystem
from tests.e2e.system import ROOT, until

STARTS = int(os.environ.get("STARTS", "15"))
POLL_SECONDS, LATEST_SECONDS = 0.005, 60.0
HELLO = """
import functions_framework.aio
import google.cloud.firestore, google.cloud.tasks_v2, google.pubsub_v1

@functions_framework.aio.http
async def hello(request):
    return "hello"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What is started, and the request that it answers first."""

    target: str
    source: Path = ROOT / "main.py"
    method: str = "POST"
    path: str = "/"
    body: Callable[[], dict[str, Any]] = dict
    name: str = ""
    """What the table calls it, when that is not the target."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """Seconds from exec to the first answer, and the processor's seconds for it."""

    seconds: float
    processor: float


def main() -> None:
    problem = missing_software()
    if problem is not None:
        print(f"\ncold starts are not measured: {problem}")
        return
    framework = deployed_environment() / "bin" / "functions-framework"
    with emulated() as (system, folder):
        starts = all_starts(system, folder)
        for name, function in system.functions.items():
            if name != "submit_run":
                function.kill()  # it would take part of the processor, and the runs
        print(f"\n{STARTS} cold starts in turn, on {machine()}; from exec to the first answer")
        taken: dict[str, list[Taken]] = {start.name or start.target: [] for start in starts}
        for start in starts:
            first_answer(system, framework, start)  # compiles and reads files that the other starts find in memory
        for _ in range(STARTS):
            for start in starts:
                taken[start.name or start.target].append(first_answer(system, framework, start))
    show(taken)


def show(taken: dict[str, list[Taken]]) -> None:
    print(f"{'median (least–greatest)':<36}{'seconds':>24}{'of hello':>10}{'CPU seconds':>24}{'of hello':>10}")
    hello = next(iter(taken.values()))
    for name, starts in taken.items():
        seconds, processor = [one.seconds for one in starts], [one.processor for one in starts]
        of_hello = median(seconds) / median(one.seconds for one in hello)
        cpu_of_hello = median(processor) / median(one.processor for one in hello)
        shown = f"{spread(seconds, '.3f'):>24}{of_hello:>10.0%}{spread(processor, '.2f'):>24}{cpu_of_hello:>10.0%}"
        print(f"{name:<36}{shown}", flush=True)


def deployed_environment() -> Path:
    """Returns a virtual environment of requirements.txt and nothing else, which is made once."""
    requirements = ROOT / "requirements.txt"
    folder = ROOT / ".data" / f"deployed-{sha256(requirements.read_bytes()).hexdigest()[:12]}"
    is_complete = folder / "complete"
    if not is_complete.exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        pip: list[str | Path] = [folder / "bin" / "pip", "install", "--quiet", "--require-hashes", "-r", requirements]
        subprocess.run(pip, check=True)
        is_complete.touch()
    return folder


def all_starts(system: FaultySystem, folder: Path) -> list[Start]:
    """Returns the starts. Workers get messages about a run that has ended, and process_run gets new runs too."""
    hello = folder / "hello.py"
    hello.write_text(HELLO)
    run_id = ended_run(system)
    recheck = {"run_id": run_id, "attempt": 1, "sequence": "0", "checks": 1}
    requests: dict[str, dict[str, Any]] = {
        "bury_run": {"body": lambda: push(run_id)},
        "deliver_webhook": {"body": lambda: {"delivery_id": "none", "turn": 1}},
        "process_run": {"body": lambda: push(run_id)},
        "read_runs": {"method": "GET", "path": "/api/llm/jobs/"},
        "recheck_run": {"body": lambda: recheck},
        "submit_run": {"path": "/llm_user_runs", "body": lambda: {"input_text": "hello"}},
        "sweep_runs": {},
    }
    return [
        Start(target="hello", source=hello, name="hello world with all clients"),
        *(Start(target=name, **requests[name]) for name in FUNCTIONS),
        Start(target="process_run", body=lambda: push(new_run(system)), name="process_run that calls the LLM"),
    ]


def push(run_id: str) -> dict[str, Any]:
    message = {"messageId": "1", "data": b64encode(f'{{"run_id": "{run_id}"}}'.encode()).decode()}
    return {"message": message, "subscription": "subscription"}


def new_run(system: FaultySystem) -> str:
    with system.client("submit_run") as client:
        run_id: str = client.post("/llm_user_runs", json={"input_text": "hello"}).json()["run_uuid"]
    return run_id


def ended_run(system: FaultySystem) -> str:
    run_id = new_run(system)
    with system.client("read_runs") as reader:
        until(lambda: reader.get(f"/llm_user_runs/{run_id}").json()["status"] == "completed", seconds=60)
    return run_id


def first_answer(system: FaultySystem, framework: Path, start: Start) -> Taken:
    """Starts the function, and returns what it has taken until it has answered."""
    given = [f"{name}={value}" for name, value in system.settings.as_environment().items()]
    body = start.body()
    with system.client("submit_run") as client, reserved_port() as port:
        options = ["--target", start.target, "--source", str(start.source), "--port", str(port)]
        began = time.perf_counter()
        process = subprocess.Popen(
            ["env", *given, framework, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            while not answers(client, f"http://127.0.0.1:{port}", start, body):
                assert process.poll() is None and time.perf_counter() - began < LATEST_SECONDS, (
                    f"{start.target} did not start"
                )
                time.sleep(POLL_SECONDS)
            return Taken(seconds=time.perf_counter() - began, processor=cpu_seconds([process.pid]))
        finally:
            process.terminate()
            process.wait()


def answers(client: httpx.Client, url: str, start: Start, body: dict[str, Any]) -> bool:
    """Returns False while nothing listens. Raises AssertionError when the function answers with an error."""
    try:
        answer = client.request(start.method, url + start.path, json=None if start.method == "GET" else body)
    except httpx.TransportError:
        return False
    assert answer.is_success, (start.target, answer.status_code, answer.text)
    return True
