"""Measures the embedded system under load and prints a table: `make bench` (RUNS, CONNECTIONS from the environment).

The load runs on the same machine and wants a core of its own; compare figures taken in one sitting only.
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp

from infra.local.emulators.ports import reserved_port
from tests.bench import google, recheck_hints, rechecks
from tests.e2e.system import System

RUNS = int(os.environ.get("RUNS", "1000"))
CONNECTIONS = int(os.environ.get("CONNECTIONS", "32"))
BODY = {"input_text": "hello world " * 20}


def main() -> None:
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        llm_port = stack.enter_context(reserved_port())
        llm = subprocess.Popen([sys.executable, "-m", "tests.bench.llm", str(llm_port)])
        stack.callback(llm.wait)
        stack.callback(llm.terminate)
        llm_url = f"http://127.0.0.1:{llm_port}"
        deployments = json.dumps(dict.fromkeys(("europe", "tokyo", "default"), llm_url))
        began = time.perf_counter()
        system = System(Path(folder) / "data", LLM_DEPLOYMENTS=deployments)
        show("start to ready", f"{time.perf_counter() - began:.2f} s")
        stack.callback(system.stop)
        show("import of main", f"{import_seconds():.3f} s")
        show("memory before", f"{memory(system):.0f} MiB")
        asyncio.run(load(system, llm_url))
        show("memory after", f"{memory(system):.0f} MiB")


async def load(system: System, llm_url: str) -> None:
    latencies: list[float] = []
    run_ids: list[str] = []
    work = iter(range(RUNS))
    spent = cpu_seconds(system)
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {system.token()}"}) as session:

        async def submitter() -> None:
            for _ in work:
                began = time.perf_counter()
                async with session.post(f"{system.url}/llm_user_runs", json=BODY) as answer:
                    body = await answer.json()
                    assert answer.status == 200, body
                latencies.append(time.perf_counter() - began)
                run_ids.append(body["run_uuid"])

        began = time.perf_counter()
        await asyncio.gather(*[submitter() for _ in range(CONNECTIONS)])
        submitted = time.perf_counter() - began
        runs = [await completed(session, f"{system.url}/llm_user_runs/{run_id}") for run_id in run_ids]
        spent = cpu_seconds(system) - spent
        async with session.get(f"{llm_url}/stats") as answer:
            llm = await answer.json()
    show(f"submits per second ({CONNECTIONS} connections)", f"{RUNS / submitted:.0f}")
    show(
        "submit latency p50 / p99",
        f"{percentile(latencies, 0.5) * 1e3:.1f} / {percentile(latencies, 0.99) * 1e3:.1f} ms",
    )
    show("CPU per run", f"{spent / RUNS * 1e3:.2f} ms")
    show("LLM calls per run, duplicates", f"{(llm['posts'] + llm['gets']) / RUNS:.2f}, {llm['duplicates']}")
    ends = sorted(llm["finish_times"].values())
    done = sorted(datetime.fromisoformat(run["completed_at"]).timestamp() for run in runs)
    lags = [after - before for before, after in zip(ends, done, strict=True)]
    show(
        "lag from the LLM's finish to completed p50 / p99",
        f"{percentile(lags, 0.5):.2f} / {percentile(lags, 0.99):.2f} s",
    )


async def completed(session: aiohttp.ClientSession, url: str) -> Any:
    while True:
        async with session.get(url) as answer:
            run = await answer.json()
        if run["is_complete"]:
            assert run["status"] == "completed", run
            return run
        await asyncio.sleep(0.25)


def show(name: str, value: str) -> None:
    print(f"{name:<52} {value}", flush=True)


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def import_seconds() -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import main"], check=True)
    return time.perf_counter() - began


def cpu_seconds(system: System) -> float:
    fields = Path(f"/proc/{system.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(system: System) -> float:
    status = Path(f"/proc/{system.process.pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    rechecks.main()
    recheck_hints.main()
    main()
    google.main()
