"""infra/smoke.py, which `make deploy` ends with, against the local systems."""

import subprocess
import sys

from tests.e2e.system import ROOT, Cloud, System

CHECKS = 7


def smoke(
    system: System, *options: str, token: str | None = None, **environment: str
) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "infra/smoke.py", system.url, token or system.token(), *options]
    environment = {"PATH": "/usr/bin:/bin", "NO_PROXY": "*", **environment}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)


def test_all_checks_hold_on_one_machine(local: System) -> None:
    done = smoke(local)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["ok"] * CHECKS + ["all"]
    assert "run.queued, run.started" in done.stdout and "the run is cancelled" in done.stdout


def test_all_checks_hold_on_googles_emulators_where_a_listener_sees_each_status(cloud: Cloud) -> None:
    emulator = cloud.printed["FIRESTORE_EMULATOR_HOST"]
    done = smoke(cloud, "--project", cloud.printed["GOOGLE_CLOUD_PROJECT"], FIRESTORE_EMULATOR_HOST=emulator)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "listener: saw" in done.stdout and "completed" in done.stdout.splitlines()[CHECKS - 1]


def test_a_check_that_fails_is_named_in_a_sentence_and_by_the_exit_code(local: System) -> None:
    done = smoke(local, token="no token")
    assert (done.returncode, done.stderr) == (1, "")
    failed = [line for line in done.stdout.splitlines() if line.startswith("FAILED")]
    assert len(failed) == 5 and "answered 401 instead of 200" in failed[-1]
    assert done.stdout.splitlines()[-1] == f"{len(failed)} of {CHECKS} do not hold"
