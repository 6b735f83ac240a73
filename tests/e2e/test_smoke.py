"""infra/smoke.py, which `make deploy` ends with, against the local systems."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

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


def test_behind_hosting_all_checks_hold_and_a_stream_comes_at_its_end(data_dir: Path) -> None:
    system = System(data_dir, "--front", "hosting", LLM_SIM_SECONDS="0.5")
    done = smoke(system)
    assert done.returncode == 0, done.stdout
    assert "run.completed, in the answer to the request" in done.stdout
    assert system.stop() == 0


def test_behind_hosting_that_knows_the_address_of_streams_they_are_read_there(data_dir: Path) -> None:
    direct = System(data_dir, LLM_SIM_SECONDS="0.5")
    front = System(data_dir, "--front", "hosting", LLM_SIM_SECONDS="0.5", STREAMS_URL=direct.url)
    done = smoke(front)
    assert done.returncode == 0, done.stdout
    assert f"run.completed, at {direct.url}" in done.stdout
    assert front.stop() == direct.stop() == 0


def smoke_deployed(
    system: System, folder: Path, *words: str, gcloud: str = "exit 1"
) -> "subprocess.CompletedProcess[str]":
    """`gcloud` is a line of the shell that stands for gcloud."""
    (folder / "gcloud").write_text(f"#!/bin/sh\n{gcloud}\n")
    (folder / "gcloud").chmod(0o755)
    outputs = {name: {"value": value} for name, value in (("submit_url", system.url), ("url", system.url))}
    return subprocess.run(
        [sys.executable, "-m", "infra.smoke_deployed", *words],
        cwd=ROOT,
        env={"PATH": f"{folder}{os.pathsep}/usr/bin:/bin", "NO_PROXY": "*"},
        input=json.dumps({**outputs, "project": {"value": None}}),
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_a_deployment_is_tried_at_the_addresses_that_terraform_prints(local: System, tmp_path: Path) -> None:
    done = smoke_deployed(local, tmp_path, local.token(), "demo-model")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "all hold"), done.stdout + done.stderr
    refused = smoke_deployed(local, tmp_path, "no token")
    assert refused.returncode == 1 and "do not hold" in refused.stdout


@pytest.mark.parametrize("gcloud", ["exit 1", "echo no-token"])
def test_a_deployment_without_a_token_that_it_accepts_says_how_to_try_it(
    local: System, tmp_path: Path, gcloud: str
) -> None:
    done = smoke_deployed(local, tmp_path, gcloud=gcloud)
    assert (done.returncode, done.stderr) == (0, "")
    [sentence] = done.stdout.splitlines()
    assert "make smoke TOKEN=" in sentence


def test_a_deployment_is_tried_as_gclouds_account_if_it_is_a_user(local: System, tmp_path: Path) -> None:
    done = smoke_deployed(local, tmp_path, gcloud=f"echo {local.token()}")
    assert done.stdout.splitlines()[-1] == "all hold", done.stdout + done.stderr
