"""Measures /health while bodies of 6 MiB are refused, again and again: python -m tests.bench.health [BODIES]"""

import json
import sys
import tempfile
import time
from multiprocessing import Process
from pathlib import Path

import httpx

from tests.bench.bench import percentile, show
from tests.e2e.system import System

BODY_BYTES = 6 * 1024 * 1024


def main(bodies: int = 50) -> None:
    with tempfile.TemporaryDirectory() as folder:
        system = System(Path(folder) / "data")
        with httpx.Client(base_url=system.url, trust_env=False) as client:
            alone = delays(client, until_ended=None)
            sender = Process(target=send, args=(system.url, system.token(), bodies))
            sender.start()
            beside = delays(client, until_ended=sender)
        assert sender.exitcode == 0
        system.stop()
    for name, seconds in (("alone", alone), (f"beside {bodies} bodies of 6 MiB", beside)):
        shown = " / ".join(f"{value * 1e3:.1f}" for value in (percentile(seconds, 0.5), percentile(seconds, 0.99)))
        show(f"/health {name}: p50 / p99 / max of {len(seconds)}", f"{shown} / {max(seconds) * 1e3:.1f} ms")


def delays(client: httpx.Client, *, until_ended: Process | None) -> list[float]:
    """Returns the seconds that each request took: 200 of them, or as many as there are until the process has ended."""
    found: list[float] = []
    while until_ended.is_alive() if until_ended else len(found) < 200:
        began = time.perf_counter()
        assert client.get("/health").status_code == 200
        found.append(time.perf_counter() - began)
        time.sleep(0.002)
    return found


def send(url: str, token: str, bodies: int) -> None:
    """Sends jobs whose input is too large, one after the other."""
    job = {"job_type": "general_llm_request", "model_id": "demo-model", "input_data": {"full_input": ""}}
    job["input_data"] = {"full_input": "x" * (BODY_BYTES - len(json.dumps(job)))}
    content = json.dumps(job).encode()
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    with httpx.Client(base_url=url, headers=headers, trust_env=False, timeout=30) as client:
        for _ in range(bodies):
            assert client.post("/api/llm/jobs/submit/", content=content).status_code == 413


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
