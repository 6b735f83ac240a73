"""Tests the command line of infra/cli.py as a process, against a local system."""

import json
import os
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.system import ROOT, System
from tests.programs import run


class CommandLine:
    """Calls the command line as the user `demo`, who is logged in."""

    def __init__(self, system: System, folder: Path) -> None:
        self.folder = folder
        self._login = folder / "login.json"
        logged_in = self("login", system.url, stdin=system.token())
        assert logged_in.returncode == 0, logged_in.stderr

    def __call__(self, *arguments: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
        return run(self.command(*arguments), stdin=stdin)

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "infra.cli", "--login", str(self._login), *arguments]

    def mode(self) -> int:
        return stat.S_IMODE(self._login.stat().st_mode)


@pytest.fixture(scope="module")
def cli(local: System, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandLine]:
    yield CommandLine(local, tmp_path_factory.mktemp("cli"))


def test_a_login_is_kept_for_its_owner_alone_and_a_wrong_token_is_refused(cli: CommandLine, local: System) -> None:
    assert cli.mode() == 0o600
    refused = cli("--login", str(cli.folder / "other.json"), "login", local.url, stdin="rubbish")
    assert refused.returncode == 2 and refused.stderr.startswith("401: ")
    assert not (cli.folder / "other.json").exists()


def test_without_a_login_the_command_line_says_how_to_get_one(cli: CommandLine) -> None:
    lost = cli("--login", str(cli.folder / "none.json"), "list")
    assert lost.returncode == 2 and "infra.cli login" in lost.stderr


def test_a_translation_prints_its_updates_and_then_its_text_alone(cli: CommandLine) -> None:
    done = cli("submit", "Hello world", "--from", "en", "--to", "de")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("[de] Hallo Welt")
    assert "queued" in done.stderr and "completed" in done.stderr


def test_a_run_without_languages_takes_those_of_the_organization_and_json_is_the_answer(cli: CommandLine) -> None:
    done = cli("submit", "-", "--json", stdin="Hello world")
    run = json.loads(done.stdout)
    assert (run["kind"], run["target_lang"], run["status"]) == ("user_run", "de", "completed")


def test_a_notebook_becomes_a_job_for_review(cli: CommandLine) -> None:
    notebook = cli.folder / "review.ipynb"
    cell = {"cell_type": "markdown", "metadata": {}, "source": ["# Title"]}
    notebook.write_text(json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [cell]}))
    done = cli("submit", str(notebook), "--model", "demo-model", "--instructions", "Is it right?")
    assert done.returncode == 0, done.stderr
    assert "Title" in done.stdout or done.stdout.strip()
    refused = cli("submit", str(notebook))
    assert refused.returncode == 2 and "--model" in refused.stderr


def test_a_failed_run_gives_exit_status_1_and_its_sentence(cli: CommandLine) -> None:
    failed = cli("submit", "[[refuse]]", "--model", "demo-model")
    assert failed.returncode == 1 and failed.stdout == ""
    assert "failed" in failed.stderr


def test_a_refused_request_gives_exit_status_2_and_the_servers_sentence(cli: CommandLine) -> None:
    refused = cli("submit", "x" * 1501, "--from", "en", "--to", "de")
    assert refused.returncode == 2 and "1500 characters" in refused.stderr and "Traceback" not in refused.stderr


def test_a_detached_run_is_shown_watched_listed_and_cancelled(cli: CommandLine) -> None:
    run_id = cli("submit", "[[slow 600]]", "--model", "demo-model", "--detach").stdout.strip()
    assert cli("show", run_id).stderr.startswith(run_id)
    assert run_id in cli("list", "--jobs").stdout
    earlier = cli("submit", "[[slow 600]]", "--model", "demo-model", "--detach").stdout.strip()
    first = cli("list", "--jobs", "--limit", "1")
    assert earlier in first.stdout and run_id not in first.stdout and first.stderr.startswith("of ")
    assert (
        run_id in cli("list", "--jobs", "--limit", "1", "--cursor", first.stderr.split("--cursor ")[1].strip()).stdout
    )
    assert cli("cancel", run_id).stdout.strip() == "cancelled"
    assert cli("watch", run_id).returncode == 1
    assert run_id in cli("list", "--jobs", "--status", "cancelled").stdout


def test_each_line_of_a_file_becomes_a_run_and_a_second_call_makes_no_more(cli: CommandLine) -> None:
    lines, out = cli.folder / "lines.txt", cli.folder / "results.jsonl"
    lines.write_text("Hello\n\nworld\n[[refuse]] this\n")
    first = cli("submit", "--each", str(lines), "--out", str(out), "--at-once", "2")
    assert first.returncode == 1, "one line failed"
    results = {result["line"]: result for result in map(json.loads, out.read_text().splitlines())}
    assert {number: result["status"] for number, result in results.items()} == {
        1: "completed",
        3: "completed",
        4: "failed",
    }
    assert results[3]["result"]["text"] and results[4]["error"]["message"]
    again = cli("submit", "--each", str(lines), "--out", str(out))
    assert len(out.read_text().splitlines()) == 3 and "3 of 3 lines done, 1 failed" in again.stderr


def test_lines_that_were_accepted_before_a_kill_are_not_submitted_again(cli: CommandLine, local: System) -> None:
    lines, out = cli.folder / "many.txt", cli.folder / "many.jsonl"
    mark = f"line {time.time_ns()}"
    lines.write_text("".join(f"{mark} {number} [[slow 3]]\n" for number in range(6)))
    command = cli.command("submit", "--each", str(lines), "--out", str(out), "--at-once", "3")
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    threading.Event().wait(2.5)
    process.kill()
    process.wait()
    with out.open("a") as file:
        file.write('{"line": 1, "te')
    done = cli("submit", "--each", str(lines), "--out", str(out), "--at-once", "6")
    assert done.returncode == 0, done.stderr
    with local.client() as client:
        runs = client.get("/llm_user_runs?limit=100").json()["runs"]
    assert sum(run["input_text"].startswith(mark) for run in runs) == 6
    assert os.path.getsize(out) > 0


def test_a_watched_run_goes_on_after_the_server_was_killed(tmp_path: Path) -> None:
    system = System(tmp_path / "data")
    try:
        cli = CommandLine(system, tmp_path)
        run_id = cli("submit", "[[slow 6]] hello", "--detach").stdout.strip()
        watching = subprocess.Popen(
            cli.command("watch", run_id), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        threading.Event().wait(1.5)
        port = system.url.rpartition(":")[2]
        system.kill()
        system._environment["PORT"] = port
        system.start()
        shown, updates = watching.communicate(timeout=60)
        assert watching.returncode == 0, updates
        assert shown.startswith("[de]") and updates.count("queued") == 1
    finally:
        system.kill()
