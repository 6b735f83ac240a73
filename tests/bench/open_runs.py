"""Measures what open runs cost while their LLM works: `make bench ONLY=open` (SIZES=1000,10000, SECONDS=60).

So many runs are submitted to an LLM that finishes none of them. Then nothing happens for a minute but the re-checks of
their plan, which are frequent soon after a run was sent. A check that learns nothing takes a task, asks the LLM, and
schedules the next check; what the question to the LLM costs alone is measured beside it, by the same HTTP client.
"""

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from itertools import repeat
from pathlib import Path
from typing import Any

import httpx
from aiohttp import ClientSession

from infra.local.emulators.processes import ChildProcesses, wait_until_listening
from shared.adapters.llm.http import LlmHttp
from tests.bench.figures import machine
from tests.bench.load import each, submit
from tests.bench.process_tree import cpu_seconds, mebibytes
from tests.bench.systems import LlmRuns, Running

SIZES = [int(size) for size in os.environ.get("SIZES", "1000,10000").split(",")]
SECONDS = float(os.environ.get("SECONDS", "60"))
NEVER = {"LLM_SECONDS": "36000"}
CALLS = 3000


def main() -> None:
    print(f"\nopen runs and their re-checks for {SECONDS:.0f} seconds; {machine()}")
    print(
        "| open runs | submits/s | cores | checks/s | a check, CPU ms | the LLM call alone | the rest | memory, MiB |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for size in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            print(row(size, Path(folder)), flush=True)


def row(size: int, folder: Path) -> str:
    with ChildProcesses(folder) as processes:
        host = processes.reserve_host()
        command = (sys.executable, "-m", "tests.bench.llm", host.rpartition(":")[2])
        wait_until_listening(processes.start("llm", *command, host=host, settings=NEVER))
        with LlmRuns().running(folder, f"http://{host}") as system:
            rate = asyncio.run(submits_a_second(system, size))
            while stats(host)["posts"] < size:
                time.sleep(0.1)
            checks, spent = stats(host)["gets"], cpu_seconds(system.roots)
            time.sleep(SECONDS)
            checks, spent = stats(host)["gets"] - checks, cpu_seconds(system.roots) - spent
            memory = mebibytes(system.roots)
        call = asyncio.run(milliseconds_of_a_call(f"http://{host}"))
    check = spent / checks * 1e3
    rest = f"{check:.2f} | {call:.2f} | {check - call:.2f}"
    return f"| {size:,} | {rate:.0f} | {spent / SECONDS:.2f} | {checks / SECONDS:.0f} | {rest} | {memory:.0f} |"


async def submits_a_second(system: Running, runs: int) -> float:
    async with ClientSession() as session:
        began = time.perf_counter()
        await submit(system, session, runs)
        return runs / (time.perf_counter() - began)


def stats(host: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = httpx.get(f"http://{host}/stats", trust_env=False).json()
    return found


async def milliseconds_of_a_call(llm_url: str) -> float:
    """Returns the CPU time that one question about a job takes in a process that does nothing else."""
    http = LlmHttp(threads=32, name="bench")
    body = {"run_uuid": "bench"}
    job = await http.call("POST", f"{llm_url}/jobs", seconds=10, headers={"Idempotency-Key": "bench"}, body=body)

    async def ask(_: None) -> None:
        await http.call("GET", f"{llm_url}/jobs/{job.body['job_id']}", seconds=10)

    await each(repeat(None, CALLS // 10), ask)
    spent = time.process_time()
    await each(repeat(None, CALLS), ask)
    return (time.process_time() - spent) / CALLS * 1e3


if __name__ == "__main__":
    main()
