"""Measures the system on Google's emulators: reads and writes of a run, and what a million would cost."""

import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from infra.local.emulators.google import missing_software, start_firestore
from infra.local.emulators.ports import reserved_port
from infra.local.emulators.processes import wait_until_listening
from tests.e2e.faulty import FaultySystem
from tests.e2e.system import until

SLOW_SECONDS, LISTENED_SECONDS = 20, 5
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
        show_listen_traffic(system)


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
    show_bytes(system, run_id)


def show_bytes(system: FaultySystem, run_id: str) -> None:
    """Shows bytes of gRPC messages between the functions and Firestore."""
    proxy, path = system.firestore, f"/llm_user_runs/{run_id}"
    with system.client("read_runs") as client:
        client.get(path)  # reads profile and organization, which are then cached
        before = proxy.received["BatchGetDocuments"]
        client.get(path)
        size = proxy.received["BatchGetDocuments"] - before
    saves = proxy.saves[f"llm_runs/{run_id}"]
    show("  bytes of its document at the end", f"{size:,}")
    for number, save in enumerate(saves, start=1):
        show(f"  save {number}: fields, bytes", f"{len(save.fields)}, {save.size:,}")
    show(
        "  all saves together, against whole documents", f"{sum(save.size for save in saves) / (size * len(saves)):.0%}"
    )


def show_listen_traffic(system: FaultySystem) -> None:
    """Follows one run of LISTENED_SECONDS by a stream from its beginning to its end."""
    proxy = system.firestore
    before, calls = proxy.received["Listen"], Counter(proxy.calls)
    with system.client("submit_run") as submitter, system.client("read_runs") as reader:
        answer = submitter.post("/llm_user_runs", json={"input_text": f"[[slow {LISTENED_SECONDS}]]"})
        url = f"/llm_user_runs/{answer.json()['run_uuid']}/stream"
        with reader.stream("GET", url, headers={"Accept": "text/event-stream"}) as stream:
            events = sum(line.startswith("event: run.") for line in stream.iter_lines())
    show(f"bytes that its listener gets for {events} updates", f"{proxy.received['Listen'] - before:,}")
    made = proxy.calls - calls
    show("  calls of Firestore meanwhile", ", ".join(f"{name} {number}" for name, number in sorted(made.items())))


def show(name: str, value: str) -> None:
    print(f"{name:<68} {value}", flush=True)
