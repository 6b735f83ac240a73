"""Runs the system for a while with trouble now and then, and compares its memory, threads and files before and after.

python -m tests.bench.soak [SECONDS]        20 minutes by default; kills the system every two minutes
"""

import json
import random
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.bench.bench import memory, show
from tests.e2e.system import System, until_all_ended

TEXTS = ("hello",) * 16 + ("[[rate-limit]]", "[[fail]]", "[[garbage]]", "[[refuse]]")
ROUND = 60
"""Runs of one round; every run ends in its round."""
CONNECTIONS = 8
KILL_EVERY_SECONDS = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    mebibytes: float
    threads: int
    files: int


def usage(system: System) -> Usage:
    """Returns what the process has now."""
    process = Path(f"/proc/{system.process.pid}")
    return Usage(
        mebibytes=memory(system),
        threads=len(list((process / "task").iterdir())),
        files=len(list((process / "fd").iterdir())),
    )


def one_round(system: System, dice: random.Random) -> Counter[str]:
    """Submits runs, follows some of their streams to the end, and returns how all ended."""
    texts = [dice.choice(TEXTS) for _ in range(ROUND)]
    with system.client() as client, ThreadPoolExecutor(CONNECTIONS) as pool:
        run_ids = list(pool.map(lambda text: submitted(client, text), texts))
        list(pool.map(lambda run_id: followed(client, run_id), run_ids[::4]))
        return Counter(run["status"] for run in until_all_ended(client, run_ids, seconds=120))


def submitted(client: httpx.Client, text: str) -> str:
    return str(client.post("/llm_user_runs", json={"input_text": text}).json()["run_uuid"])


def followed(client: httpx.Client, run_id: str) -> None:
    with client.stream("GET", f"/llm_user_runs/{run_id}/stream") as answer:
        assert any(line.startswith("event: run.") for line in answer.iter_lines())


def soak(system: System, seconds: float, *, kill_every: float = float("inf")) -> tuple[Usage, Usage, Counter[str]]:
    """Returns what the process had after two rounds and at the end, and how all runs ended.

    A killed process is compared with the one before it after the same number of rounds.
    """
    dice, statuses, began = random.Random(40), Counter[str](), time.monotonic()
    killed_at = began
    for _ in range(2):
        statuses += one_round(system, dice)
    first = usage(system)
    while time.monotonic() - began < seconds:
        if time.monotonic() - killed_at > kill_every:
            system.kill()
            system.start()
            killed_at = time.monotonic()
        statuses += one_round(system, dice)
    return first, usage(system), statuses


def main(seconds: int = 1200) -> None:
    with tempfile.TemporaryDirectory() as folder:
        system = System(Path(folder) / "data", LLM_SIM_SECONDS="0.5")
        first, last, statuses = soak(system, seconds, kill_every=KILL_EVERY_SECONDS)
        logged = (json.loads(line) for line in system.log().splitlines())
        show("errors in the log", str(sum(line["severity"] == "ERROR" for line in logged)))
        system.stop()
    show(f"runs in {seconds} s", ", ".join(f"{count} {status}" for status, count in sorted(statuses.items())))
    show("memory, threads, files after two rounds", f"{first.mebibytes:.0f} MiB, {first.threads}, {first.files}")
    show("memory, threads, files at the end", f"{last.mebibytes:.0f} MiB, {last.threads}, {last.files}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
