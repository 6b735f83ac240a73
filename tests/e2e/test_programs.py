"""A program that tests start as a fork is like one that subprocess.Popen starts (tests/programs.py)."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.system import ROOT, System, environment
from tests.needs import need
from tests.programs import FRAMEWORK, SERVER, ForkedPopen, forkable


@pytest.fixture(autouse=True)
def _on_linux() -> None:
    need(None if sys.platform == "linux" else "Programs are forked on Linux only.")


def simulator(*options: str, popen: type["subprocess.Popen[str]"] = ForkedPopen) -> "subprocess.Popen[str]":
    return popen(
        [sys.executable, "-m", "infra.local.simulator", *options],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.mark.parametrize("option", ["--help", "--no-such-option", "--host=no-port"])
def test_a_fork_prints_and_ends_as_a_process_of_its_own_does(option: str) -> None:
    with simulator(option) as forked, simulator(option, popen=subprocess.Popen) as real:
        outputs = [process.communicate(timeout=30) for process in (forked, real)]
    assert forked.returncode == real.returncode
    assert outputs[0][0] == outputs[1][0]
    assert outputs[0][1].splitlines()[-1:] == outputs[1][1].splitlines()[-1:]


def test_a_fork_is_a_child_of_the_tests_with_a_session_a_name_and_open_files_of_its_own(data_dir: Path) -> None:
    system = System(data_dir)
    forked = Path(f"/proc/{system.process.pid}")
    parent = int((forked / "stat").read_text().rpartition(")")[2].split()[1])
    assert parent == os.getpid()
    assert os.getsid(system.process.pid) == system.process.pid
    assert (forked / "comm").read_text() == "embedded.host\n"
    assert Path((forked / "fd/2").readlink()) == data_dir.parent / "stderr"
    system.kill()
    assert system.process.returncode == -signal.SIGKILL


def test_the_process_that_forks_has_one_thread_and_no_connection(data_dir: Path) -> None:
    System(data_dir).kill()
    assert len(list(Path(f"/proc/{SERVER.pid}/task").iterdir())) == 1
    files = [file.readlink() for file in Path(f"/proc/{SERVER.pid}/fd").iterdir()]
    kinds = [str(file).partition(":")[0] for file in files]
    assert kinds.count("socket") == 1, "the one on which it is asked to fork"
    assert "anon_inode" not in kinds, "an event loop, or gRPC, waits with one"


def test_a_program_whose_imports_would_read_its_environment_is_not_forked() -> None:
    command = [FRAMEWORK, "--target", "submit_run"]
    assert forkable(command, environment(Path("data"))) == command
    assert forkable(command, {"GRPC_ENABLE_FORK_SUPPORT": "0"}) is None
    assert forkable(command, {"PYTHONPATH": "elsewhere"}) is None
    assert forkable([sys.executable, "-c", "pass"], {}) is None
