"""Measures the system on Google's emulators: reads and writes of a run, and what a million would cost."""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from infra.local.emulators.google import missing_software, start_firestore
from infra.local.emulators.ports import reserved_port
from infra.local.emulators.processes import wait_until_listening
from tests.e2e.faulty import FaultySystem
from tests.e2e.system import until

SLOW_SECONDS = 20
CPU_SECONDS_A_REQUEST = 0.05
GIBIBYTES = 0.5
WRITE, READ, DELETE = 0.09 / 1e5, 0.03 / 1e5, 0.01 / 1e5
TASK, REQUEST = 0.40 / 1e6, 0.40 / 1e6
MESSAGE = 40 / 2**40 * 1000 * 2
CPU_SECOND, GIBIBYTE_SECOND = 0.000024, 0.0000025
"""List prices in USD of the US region; a message counts 1,000 bytes, published and delivered."""


def main() -> None:
    problem = missing_software()
    if problem is not None:
        print(f"\nnot measured on Google's emulators: {problem}")
        return
    with emulated() as (system, _):
        print("\non Google's emulators")
        show_documents(system)


@contextmanager
def emulated() -> Iterator[tuple[FaultySystem, Path]]:
    """Yields the system on the emulators, and its folder, which is removed afterwards."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        host = f"127.0.0.1:{stack.enter_context(reserved_port())}"
        firestore = start_firestore(folder, host=host)
        stack.callback(firestore.kill)
        wait_until_listening(firestore)
        yield FaultySystem(stack, folder / "data", firestore.host), folder


def show_documents(system: FaultySystem) -> None:
    with system.client("submit_run") as client:
        answer = client.post("/llm_user_runs", json={"input_text": f"[[slow {SLOW_SECONDS}]]"})
        run_id = answer.json()["run_uuid"]
    document = f"llm_runs/{run_id}"
    until(lambda: system.firestore.writes[document] == 4, seconds=60)
    reads, writes = system.firestore.reads[document], system.firestore.writes[document]
    with system.client("read_runs") as client:
        checks = client.get(f"/llm_user_runs/{run_id}").json()["metrics"]["checks"]
    show(f"Firestore writes, reads of a run of {SLOW_SECONDS} s with {checks} re-checks", f"{writes}, {reads}")
    permits = sum(name.startswith("permits/") for name in system.firestore.writes)
    show("  besides, for its two limits: writes, deletes", f"{permits}, {permits}")
    requests = 2 + checks
    functions = requests * (REQUEST + CPU_SECONDS_A_REQUEST * (CPU_SECOND + GIBIBYTES * GIBIBYTE_SECOND))
    cost = (writes + permits) * WRITE + permits * DELETE + reads * READ + checks * TASK + MESSAGE + functions
    show(f"a million of them, at {CPU_SECONDS_A_REQUEST * 1e3:.0f} ms of CPU a request", f"${cost * 1e6:.0f}")


def show(name: str, value: str) -> None:
    print(f"{name:<68} {value}", flush=True)
