"""Compares this system with others that do the same job: the same load, LLM and machine, in turn, three rounds.

python -m tests.bench peers        (RUNS, CONNECTIONS, ROUNDS, LLM_SECONDS, POLL_SECONDS from the environment)
"""

import os
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import uvloop

from infra.local.emulators.processes import ChildProcesses, wait_until_listening
from tests.bench.figures import machine, spread
from tests.bench.load import CONNECTIONS, RUNS, Load, measure
from tests.bench.systems import CeleryPeer, LlmRuns, RestatePeer

ROUNDS = int(os.environ.get("ROUNDS", "3"))
SYSTEMS = (LlmRuns(), CeleryPeer(), RestatePeer())
Value = Callable[[Load], float]
ROWS: tuple[tuple[str, str, Value], ...] = (
    ("submits/s", ",.0f", lambda load: load.submits_per_second),
    ("submit p50, ms", ",.1f", lambda load: load.submit_p50 * 1e3),
    ("submit p99, ms", ",.1f", lambda load: load.submit_p99 * 1e3),
    ("CPU per run, ms", ",.2f", lambda load: load.cpu_seconds_per_run * 1e3),
    ("memory, MiB", ",.0f", lambda load: load.mebibytes),
    ("LLM requests per run", ",.2f", lambda load: load.calls_per_run),
    ("jobs submitted twice", ",.0f", lambda load: load.duplicates),
    ("lag p50, s", ",.3f", lambda load: load.lag_p50),
    ("lag p99, s", ",.3f", lambda load: load.lag_p99),
    ("incomplete runs", ",.0f", lambda load: load.incomplete),
)


def main() -> None:
    loads: dict[str, list[Load]] = {}
    for system in SYSTEMS:
        problem = system.problem()
        if problem is None:
            loads[system.name] = []
        else:
            print(f"{system.name} is not measured: {problem}", flush=True)
    print(f"\n{ROUNDS} rounds of {RUNS:,} runs over {CONNECTIONS} connections, on {machine()}")
    for _ in range(ROUNDS):
        for system in SYSTEMS:
            if system.name in loads:
                loads[system.name].append(one_round(system))
    show_table(loads)


def one_round(system: LlmRuns | CeleryPeer | RestatePeer) -> Load:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        processes = stack.enter_context(ChildProcesses(folder))
        host = processes.reserve_host()
        command = (sys.executable, "-m", "tests.bench.llm", host.rpartition(":")[2])
        wait_until_listening(processes.start("llm", *command, host=host))
        running = stack.enter_context(system.running(folder, f"http://{host}"))
        return uvloop.run(measure(running, f"http://{host}"))


def show_table(loads: dict[str, list[Load]]) -> None:
    """Prints a column for each system and a row for each figure, as median and range."""
    print(f"{'median (least–greatest)':<24}" + "".join(f"{name:>28}" for name in loads))
    for name, form, value in ROWS:
        print(
            f"{name:<24}"
            + "".join(f"{spread([value(load) for load in rounds], form):>28}" for rounds in loads.values())
        )
    print(flush=True)
