"""make emulators as people use it: how it ends, and what it says when something is missing."""

import subprocess
import sys
from pathlib import Path

import pytest

from infra.local.emulators.google import FIRESTORE_PROGRAM, PUBSUB_PROGRAM, start_firestore, start_pubsub
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


def write_program(path: Path) -> None:
    """Writes one that prints its own path and its words."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('#!/bin/sh\necho "$0" "$@"\n')
    path.chmod(0o755)


def started_commands(folder: Path) -> list[str]:
    """What is started as Firestore and as Pub/Sub, relative to the folder of the Google Cloud CLI."""
    emulators = [
        start_firestore(folder, "--import-data=backup", host="127.0.0.1:8000"),
        start_pubsub(folder, host="127.0.0.1:8001", project="demo"),
    ]
    assert [emulator.process.wait() for emulator in emulators] == [0, 0]
    return [emulator.log.read_text().strip().replace(f"{folder}/", "") for emulator in emulators]


def test_googles_programs_are_started_by_gcloud_only_where_they_are_not_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("gcloud", "java"):
        write_program(tmp_path / "sdk/bin" / name)
    monkeypatch.setenv("PATH", f"{tmp_path}/sdk/bin:/usr/bin:/bin")
    assert started_commands(tmp_path) == [
        "sdk/bin/gcloud emulators firestore start --import-data=backup --host-port=127.0.0.1:8000",
        "sdk/bin/gcloud beta emulators pubsub start --project=demo --host-port=127.0.0.1:8001",
    ]
    for program in (FIRESTORE_PROGRAM, PUBSUB_PROGRAM):
        write_program(tmp_path / "sdk/platform" / program)
    assert started_commands(tmp_path) == [
        f"sdk/platform/{FIRESTORE_PROGRAM} start --database-mode=firestore-native --import-data=backup "
        "--host=127.0.0.1 --port=8000",
        f"sdk/platform/{PUBSUB_PROGRAM} --host=127.0.0.1 --port=8001",
    ]
