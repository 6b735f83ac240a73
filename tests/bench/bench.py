"""Prints figures, and reads what one process of this machine has used."""

import os
from pathlib import Path

from tests.e2e.system import System


def show(name: str, value: str) -> None:
    print(f"{name:<52} {value}", flush=True)


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def cpu_seconds(system: System) -> float:
    fields = Path(f"/proc/{system.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(system: System) -> float:
    status = Path(f"/proc/{system.process.pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024
