"""Measures /health while bodies of 6 MiB are refused, again and again: python -m tests.bench.health [BODIES]"""

import json
import sys
import tempfile
import time
from multiprocessing import Process
from pathlib import Path
from typing import Any

import httpx

from tests.bench.bench import percentile, show
from tests.e2e.system import System

BODY_BYTES = 6 * 1024 * 1024
MANY = 245_000


def main(bodies: int = 50) -> None:
    with tempfile.TemporaryDirectory() as folder:
        system = System(Path(folder) / "data")
        with httpx.Client(base_url=system.url, trust_env=False) as client:
            show_delays("alone", delays(client, until_ended=None))
            for name, content in (("one text", one_text()), ("many values", many_values())):
                sender = Process(target=send, args=(system.url, system.token(), content, bodies))
                sender.start()
                show_delays(f"beside {bodies} bodies of {name}", delays(client, until_ended=sender))
                assert sender.exitcode == 0
        system.stop()


def show_delays(name: str, seconds: list[float]) -> None:
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


def send(url: str, token: str, content: bytes, bodies: int) -> None:
    """Sends jobs whose input is too large, one after the other."""
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    with httpx.Client(base_url=url, headers=headers, trust_env=False, timeout=30) as client:
        for _ in range(bodies):
            assert client.post("/api/llm/jobs/submit/", content=content).status_code == 413


def one_text() -> bytes:
    return job({"full_input": "x" * (BODY_BYTES - 200)})


def many_values() -> bytes:
    """Returns a body with nearly as many values as are read."""
    return job({"full_input": "x", "values": ["x" * 20] * MANY})


def job(input_data: dict[str, Any]) -> bytes:
    return json.dumps({"job_type": "general_llm_request", "model_id": "demo-model", "input_data": input_data}).encode()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
