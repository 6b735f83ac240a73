"""infra/gcloud.sh asks for what Terraform makes. `make check-infra` runs it with the real gcloud; this needs none."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from infra.cloud import CLOUD, INDEXES, ROWS

ROOT = Path(__file__).parents[2]
STAND_IN = """#!/bin/sh
printf '%s\\n' "$*" >>"$COMMANDS"
case "$*" in
  "projects describe"*) echo 123456789012 ;;
  *" describe "*) exit 1 ;;
  *--format=json) echo "[]" ;;
  "auth print-access-token") exit 1 ;;
esac
"""
"""A gcloud that finds nothing and notes every command. It gives no token, so that the step of the rules is the last."""


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The commands of the first two steps in an empty project."""
    folder = tmp_path_factory.mktemp("gcloud")
    (folder / "gcloud").write_text(STAND_IN)
    (folder / "gcloud").chmod(0o755)
    given = {
        "PROJECT": "demo-deploy", "REGION": "europe-west1", "ALERT_EMAIL": "oncall@example.com",
        "LLM_DEPLOYMENTS": "{}", "COMMANDS": str(folder / "commands"), "PYTHON": sys.executable,
        "PATH": f"{folder}:{os.environ['PATH']}",
    }  # fmt: skip
    done = subprocess.run([ROOT / "infra/gcloud.sh"], env=given, capture_output=True, text=True)
    assert done.returncode != 0 and done.stderr.startswith("== 1. APIs\n== 2. Firestore"), done.stderr
    return (folder / "commands").read_text().splitlines()


def test_the_script_enables_every_api_and_protects_the_database(commands: list[str]) -> None:
    [enabling] = [line for line in commands if line.startswith("services enable ")]
    assert enabling.split()[2:] == CLOUD["apis"]
    [creating] = [line for line in commands if line.startswith("firestore databases create ")]
    assert "--enable-pitr --delete-protection" in creating and "--database=(default)" in creating


def test_the_script_makes_every_index_and_exemption(commands: list[str]) -> None:
    made = [line for line in commands if line.startswith("firestore indexes composite create ")]
    assert len(made) == len(INDEXES["indexes"]) == len(set(made))
    for index, line in zip(INDEXES["indexes"], made, strict=True):
        found = re.findall(r"field-path=(\w+),order=(\w+)", line)
        assert found == [(field["fieldPath"], field["order"].lower()) for field in index["fields"]]
    exempt = [line for line in commands if "indexes fields update" in line and "--disable-indexes" in line]
    expiring = [line for line in commands if "fields ttls update" in line and "--enable-ttl" in line]
    overrides = INDEXES["fieldOverrides"]
    assert (len(exempt), len(expiring)) == (len(overrides), sum(bool(item.get("ttl")) for item in overrides))


def test_the_script_goes_through_every_list_and_through_no_other() -> None:
    script = (ROOT / "infra/gcloud.sh").read_text()
    used = set(re.findall(r"rows ([\w.]+)", script))
    assert set(ROWS) <= used
    assert all(path.split(".")[0] in {*CLOUD, *ROWS, "uptime", "dashboard"} for path in used)


@pytest.mark.parametrize("name", ROWS)
def test_no_value_contains_the_mark_between_values(name: str) -> None:
    assert list(ROWS[name]()) and all("|" not in str(value) for row in ROWS[name]() for value in row)


def test_a_missing_variable_stops_the_script_before_it_does_anything() -> None:
    done = subprocess.run([ROOT / "infra/gcloud.sh"], env={"PATH": os.environ["PATH"]}, capture_output=True, text=True)
    assert done.returncode != 0 and "PROJECT" in done.stderr and "==" not in done.stderr
