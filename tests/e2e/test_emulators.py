"""make emulators as people use it: how it ends, and what it says when something is missing."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.system import ROOT, Cloud, environment


def processes_of(data_dir: Path) -> list[str]:
    """Command lines of all processes that know the folder; Java is told its children's ports, not the folder."""
    found = subprocess.run(["pgrep", "-a", "-f", str(data_dir)], capture_output=True, text=True)
    return found.stdout.splitlines()


def is_listening(host: str) -> bool:
    name, _, port = host.partition(":")
    return subprocess.run(["bash", "-c", f"echo > /dev/tcp/{name}/{port}"], capture_output=True).returncode == 0


@pytest.mark.ends_group
def test_ctrl_c_leaves_no_process_behind_java_included(cloud: Cloud) -> None:
    hosts = [value for name, value in cloud.printed.items() if name.endswith("_HOST")]
    assert len(hosts) == 3 and all(is_listening(host) for host in hosts)
    assert cloud.stop() == 0
    assert not any(is_listening(host) for host in hosts)
    assert processes_of(cloud.data_dir) == []


def test_missing_emulators_are_said_in_one_line_with_what_to_do(data_dir: Path) -> None:
    settings = {**environment(data_dir), "PATH": "/nowhere"}
    command = [sys.executable, "-m", "infra.local.emulators.host"]
    done = subprocess.run(command, cwd=ROOT, env=settings, capture_output=True, text=True)
    assert done.returncode == 1
    [line] = done.stderr.strip().splitlines()
    assert "gcloud components install" in line
